"""POST /vc over HTTP: what reaches the service, and what is refused."""

from __future__ import annotations

import base64
import hashlib

import httpx
import numpy as np
import pytest

from sovits_service.audio.encode import encode_whole
from tests.api.fast_service import FastService

RATE_HZ = 16_000


def recording(duration_s: float = 2.0, level: float = 0.3) -> bytes:
    times_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    return encode_whole((level * np.sin(2 * np.pi * 220 * times_s)).astype(np.float32), RATE_HZ, "wav")


async def convert(client: httpx.AsyncClient, data: bytes, **fields: str) -> httpx.Response:
    return await client.post("/vc", files={"file": ("a.wav", data)}, data={"voice_id": "amy", **fields})


async def test_a_form_with_a_recording(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await convert(client, recording(), text="hello", text_lang="EN", media_type="flac", seed="3")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/flac"), answer.text
    assert answer.content.startswith(b"fLaC")
    asked = service.requests[0]
    assert asked.source is not None
    assert asked.source.duration_s == 2.0
    assert (asked.text, asked.text_lang, asked.voice_id, asked.seed, asked.speed) == ("hello", "en", "amy", 3, 1.0)
    assert service.references == {}  # nothing is kept


async def test_a_list_may_be_a_field_for_each_entry(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await client.post(
        "/vc",
        files={"file": ("a.wav", recording())},
        data={"voice_id": "amy", "aux_ref_audio_paths": ["uploads/a.wav", "uploads/b.wav"]},
    )
    assert answer.status_code == 200, answer.text
    assert service.requests[0].aux_ref_audio == ("uploads/a.wav", "uploads/b.wav")


@pytest.mark.parametrize("path", ["/vc", "/upload_ref", "/check_ref"])
async def test_a_field_that_comes_twice_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, files={"file": ("a.wav", recording())}, data={"prompt_text": ["a", "b"]})
    assert (answer.status_code, answer.json()["message"]) == (400, "prompt_text comes more than once; send it once")


async def test_a_recording_by_name_and_within_the_request(client: httpx.AsyncClient, service: FastService) -> None:
    service.references["uploads/a.wav"] = recording(3.0)
    inline = f"data:audio/wav;base64,{base64.b64encode(recording(1.0)).decode()}"
    for name in ("uploads/a.wav", inline):
        answer = await client.post("/vc", json={"source_audio_path": name, "voice_id": "amy", "streaming_mode": True})
        assert answer.status_code == 200, answer.text
    assert [request.source and request.source.duration_s for request in service.requests] == [3.0, 1.0]
    assert [request.streaming_mode for request in service.requests] == [3, 3]
    form = await client.post("/vc", files={"source_audio_path": (None, "uploads/a.wav"), "voice_id": (None, "amy")})
    assert form.status_code == 200, form.text


@pytest.mark.parametrize(
    ("data", "fields", "status", "message"),
    [
        (recording(60.5), {}, 400, "the recording is more than 60 s; it must be 0.3 to 60 s"),
        (recording(0.1), {}, 400, "the recording is 0.10 s; it must be 0.3 to 60 s"),
        (recording(level=0.0), {}, 400, "the recording is silent"),
        (b"<html>", {}, 415, "format"),
        (b"", {}, 415, "format"),
        (recording(), {"text": "hello"}, 400, "text_lang is required"),
        (recording(), {"voice_id": ""}, 400, "ref_audio_path is required"),
        (recording(), {"voice_id": "nobody"}, 404, "there is no voice"),
        (recording(), {"media_type": "xx"}, 400, "media_type: xx is not supported"),
    ],
)
async def test_what_cannot_be_converted(
    client: httpx.AsyncClient, data: bytes, fields: dict[str, str], status: int, message: str
) -> None:
    answer = await convert(client, data, **fields)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["message"] or status == 415


async def test_a_recording_is_required(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.post("/vc", json={"voice_id": "amy"}),
        await client.post("/vc", data={"voice_id": "amy"}),
    ):
        assert answer.status_code == 400
        assert answer.json()["message"].startswith("file is required")
    unknown = await client.post("/vc", json={"voice_id": "amy", "source_audio_path": "/etc/passwd"})
    assert unknown.status_code == 400


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 50_000}])
async def test_a_recording_has_the_limit_of_an_upload(client: httpx.AsyncClient) -> None:
    assert (await convert(client, recording(4.0))).status_code == 413


KEYS = tuple(
    {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}
    for name, scopes in (("talk", ("synth",)), ("studio", ("synth", "upload")))
)


@pytest.mark.parametrize("settings", [{"api_keys": KEYS, "uploads": {"from_urls": True}}])
@pytest.mark.parametrize("field", ["source_audio_path", "ref_audio_path"])
@pytest.mark.parametrize("is_form", [True, False])
async def test_what_a_request_embeds_or_links_takes_the_upload_scope(
    client: httpx.AsyncClient, service: FastService, field: str, is_form: bool
) -> None:
    service.references["uploads/a.wav"] = recording()
    inline = f"data:audio/wav;base64,{base64.b64encode(recording(8.0)).decode()}"
    # Where the key may fetch, the second is refused for its address; nothing is connected to in either case.
    for name, status in ((inline, 200), ("https://127.0.0.1/a.wav", 400)):
        fields = {"source_audio_path": "uploads/a.wav", "voice_id": "amy", field: name}
        body = {"files": {key: (None, value) for key, value in fields.items()}} if is_form else {"json": fields}
        refused = await client.post("/vc", headers={"X-API-Key": "talk"}, **body)
        assert (refused.status_code, refused.json()) == (403, {"message": "the key lacks the scope upload"})
        assert service.started == 0
        answer = await client.post("/vc", headers={"X-API-Key": "studio"}, **body)
        assert answer.status_code == status, answer.text
        service.started = 0


@pytest.mark.parametrize("settings", [{"api_keys": KEYS}])
async def test_a_recording_that_is_sent_as_a_file_takes_the_synth_scope_alone(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/vc", files={"file": ("a.wav", recording())}, data={"voice_id": "amy"}, headers={"X-API-Key": "talk"}
    )
    assert answer.status_code == 200, answer.text
