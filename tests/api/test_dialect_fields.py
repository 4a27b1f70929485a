"""What all dialects have in common: fields that are left empty, and characters that are no Unicode."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from sovits_service.audio.encode import encode_whole
from sovits_service.storage.objects.objects import LocalObjects
from tests.api.fast_service import RATE_HZ, FastService

KEY = {"name": "one", "sha256": hashlib.sha256(b"secret").hexdigest(), "scopes": ("synth",)}
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/audio/speech": {"input": "hello", "voice": "amy"},
    "/v1/text-to-speech/amy": {"text": "hello"},
    "/infer_single": {"model_name": "amy", "text": "hello"},
    "/tts": {"cha_name": "amy", "text": "hello"},
    "/read": {"text": "hello"},
}
LANGUAGES = {"/v1/text-to-speech/amy": "language_code", "/tts": "text_language"}
SURROGATE = "\ud800"


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("empty", [None, ""])
async def test_empty_fields_leave_the_defaults_of_a_dialect(
    client: httpx.AsyncClient, service: FastService, tmp_path: Path, path: str, empty: str | None
) -> None:
    service.objects = LocalObjects(tmp_path)
    names = ("text_lang", LANGUAGES.get(path, "text_lang"), "speed", "response_format", "seed", "timestamps")
    answer = await client.post(path, json={**DIALECTS[path], **dict.fromkeys(names, empty)})
    assert answer.status_code == 200, answer.text
    assert [request.text_lang for request in service.requests] == ["auto"] * (path != "/read")


@pytest.mark.parametrize("start", [{}, {"text_lang": ""}, {"text_lang": None, "max_wait_s": ""}, {"max_wait_s": "0.5"}])
async def test_empty_fields_leave_the_defaults_of_a_live_session(base_url: str, start: dict[str, Any]) -> None:
    async with connect(base_url.replace("http", "ws") + "/ws/tts") as socket:
        await socket.send(json.dumps({"type": "start", "voice_id": "amy", **start}))
        assert json.loads(await asyncio.wait_for(socket.recv(), 20))["type"] == "started"


@pytest.mark.parametrize("path", [path for path in DIALECTS if path != "/read"])
async def test_a_clip_within_the_request_is_its_reference(
    client: httpx.AsyncClient, service: FastService, tmp_path: Path, path: str
) -> None:
    service.objects = LocalObjects(tmp_path)
    samples = (0.3 * np.sin(np.arange(4 * RATE_HZ) / 10)).astype(np.float32)
    clip = f"data:audio/wav;base64,{base64.b64encode(encode_whole(samples, RATE_HZ, 'wav')).decode()}"
    body = {**DIALECTS[path], "ref_audio_path": clip, "text_lang": "en"}
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert [request.ref_audio in service.references for request in service.requests] == [True]


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("field", ["text", "input", "text_lang", "language_code", "voice", "output_format", "cha_name"])
async def test_half_a_character_is_no_internal_error(client: httpx.AsyncClient, path: str, field: str) -> None:
    body = json.dumps({**DIALECTS[path], field: SURROGATE})
    answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 404), answer.text  # 200 where the dialect has no such field
    assert "internal error" not in answer.text


@pytest.mark.parametrize("settings", [{"api_keys": [KEY]}])
async def test_half_a_character_is_no_key(client: httpx.AsyncClient) -> None:
    body = json.dumps({**DIALECTS["/infer_single"], "app_key": SURROGATE})
    answer = await client.post("/infer_single", content=body)
    assert (answer.status_code, answer.json()["msg"]) == (401, "the key is not known")


async def test_a_context_is_told_by_the_id_that_it_was_given(base_url: str) -> None:
    address = base_url.replace("http", "ws") + "/v1/text-to-speech/amy/multi-stream-input"
    async with connect(address) as socket:
        await socket.send(json.dumps({"text": "Hi. ", "context_id": SURROGATE, "flush": True}))
        assert json.loads(await asyncio.wait_for(socket.recv(), 20))["contextId"] == SURROGATE
