"""The emotions of a voice: which clip and transcript a request gets, on every route that speaks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sovits_service.types import Emotion, Voice
from tests.api.fast_service import FastService

UNKNOWN = "the voice has no such emotion and speaks as usual; GET /voices lists those that it has"


@pytest.fixture
def service() -> FastService:
    emotions = {"Happy": Emotion("happy.wav", "hurrah", "en"), "开心": Emotion("kaixin.wav", "好啊", "zh")}
    return FastService(templates={"amy": Voice("amy", "amy.wav", "hello there", "en", emotions=emotions)})


ROUTES = ["GET /tts", "POST /tts", "POST /v1/audio/speech", "POST /", "POST /v1/text-to-speech/amy"]


async def speak(client: httpx.AsyncClient, route: str, **fields: Any) -> httpx.Response:
    method, path = route.split()
    asked = {"text": "hi", "text_lang": "en", "voice_id": "amy", "input": "hi", "voice": "amy", **fields}
    return await client.request(method, path, **({"params": asked} if method == "GET" else {"json": asked}))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("asked", "emotion", "prompt_text"),
    [("happy", "Happy", "hurrah"), ("开心", "开心", "好啊"), ("", "", "hello there")],
)
async def test_an_emotion_brings_its_clip_and_transcript(
    client: httpx.AsyncClient, service: FastService, route: str, asked: str, emotion: str, prompt_text: str
) -> None:
    answer = await speak(client, route, emotion=asked)
    assert (answer.status_code, answer.headers.get("x-warnings")) == (200, None)
    request = service.requests[0]
    assert (request.voice_id, request.emotion, request.prompt_text) == ("amy", emotion, prompt_text)


@pytest.mark.parametrize("route", ROUTES)
async def test_an_unknown_emotion_falls_to_the_default_with_a_warning(
    client: httpx.AsyncClient, service: FastService, route: str
) -> None:
    answer = await speak(client, route, emotion="furious")
    assert (answer.status_code, answer.headers["x-warnings"]) == (200, UNKNOWN)
    assert (service.requests[0].emotion, service.requests[0].prompt_text) == ("", "hello there")
    assert "x-warnings" not in (await speak(client, route, emotion="default")).headers


async def test_a_transcript_of_the_request_wins(client: httpx.AsyncClient, service: FastService) -> None:
    await speak(client, "POST /tts", emotion="happy", prompt_text="ha ha", prompt_lang="en")
    assert (service.requests[0].emotion, service.requests[0].prompt_text) == ("Happy", "ha ha")


@pytest.mark.parametrize("fields", [{"ref_audio_path": "voices/x.wav"}, {"voice_id": "", "ref_audio_path": "voices/x"}])
async def test_a_reference_of_the_request_has_no_emotion(
    client: httpx.AsyncClient, service: FastService, fields: dict[str, str]
) -> None:
    answer = await speak(client, "POST /tts", emotion="happy", **fields)
    assert (answer.status_code, service.requests[0].emotion) == (200, "")
    assert answer.headers["x-warnings"] == "emotion is left out: it is one of a voice_id"


async def test_an_emotion_that_is_no_text_is_a_400(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await speak(client, "POST /tts", emotion=["happy"])
    assert (answer.status_code, answer.json()) == (400, {"message": "emotion should be a valid string"})
    assert service.requests == []
