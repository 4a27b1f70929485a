"""Limits x field: what is longer than its field may be is refused at the door, on every route that takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.security.real_service import clip, put_voice, running, say, upload

ANN = {"X-API-Key": "ann"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(tmp_path, max_request_bytes=4 * 2**20) as (_, http):
        yield http


async def test_a_transcript_has_500_characters_on_every_route(client: httpx.AsyncClient) -> None:
    long = {"prompt_text": "字" * 330_000, "prompt_lang": "zh"}
    path = (await upload(client, "ann", clip())).json()["path"]
    speech = {"input": "hi", "voice": "operators", "ref_audio_path": path, **long}
    answers = {
        "POST /tts": await say(client, "ann", voice_id="operators", **long),
        "GET /tts": await client.get(
            "/tts",
            params={"text": "hi", "text_lang": "en", "voice_id": "operators", **long, "prompt_text": "x" * 501},
            headers=ANN,
        ),
        "POST /v1/audio/speech": await client.post("/v1/audio/speech", json=speech, headers=ANN),
        "POST /upload_ref": await upload(client, "ann", clip(), **long),
        "PUT /voices": await put_voice(client, "ann", "eve", ref_audio_path=path, **long),
    }
    assert {route: answer.status_code for route, answer in answers.items()} == dict.fromkeys(answers, 400)
    for answer in answers.values():
        assert "at most" in answer.text
    assert (await client.get("/voices/eve", headers=ANN)).status_code == 404


TOO_LONG: list[dict[str, Any]] = [
    {"prompt_text": "x" * 900_000, "prompt_lang": "en"},
    {"prompt_lang": "en" * 20},
    {"description": "x" * 2001},
    {"consent": "x" * 2001},
    {"gpt_weights": "x" * 1025},
    {"sovits_weights": "x" * 1025},
    {"ref_audio_path": "x" * 1025},
    {"aux_ref_audio_paths": ["x" * 1025]},
    {"aux_ref_audio_paths": ["operators.wav"] * 17},
    {"owner": "x" * 65},
    {"defaults": {"text_lang": "x" * 900_000}},
    {"x" * 900_000: "x"},
]


async def test_a_voice_with_a_field_too_long_is_refused_and_not_kept(client: httpx.AsyncClient, tmp_path: Path) -> None:
    before = sorted((tmp_path / "voices").iterdir())
    for field in TOO_LONG:
        answer = await client.put("/voices/eve", json={"ref_audio_path": "operators.wav", **field}, headers=ANN)
        assert answer.status_code == 400, next(iter(field))[:20]
        assert len(answer.content) < 1000
        assert sorted((tmp_path / "voices").iterdir()) == before


async def test_a_template_with_a_hundred_clips_costs_no_synthesis(client: httpx.AsyncClient, tmp_path: Path) -> None:
    names = ", ".join(["operators.wav"] * 100)
    (tmp_path / "voices/crowd.yaml").write_text(f"ref_audio: operators.wav\naux_ref_audio: [{names}]")
    answer = await say(client, "ann", voice_id="crowd")
    assert answer.status_code == 404
    assert "at most 16" in answer.json()["message"]


async def test_equal_clips_are_one(client: httpx.AsyncClient, tmp_path: Path) -> None:
    once = await say(client, "ann", voice_id="operators", cache=False)
    for number in range(16):
        (tmp_path / f"voices/copy{number}.wav").write_bytes((tmp_path / "voices/operators.wav").read_bytes())
    copies = [f"copy{number}.wav" for number in range(16)]
    many = await say(client, "ann", voice_id="operators", aux_ref_audio_paths=copies, cache=False)
    assert many.content == once.content
