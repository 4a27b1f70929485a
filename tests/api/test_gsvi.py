"""GSVI's requests: characters, emotions, and answers that are links."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.types import Emotion, Voice
from tests.api.fast_service import FastService

KEY = {"name": "one", "sha256": hashlib.sha256(b"secret").hexdigest(), "scopes": ("synth",)}
# As AstrBot's provider sends it.
SINGLE = {
    "version": "v4", "model_name": "amy", "prompt_text_lang": "中文", "emotion": "默认", "text": "hello",
    "text_lang": "中文",
}  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> FastService:
    amy = Voice("amy", "amy.wav", "hello there", "en", emotions={"Happy": Emotion("happy.wav", "hurrah", "en")})
    return FastService(
        templates={"amy": amy, "bob": Voice("bob", "bob.wav", "你好", "zh")}, objects=LocalObjects(tmp_path)
    )


async def test_infer_single_answers_a_link_to_the_audio(client: httpx.AsyncClient, service: FastService) -> None:
    base = str(client.base_url).rstrip("/")
    answer = await client.post("/infer_single", json={**SINGLE, "dl_url": base})
    assert (answer.status_code, answer.json()["msg"]) == (200, "合成成功")
    assert answer.json()["audio_url"].startswith(f"{base}/objects/")
    audio = await client.get(answer.json()["audio_url"])
    assert (audio.status_code, audio.headers["content-type"], audio.content[:4]) == (200, "audio/wav", b"RIFF")
    asked = service.requests[0]
    assert (asked.voice_id, asked.text_lang, asked.emotion, asked.prompt_text) == ("amy", "all_zh", "", "hello there")


async def test_infer_single_maps_its_fields(client: httpx.AsyncClient, service: FastService) -> None:
    more = {
        "emotion": "happy", "speed_facter": 1.3, "text_split_method": "凑四句一切", "media_type": "mp3", "if_sr": True,
        "seed": 3,
    }  # fmt: skip
    answer = await client.post("/infer_single", json={**SINGLE, **more})
    asked = service.requests[0]
    assert (asked.emotion, asked.speed, asked.split_method, asked.seed) == ("Happy", 1.3, "cut1", 3)
    assert asked.super_sampling
    assert (await client.get(answer.json()["audio_url"])).headers["content-type"] == "audio/mpeg"


async def test_infer_classic_speaks_after_a_clip(client: httpx.AsyncClient, service: FastService) -> None:
    body = {
        "gpt_model_name": "default", "sovits_model_name": "default", "ref_audio_path": "voices/amy.wav",
        "prompt_text": "hi", "prompt_text_lang": "英语", "text": "hello", "text_lang": "英语",
        "text_split_method": "按标点符号切",
    }  # fmt: skip
    assert (await client.post("/infer_classic", json=body)).json()["msg"] == "合成成功"
    assert (service.requests[0].ref_audio, service.requests[0].prompt_lang) == ("voices/amy.wav", "en")
    other = await client.post("/infer_classic", json={**body, "gpt_model_name": "mine"})
    assert (other.status_code, other.json()["msg"][:30]) == (400, "gpt_model_name must be default")


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"model_name": ""}, 400, "model_name is required"),
        ({"model_name": 5}, 400, "model_name is required"),
        ({"model_name": "nobody"}, 404, "there is no voice of this id"),
        ({"text": ""}, 400, "text is required"),
        ({"text_lang": "xx"}, 400, "text_lang: xx is not supported"),
        ({"text": "broken"}, 400, "tts failed"),
        ({"dl_url": "javascript:alert(1)"}, 400, "dl_url must be the http address"),
        ({"dl_url": 'http://x"onload'}, 400, "dl_url must be the http address"),
    ],
)
async def test_errors_are_told_as_msg(
    client: httpx.AsyncClient, changes: dict[str, Any], status: int, message: str
) -> None:
    answer = await client.post("/infer_single", json={**SINGLE, **changes})
    assert (answer.status_code, answer.json()["audio_url"]) == (status, "")
    assert answer.json()["msg"].startswith(message)


async def test_characters_are_listed_with_their_emotions(client: httpx.AsyncClient) -> None:
    assert (await client.get("/character_list")).json() == {"amy": ["default", "Happy"], "bob": ["default"]}
    models = {"amy": {"英语": ["默认", "Happy"]}, "bob": {"中文": ["默认"]}}
    assert (await client.get("/models/v4")).json()["models"] == models
    assert (await client.post("/models", json={"version": "v4"})).json()["models"] == models
    assert (await client.get("/classic_model_list/v4")).json()["gpt"] == ["default"]
    assert (await client.get("/version")).json()["support_versions"] == ["v2"]


async def test_a_character_at_tts_with_an_emotion(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await client.get("/tts", params={"text": "hi", "character": "amy", "emotion": "Happy"})
    assert (answer.status_code, service.requests[0].emotion) == (200, "Happy")
    unknown = await client.get("/tts", params={"text": "hi", "cha_name": "nobody"})
    assert (unknown.status_code, unknown.json()["message"][:28]) == (404, "there is no voice of this id")
    assert (await client.post("/tts", json={"text": "hi", "character": 5})).status_code == 400
    both = {"text": "hi", "text_lang": "en", "voice_id": "bob", "character": "amy"}  # api_v2's fields win
    assert (await client.post("/tts", json=both)).status_code == 200
    assert service.requests[-1].voice_id == "bob"


@pytest.mark.parametrize("settings", [{"api_keys": (KEY,)}])
async def test_the_key_may_be_theirs(client: httpx.AsyncClient, service: FastService) -> None:
    for key, status in (("secret", 200), ("guessed", 401), (5, 401)):
        assert (await client.post("/infer_single", json={**SINGLE, "app_key": key})).status_code == status
    assert len(service.requests) == 1


@pytest.mark.parametrize("settings", [{"dialects": {"gsvi": False}}])
async def test_it_can_be_switched_off(client: httpx.AsyncClient) -> None:
    assert (await client.post("/infer_single", json=SINGLE)).status_code == 404
    answer = await client.get("/tts", params={"text": "hi", "cha_name": "amy"})
    assert (answer.status_code, answer.json()["message"]) == (400, "ref_audio_path is required")
