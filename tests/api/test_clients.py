"""Requests as people's programs send them, written from their public source: `tests/clients/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.fast_service import FastService

CLIENTS = Path(__file__).parents[1] / "clients"
REQUESTS: list[dict[str, Any]] = [
    request for file in sorted(CLIENTS.glob("*.json")) for request in json.loads(file.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("sent", REQUESTS, ids=lambda sent: sent["client"])
async def test_a_client_gets_what_the_original_answers(
    client: httpx.AsyncClient, service: FastService, sent: dict[str, Any]
) -> None:
    answer = await client.request(
        sent["method"], sent["path"], params=sent.get("query"), json=sent.get("json"), headers=sent.get("headers")
    )
    original = sent["original"]
    assert (answer.status_code, answer.headers["content-type"]) == (original["status"], original["content_type"])
    assert answer.content[:4] == {"audio/wav": b"RIFF", "audio/ogg": b"OggS"}[original["content_type"]]
    asked = service.requests[0]
    for name, value in sent["asks"].items():
        found = getattr(asked, name)
        assert (list(found) if isinstance(found, tuple) else found) == value, name


async def test_sillytavern_lists_the_voices(client: httpx.AsyncClient) -> None:
    answer = await client.get("/speakers")
    assert answer.json() == [
        {"name": "amy", "voice_id": "amy", "lang": "en"},
        {"name": "bob", "voice_id": "bob", "lang": "en"},
    ]


async def test_a_clip_of_that_folder_that_is_no_voice_is_a_clip(client: httpx.AsyncClient) -> None:
    fields = {"text": "hello", "text_lang": "en", "ref_audio_path": "./参考音频/nobody.wav"}
    answer = await client.post("/", json=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert "not a file under an allowed root" in answer.json()["message"]


async def test_a_target_voice_that_is_not_there_is_a_404(client: httpx.AsyncClient) -> None:
    fields = {"text": "hello", "text_lang": "en", "use_st_adapter": True, "target_voice": "nobody"}
    answer = await client.post("/", json=fields)
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


@pytest.mark.parametrize("settings", [{"dialects": {"sillytavern": False}}])
async def test_it_can_be_switched_off(client: httpx.AsyncClient) -> None:
    assert (await client.get("/speakers")).status_code == 404
    fields = {"text": "hello", "text_lang": "en", "ref_audio_path": "./参考音频/amy.wav"}
    assert (await client.post("/", json=fields)).status_code == 400
