"""POST /v1/audio/speech, as OpenAI's clients send it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

from sovits_service.types import Emotion, Voice
from tests.api.fast_service import CHARACTER_S, RATE_HZ, FastService, heard, pitch_hz

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
        (ask(voice={"id": 5}), 400, "voice.id should be a valid string", "invalid_request_error"),
        (ask(stream_format="ws"), 400, "stream_format should be 'audio' or 'sse'", "invalid_request_error"),
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


NOT_MAPPED = "the voice is another service's and has no entry in voice_aliases; the default voice speaks"


@pytest.fixture
async def official(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client."""
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def clip(duration_s: float) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, np.zeros(int(duration_s * RATE_HZ), dtype=np.int16), RATE_HZ, format="WAV")
    return sink.getvalue()


async def test_the_official_client_hears_the_speech(official: openai.AsyncOpenAI) -> None:
    answer = await official.audio.speech.create(model="tts-1", voice="amy", input="abc", response_format="wav")
    samples, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate_hz == RATE_HZ
    assert heard(samples, 3) == pytest.approx([pitch_hz("amy", character) for character in "abc"], abs=10)


@pytest.mark.parametrize("response_format", ["wav", "pcm", "mp3"])
async def test_events_bring_the_same_audio(official: openai.AsyncOpenAI, response_format: Any) -> None:
    fields: dict[str, Any] = {"model": "tts-1", "voice": "amy", "input": "abc", "response_format": response_format}
    async with official.audio.speech.with_streaming_response.create(**fields, stream_format="sse") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in answer.iter_lines() if line]
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    # 0.15 s of speech at 25 tokens a second, of 3 characters
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    assert done == {"type": "speech.audio.done", "usage": usage}
    events = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    plain = await official.audio.speech.create(**fields, extra_body={"streaming_mode": 1})
    assert events == plain.content


async def test_an_event_has_a_bounded_length(client: httpx.AsyncClient) -> None:
    body = ask(input="a" * 100, response_format="wav", stream_format="sse", streaming_mode="0")
    answer = await client.post(URL, json=body)
    assert max(map(len, answer.text.split("\n\n"))) < 33_000
    assert len(answer.content) > 100 * CHARACTER_S * RATE_HZ * 2


@pytest.mark.parametrize("settings", [{"voice_aliases": {"alloy": "bob"}}])
async def test_voices_by_alias(client: httpx.AsyncClient, service: FastService) -> None:
    named = await client.post(URL, json=ask(voice="Alloy"))
    assert (named.status_code, named.headers.get("x-warnings")) == (200, None)
    unmapped = await client.post(URL, json=ask(voice="nova"))
    assert (unmapped.status_code, unmapped.headers["x-warnings"]) == (200, NOT_MAPPED)
    assert (await client.post(URL, json=ask(voice="nobody"))).status_code == 404
    assert [request.voice_id for request in service.requests] == ["bob", "amy"]


@pytest.mark.parametrize("settings", [{"default_voice": "bob"}])
async def test_the_default_voice_speaks_for_voices_that_are_openais(
    client: httpx.AsyncClient, service: FastService
) -> None:
    assert (await client.post(URL, json=ask(voice="nova"))).status_code == 200
    assert service.requests[0].voice_id == "bob"


@pytest.mark.parametrize("settings", [{"strict_voices": True, "voice_aliases": {"echo": "amy", "onyx": "nobody"}}])
async def test_strict_voices(client: httpx.AsyncClient) -> None:
    statuses = [(await client.post(URL, json=ask(voice=name))).status_code for name in ("echo", "nova", "onyx")]
    assert statuses == [200, 404, 404]


@pytest.mark.parametrize("settings", [{}])
async def test_without_any_voice_there_is_none_to_fall_to(client: httpx.AsyncClient, service: FastService) -> None:
    service.templates.clear()
    answer = await client.post(URL, json=ask(voice="nova"))
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        404,
        "there are no voices yet; write one with PUT /voices/{voice_id}",
    )


@pytest.mark.parametrize(
    ("instructions", "emotion"),
    [
        ("Speak in a sad, not in a happy tone.", "sad"),
        ("HAPPY!", "happy"),
        ("说话要开心一点", "开心"),
        ("unhappy", ""),
        ("softly", ""),
    ],
)
async def test_instructions_choose_an_emotion_that_they_name(
    client: httpx.AsyncClient, service: FastService, instructions: str, emotion: str
) -> None:
    emotions = {name: Emotion(f"{number}.wav") for number, name in enumerate(("happy", "sad", "开心"))}
    service.templates["amy"] = Voice("amy", "amy.wav", emotions=emotions)
    answer = await client.post(URL, json=ask(instructions=instructions))
    assert service.requests[0].emotion == emotion
    assert ("instructions have no effect" in answer.headers.get("x-warnings", "")) == (emotion == "")
    await client.post(URL, json=ask(instructions=instructions, emotion="sad"))
    assert service.requests[1].emotion == "sad"


async def test_models_and_voices_are_listed(official: openai.AsyncOpenAI, client: httpx.AsyncClient) -> None:
    assert [model.id async for model in official.models.list()] == ["gpt-sovits"]
    assert (await official.models.retrieve("gpt-sovits")).object == "model"
    with pytest.raises(openai.NotFoundError, match="there is no such model"):
        await official.models.retrieve("tts-9")
    listed = (await client.get("/v1/audio/voices")).json()
    assert [voice["id"] for voice in listed["data"]] == ["amy", "bob"]
    assert listed["voices"][0] == {"id": "amy", "name": "amy"}
    assert (await client.get("/v1/audio/models")).json() == {"models": [{"id": "gpt-sovits", "name": "gpt-sovits"}]}


async def test_a_voice_is_made_spoken_with_and_deleted(official: openai.AsyncOpenAI, service: FastService) -> None:
    made = await official.audio.voices.create(
        name="My Voice!", audio_sample=("a.wav", clip(12.0), "audio/wav"), consent="cons_1234"
    )
    assert (made.name, made.object, made.type) == ("My Voice!", "audio.voice", "audio_sample")
    assert made.id.startswith("My_Voice_")
    assert service.templates[made.id].consent == "cons_1234"
    await official.audio.speech.create(model="tts-1", voice={"id": made.id}, input="hi")
    assert service.requests[0].voice_id == made.id
    twin = await official.audio.voices.create(name="My Voice!", audio_sample=clip(5.0), consent="cons_1234")
    assert twin.id != made.id
    assert (await official.audio.voices.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await official.audio.voices.delete(made.id)


@pytest.mark.parametrize(
    ("form", "sample", "status", "message"),
    [
        ({"consent": "c"}, clip(5.0), 400, "name is required"),
        ({"name": "x"}, clip(1.0), 400, "the reference is 1.0 s; it must be 3 to 10 s"),
        ({"name": "x"}, b"text", 415, "the file is in no audio format that is accepted"),
        ({"name": "x", "prompt_text": "hi"}, clip(5.0), 400, "prompt_lang is required"),
        ({"name": "x", "type": "prompt"}, clip(5.0), 400, "type must be audio_sample"),
        ({"name": "x"}, None, 400, "a file is accepted in the field audio_sample only"),
    ],
)
async def test_a_voice_that_cannot_be_made_is_refused(
    client: httpx.AsyncClient,
    service: FastService,
    form: dict[str, str],
    sample: bytes | None,
    status: int,
    message: str,
) -> None:
    files = {"other": ("a.wav", b"x")} if sample is None else {"audio_sample": ("a.wav", sample)}
    answer = await client.post("/v1/audio/voices", data=form, files=files)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)
    assert set(service.templates) == {"amy", "bob"}


@pytest.mark.parametrize("asked", [{"timestamps": "word"}, {"subtitles": "srt"}])
async def test_times_come_as_json_in_every_format(client: httpx.AsyncClient, asked: dict[str, str]) -> None:
    for response_format in ("mp3", "opus", "wav"):
        answer = await client.post(URL, json=ask(input="hello you", response_format=response_format, **asked))
        assert answer.status_code == 200
        said = answer.json()
        assert [word["text"] for word in said["words"]] == ["hello", "you"]
        assert len(base64.b64decode(said["audio"])) > 500


async def test_a_link_where_there_are_none_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=ask(response="url"))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("response: url is switched off")


@pytest.mark.parametrize(
    "stream", [{"streaming_mode": 1}, {"response_format": "pcm"}, {"stream_format": "sse", "subtitles": "srt"}]
)
async def test_a_stream_that_cannot_carry_times_is_refused(client: httpx.AsyncClient, stream: dict[str, Any]) -> None:
    answer = await client.post(URL, json=ask(timestamps="word", **stream))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("timestamps and subtitles do not go into this stream")


@pytest.mark.parametrize("settings", [{"dialects": {"openai": False}}])
async def test_it_can_be_switched_off(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, json=ask())).status_code == 404
    assert (await client.get("/v1/models")).status_code == 404
