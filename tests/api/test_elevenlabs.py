"""ElevenLabs' requests, as its own client sends them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx
import numpy as np
import pytest
from elevenlabs.client import AsyncElevenLabs
from elevenlabs.core import ApiError

from tests.api.fast_service import CHARACTER_S, FastService, pitch_hz

URL = "/v1/text-to-speech/amy"


@pytest.fixture
async def official(base_url: str) -> AsyncIterator[AsyncElevenLabs]:
    """ElevenLabs' own client."""
    async with httpx.AsyncClient() as http:
        yield AsyncElevenLabs(base_url=base_url, api_key="none", httpx_client=http)


def decoded(data: bytes, container_format: str | None = None) -> tuple[np.ndarray[Any, Any], int]:
    options = {"sample_rate": "8000"} if container_format else {}
    with av.open(io.BytesIO(data), format=container_format, options=options) as container:
        frames = [frame for frame in container.decode(audio=0) if isinstance(frame, av.AudioFrame)]
    to_float = av.AudioResampler(format="flt", layout="mono")
    pieces = [part.to_ndarray()[0] for frame in frames for part in to_float.resample(frame)]
    return np.concatenate(pieces), frames[0].sample_rate


def loudest_hz(samples: np.ndarray[Any, Any], rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 32_768))
    return float(np.argmax(spectrum)) * rate_hz / 32_768


@pytest.mark.parametrize(
    ("output_format", "content_type", "rate_hz", "container_format"),
    [
        ("mp3_44100_128", "audio/mpeg", 44_100, None),
        ("mp3_22050_32", "audio/mpeg", 22_050, None),
        ("opus_48000_64", "audio/ogg", 48_000, None),
        ("wav_16000", "audio/wav", 16_000, None),
        ("ulaw_8000", "audio/basic", 8_000, "mulaw"),
        ("alaw_8000", "audio/x-alaw-basic", 8_000, "alaw"),
    ],
)
async def test_the_official_client_hears_the_speech_in_its_format(
    client: httpx.AsyncClient,
    official: AsyncElevenLabs,
    output_format: Any,
    content_type: str,
    rate_hz: int,
    container_format: str | None,
) -> None:
    text = "f" * 8
    pieces = official.text_to_speech.convert("amy", text=text, output_format=output_format)
    samples, found_hz = decoded(b"".join([piece async for piece in pieces]), container_format)
    assert found_hz == rate_hz
    assert len(samples) / found_hz == pytest.approx(len(text) * CHARACTER_S, abs=0.08)
    assert loudest_hz(samples, found_hz) == pytest.approx(pitch_hz("amy", "f"), abs=25)
    answer = await client.post(URL, params={"output_format": output_format}, json={"text": text})
    assert (answer.headers["content-type"], answer.headers["x-sample-rate"]) == (content_type, str(rate_hz))


async def test_the_official_client_streams_pcm(official: AsyncElevenLabs) -> None:
    pieces = official.text_to_speech.stream("amy", text="aaaa", output_format="pcm_24000")
    samples = np.frombuffer(b"".join([piece async for piece in pieces]), "<i2")
    assert len(samples) == pytest.approx(4 * CHARACTER_S * 24_000, abs=8)


async def test_fields_map_onto_the_same_synthesis(official: AsyncElevenLabs, service: FastService) -> None:
    settings: Any = {"stability": 0.5, "speed": 1.2}
    pieces = official.text_to_speech.convert(
        "bob", text="hello", model_id="eleven_v3", language_code="ja", seed=7, voice_settings=settings
    )
    assert [piece async for piece in pieces]
    asked = service.requests[0]
    assert (asked.text, asked.voice_id, asked.text_lang, asked.seed) == ("hello", "bob", "ja", 7)
    assert (asked.speed, asked.streaming_mode, asked.prompt_text) == (1.2, 1, "good day")


async def test_voices_and_models_are_listed(official: AsyncElevenLabs, client: httpx.AsyncClient) -> None:
    assert [voice.voice_id for voice in (await official.voices.get_all()).voices] == ["amy", "bob"]
    assert (await official.voices.search()).total_count == 2
    assert (await official.voices.get("amy")).description == "A test."
    assert [model.model_id for model in await official.models.list()] == ["gpt-sovits"]
    assert (await client.get("/v1/models")).json()["object"] == "list"  # OpenAI's clients ask there too


@pytest.mark.parametrize(
    ("path", "body", "query", "status", "message"),
    [
        (URL, {}, "", 400, "text is required"),
        (URL, {"text": "hi", "language_code": "xx"}, "", 400, "text_lang: xx is not supported"),
        (URL, {"text": "hi", "voice_settings": 5}, "", 400, "voice_settings should be an object"),
        (URL, {"text": "hi", "voice_settings": {"speed": 9}}, "", 400, "speed_factor should be less than or equal"),
        (URL, {"text": "hi"}, "gsm_8000", 400, "output_format: gsm_8000 is not supported"),
        (URL, {"text": "hi"}, "mp3_44100", 400, "output_format: mp3_44100 is not supported"),
        (URL, {"text": "hi"}, "pcm_24000_64", 400, "output_format: pcm_24000_64 is not supported"),
        (URL, {"text": "hi"}, "pcm_11025", 400, "output_format: pcm_11025 is not supported"),
        (URL, {"text": "broken"}, "", 400, "tts failed: the model's output is not finite"),
        ("/v1/text-to-speech/nobody", {"text": "hi"}, "", 404, "there is no voice of this id"),
    ],
)
async def test_errors_have_elevenlabs_shape(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], query: str, status: int, message: str
) -> None:
    answer = await client.post(path, params={"output_format": query} if query else {}, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]["message"].startswith(message)


async def test_a_voice_of_theirs_is_spoken_by_the_default_voice(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM", json={"text": "hi"})
    assert (answer.status_code, "another service's" in answer.headers["x-warnings"]) == (200, True)


@pytest.mark.parametrize("settings", [{"api_keys": ({"name": "one", "sha256": "0" * 64},)}])
async def test_a_wrong_key_is_told_in_their_shape(official: AsyncElevenLabs) -> None:
    with pytest.raises(ApiError) as caught:
        await official.voices.get_all()
    assert (caught.value.status_code, caught.value.body["detail"]["status"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("settings", [{"dialects": {"elevenlabs": False}}])
async def test_it_can_be_switched_off(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, json={"text": "hi"})).status_code == 404
