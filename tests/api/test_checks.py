"""POST /check_ref and POST /voices/{voice_id}/check: fields, shapes and errors."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
import soundfile

from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import Emotion, Voice
from tests.api.fast_service import RATE_HZ, FastService


def quiet_noise(duration_s: float) -> bytes:
    sink = io.BytesIO()
    noise = 0.001 * np.random.default_rng(0).standard_normal(int(duration_s * RATE_HZ))
    soundfile.write(sink, noise, RATE_HZ, format="WAV", subtype="PCM_16")
    return sink.getvalue()


async def check(client: httpx.AsyncClient, data: bytes, **fields: str) -> httpx.Response:
    return await client.post("/check_ref", files={"file": ("clip.wav", data)}, data=fields)


async def test_a_clip_is_checked_and_not_kept(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await check(client, quiet_noise(2.0), prompt_text="hello", prompt_lang="en")
    assert answer.status_code == 200
    found = answer.json()
    assert found["ok"] is False
    assert found["not_checked"] == {}
    assert found["findings"][0] == {
        "code": "length", "severity": "error", "message": "the reference is 2.0 s; it must be 3 to 10 s",
    }  # fmt: skip
    assert [finding["code"] for finding in found["findings"]] == ["length", "level", "noise"]
    assert service.references == {}


async def test_an_empty_file_is_no_audio(client: httpx.AsyncClient) -> None:
    answer = await client.post("/check_ref", files={"file": ("empty.wav", b"")})
    assert (answer.status_code, answer.json()["message"][:34]) == (415, "the file is in no audio format tha")


async def test_an_upload_is_checked_by_its_name_with_what_was_said_of_it(
    client: httpx.AsyncClient, service: FastService
) -> None:
    service.references["upload"] = quiet_noise(4.0)
    service.details["upload", ""] = UploadDetails("hello", "en")
    for answer in (
        await client.post("/check_ref", json={"ref_audio_path": "upload"}),
        await client.post("/check_ref", files={"ref_audio_path": (None, "upload")}),
    ):
        assert answer.status_code == 200
        assert answer.json()["not_checked"] == {}
    other = await client.post("/check_ref", json={"ref_audio_path": "other"})
    assert other.status_code == 400


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "file is required: send the clip as multipart/form-data, or name it in ref_audio_path"),
        ({"ref_audio_path": 7}, "file is required: send the clip as multipart/form-data, or name it in ref_audio_path"),
        ({"ref_audio_path": "upload", "prompt_text": "hello"}, "prompt_lang is required"),
        ({"ref_audio_path": "upload", "prompt_text": "a" * 5000, "prompt_lang": "en"}, "prompt_text has 5,000"),
    ],
)
async def test_wrong_fields_are_a_400(
    client: httpx.AsyncClient, service: FastService, fields: dict[str, object], message: str
) -> None:
    service.references["upload"] = quiet_noise(4.0)
    answer = await client.post("/check_ref", json=fields)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)


async def test_what_is_no_sound_is_a_415(client: httpx.AsyncClient) -> None:
    assert (await check(client, b"<html>")).status_code == 415


async def test_a_voice_is_checked_and_so_are_its_emotions(client: httpx.AsyncClient, service: FastService) -> None:
    service.templates["amy"] = Voice("amy", "amy.wav", "hello", "en", emotions={"happy": Emotion("happy.wav")})
    for query in ("", "?emotion=happy"):
        answer = await client.post(f"/voices/amy/check{query}")
        assert answer.status_code == 200
        found = {"code": "transcript_differs", "severity": "warning", "message": "transcript: ..."}
        place = {"start_s": 0.5, "end_s": 1.25, "text_span": [0, 5]}
        assert answer.json() == {"ok": False, "findings": [{**found, **place}], "not_checked": {}}
    assert (await client.post("/voices/amy/check?emotion=sad")).status_code == 400
    assert (await client.post("/voices/nobody/check", json={})).status_code == 404
