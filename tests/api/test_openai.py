"""POST /v1/audio/speech, as OpenAI's clients send it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.fast_service import CHARACTER_S, FastService, pitch_hz

URL = "/v1/audio/speech"


def ask(**changes: Any) -> dict[str, Any]:
    return {"model": "tts-1", "input": "hello", "voice": "amy", **changes}


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav"])
async def test_formats(client: httpx.AsyncClient, response_format: str) -> None:
    answer = await client.post(URL, json=ask(response_format=response_format))
    media_type = {"mp3": "audio/mpeg"}.get(response_format, f"audio/{response_format}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert ("content-length" in answer.headers) == (response_format in ("wav", "flac"))
    assert len(answer.content) > 500


async def test_fields_map_onto_the_same_synthesis(client: httpx.AsyncClient, service: FastService) -> None:
    await client.post(URL, json=ask())
    await client.post(URL, json=ask(speed=2, voice={"id": "bob"}, seed=7, text_lang="zh", instructions="softly"))
    plain, full = service.requests
    assert (plain.text, plain.voice_id, plain.text_lang, plain.prompt_text) == ("hello", "amy", "auto", "hello there")
    assert (full.voice_id, full.speed, full.seed, full.text_lang, full.prompt_text) == ("bob", 2.0, 7, "zh", "good day")


async def test_pcm_is_24_khz(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=ask(response_format="pcm", input="a"))
    samples = np.frombuffer(answer.content, "<i2")
    assert len(samples) == pytest.approx(CHARACTER_S * 24_000, abs=2)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 16_384))
    assert np.argmax(spectrum) * 24_000 / 16_384 == pytest.approx(pitch_hz("amy", "a"), abs=10)


@pytest.mark.parametrize(
    ("body", "status", "message", "kind"),
    [
        ({}, 400, "input is required", "invalid_request_error"),
        (ask(input=""), 400, "input is required", "invalid_request_error"),
        (ask(input=5), 400, "input should be a valid string", "invalid_request_error"),
        ({"input": "hello"}, 400, "voice is required", "invalid_request_error"),
        (ask(voice=""), 400, "voice is required: the id of a voice template", "invalid_request_error"),
        (ask(voice={}), 400, "voice is required: the id of a voice template", "invalid_request_error"),
        (ask(voice="nobody"), 404, "there is no voice of this id; GET /voices lists them", "invalid_request_error"),
        (
            ask(response_format="gsm"),
            400,
            "response_format should be 'mp3', 'opus', 'aac', 'flac', 'wav' or 'pcm'",
            "invalid_request_error",
        ),
        (ask(speed=9), 400, "speed should be less than or equal to 4", "invalid_request_error"),
        (
            ask(input="broken"),
            400,
            "tts failed: the model's output is not finite; try again, or with another seed",
            "invalid_request_error",
        ),
        (ask(input="bug"), 500, "internal error; the log has more under this request id", "server_error"),
    ],
)
async def test_errors_have_openais_shape(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, message: str, kind: str
) -> None:
    answer = await client.post(URL, json=body)
    assert answer.status_code == status
    assert answer.json() == {"error": {"message": message, "type": kind, "param": None, "code": None}}
