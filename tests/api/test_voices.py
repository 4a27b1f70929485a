"""Uploading references, and writing, listing and deleting voice templates."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import wave
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sovits_service.api.schemas import TtsFields
from sovits_service.storage.voices.voice_template import DEFAULT_FIELDS, VOICE_FIELDS
from sovits_service.types import Voice
from tests.api.fast_service import RATE_HZ, FastService


def clip(duration_s: float = 4.0) -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(bytes(int(duration_s * RATE_HZ) * 2))
    return sink.getvalue()


async def upload(client: httpx.AsyncClient, data: bytes, name: str = "clip.wav", **fields: str) -> httpx.Response:
    return await client.post("/upload_ref", files={"file": (name, data)}, data=fields)


async def test_further_references_within_a_form_are_stored_too(client: httpx.AsyncClient, service: FastService) -> None:
    inline = f"data:audio/wav;base64,{base64.b64encode(clip()).decode()}"
    form = {"text": "hi", "text_lang": "en", "voice_id": "amy"}
    for paths in (inline, json.dumps([inline]), json.dumps([inline, "uploads/a.wav"])):
        answer = await client.post("/tts", data={**form, "aux_ref_audio_paths": paths})
        assert answer.status_code == 200, answer.text
        assert service.requests[-1].aux_ref_audio[0] in service.references


async def test_an_upload_is_stored_and_can_be_spoken_with(client: httpx.AsyncClient, service: FastService) -> None:
    answer = await upload(client, clip(), prompt_text="hello", prompt_lang="en")
    assert answer.status_code == 200
    stored = answer.json()
    assert set(stored) == {"path", "id", "message", "size", "duration_s", "warnings"}
    assert (stored["message"], stored["size"], stored["duration_s"]) == ("success", len(clip()), 4.0)
    assert stored["warnings"] == ["the reference is quiet"]
    spoken = await client.post("/tts", json={"ref_audio_path": stored["path"], "text": "hi", "text_lang": "en"})
    assert spoken.status_code == 200
    assert service.requests[0].ref_audio == stored["path"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 4096, "x\u202ewav.exe", "con", "."])
async def test_the_name_of_an_upload_is_never_the_clients(client: httpx.AsyncClient, name: str) -> None:
    answers = [await upload(client, clip(), name), await upload(client, clip(), "clip.wav")]
    assert answers[0].json()["path"] == answers[1].json()["path"]


async def test_uploads_that_are_refused(client: httpx.AsyncClient, service: FastService) -> None:
    short = await upload(client, clip(1.8))
    assert (short.status_code, short.json()) == (400, {"message": "the reference is 1.8 s; it must be 3 to 10 s"})
    page = await upload(client, b"<html>", "clip.wav")
    assert (page.status_code, page.json()) == (415, {"message": "the file is in no audio format that is accepted"})
    missing = "file is required: send the clip as multipart/form-data, field file"
    for answer in (
        await client.post("/upload_ref"),
        await client.post("/upload_ref", json={"file": "x"}),
        await client.post("/upload_ref", data={"file": "text"}),
    ):
        assert (answer.status_code, answer.json()) == (400, {"message": missing})
    elsewhere = await client.post("/upload_ref", files={"other": b"x"})
    assert elsewhere.status_code == 400
    assert elsewhere.json()["message"].startswith("a file is accepted in the field file only")
    broken = await client.post(
        "/upload_ref", content=b"nonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code == 400
    two = await client.post("/upload_ref", files=[("file", clip()), ("file", clip())])
    assert two.status_code == 400
    text_as_file = await client.post("/upload_ref", files={"file": clip(), "prompt_text": ("a.txt", b"x")})
    assert text_as_file.status_code == 400
    assert service.references == {}


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 300_000}])
async def test_an_upload_beyond_the_limit_is_a_413(client: httpx.AsyncClient, service: FastService) -> None:
    assert (await upload(client, clip(4.0))).status_code == 200
    for data in (b"RIFF" + bytes(300_000), b"RIFF" + bytes(5_000_000)):
        answer = await upload(client, data)
        assert answer.status_code == 413
        assert "at most" in answer.json()["message"]
    assert len(service.references) == 1


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 300_000}])
async def test_a_body_without_an_end_is_answered_and_cut_off(base_url: str) -> None:
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /upload_ref HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )

    async def send_for_ever() -> None:
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
                part = bytes(65536)

    sending = asyncio.create_task(send_for_ever())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    await asyncio.wait_for(sending, 10)  # the server hangs up


@pytest.mark.parametrize("settings", [{"max_concurrent_uploads": 1}])
async def test_uploads_at_once_are_limited(base_url: str, client: httpx.AsyncClient) -> None:
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /upload_ref HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    await reader.readuntil(b"100 Continue")  # the server has begun to read this one
    refused = await upload(client, clip())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    writer.close()
    await writer.wait_closed()
    statuses = [(await upload(client, clip())).status_code for _ in range(3)]
    assert statuses[-1] == 200


@pytest.mark.parametrize("settings", [{"max_concurrent_uploads": 1, "uploads": {"receive_s": 0.3}}])
async def test_a_client_that_hardly_sends_loses_its_slot(base_url: str, client: httpx.AsyncClient) -> None:
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = b"POST /upload_ref HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    writer.write(head + b"Content-Length: 1000\r\n\r\n--x\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 504 ")
    assert (await upload(client, clip())).status_code == 200
    writer.close()
    await writer.wait_closed()


async def test_voices_are_written_listed_and_deleted(client: httpx.AsyncClient, service: FastService) -> None:
    reference = (await upload(client, clip())).json()["id"]
    body = {
        "ref_audio_path": reference,
        "prompt_text": "good evening",
        "prompt_lang": "EN",
        "description": "An evening voice.",
        "consent": "Eve, by mail",
        "emotions": {"Happy": {"ref_audio_path": reference, "prompt_text": "hurrah", "prompt_lang": "en-US"}},
        "gpt_weights": "weights/eve.ckpt",
        "sovits_weights": "weights/eve.pth",
        "defaults": {"speed_factor": "0.9", "top_k": 5, "cache": "true"},
    }
    written = await client.put("/voices/eve", json=body)
    assert written.status_code == 200, written.text
    assert written.json() == {
        "voice_id": "eve",
        "description": "An evening voice.",
        "ref_audio_path": "eve.wav",
        "aux_ref_audio_paths": [],
        "timbre_ref_audio_path": "",
        "prompt_text": "good evening",
        "prompt_lang": "en",
        "emotions": {"Happy": {"ref_audio_path": reference, "prompt_text": "hurrah", "prompt_lang": "en"}},
        "consent": "Eve, by mail",
        "gpt_weights": "weights/eve.ckpt",
        "sovits_weights": "weights/eve.pth",
        "owner": "",
        "defaults": {"speed_factor": 0.9, "top_k": 5, "cache": True},
    }
    assert (await client.get("/voices/eve")).json() == written.json()
    edited = await client.put("/voices/eve", json={**written.json(), "description": "A morning voice."})
    assert edited.json() == {**written.json(), "description": "A morning voice."}
    listed = (await client.get("/voices")).json()["voices"]
    assert [voice["voice_id"] for voice in listed] == ["amy", "bob", "eve"]
    spoken = await client.post("/tts", json={"voice_id": "eve", "text": "hi", "text_lang": "en", "top_k": 9})
    assert spoken.status_code == 200
    request = service.requests[0]
    assert (request.speed, request.sampling.top_k, request.prompt_text) == (0.9, 9, "good evening")
    deleted = await client.delete("/voices/eve")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.get("/voices/eve")).status_code == 404
    assert (await client.delete("/voices/eve")).status_code == 404


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "ref_audio_path is required"),
        ({"ref_audio_path": ""}, "ref_audio_path is required"),
        ({"ref_audio_path": 5}, "ref_audio_path should be a valid string"),
        ({"ref_audio_path": "nowhere"}, "ref_audio_path is not a file under an allowed root, nor an upload"),
        ({"ref_audio_path": "x", "prompt_text": "hi"}, "prompt_lang is required"),
        (
            {"ref_audio_path": "x", "prompt_lang": "xx"},
            "prompt_lang: xx is not supported in version v2; use one of auto, auto_yue, en, zh, ja, yue, ko, all_zh, "
            "all_ja, all_yue, all_ko",
        ),
        ({"ref_audio_path": "x", "emotions": []}, "emotions should be a valid dictionary"),
        ({"ref_audio_path": "x", "emotions": {"sad": {}}}, "ref_audio_path is required"),
        ({"ref_audio_path": "x", "emotions": {"sad": "x"}}, "emotions.sad should be a valid dictionary or instance of"),
        (
            {"ref_audio_path": "x", "emotions": {"sad": {"ref_audio_path": "x", "prompt_text": "hi"}}},
            "emotions: prompt_lang is required",
        ),
        (
            {"ref_audio_path": "x", "emotions": {"": {"ref_audio_path": "x"}}},
            "emotions: a name must be a text of 1 to 64 characters",
        ),
        ({"ref_audio_path": "x", "defaults": []}, "defaults should be a valid dictionary"),
        ({"ref_audio_path": "x", "defaults": {"top_k": -2}}, "defaults: top_k should be greater than or equal to -1"),
        ({"ref_audio_path": "x", "description": "x" * 2001}, "description should have at most 2000 characters"),
        ({"ref_audio_path": "x", "descripton": "hi"}, "unknown field 'descripton', did you mean 'description'?"),
        ({"ref_audio_path": "x", "top_k": 5}, "top_k belongs in defaults: send it as defaults: {top_k: ...}"),
        (
            {"ref_audio_path": "x", "voice_id": "old"},
            "voice_id in the body is not the one of the address; leave it out",
        ),
    ],
)
async def test_a_template_that_cannot_be_used_is_a_400(
    client: httpx.AsyncClient, body: dict[str, Any], expected: str
) -> None:
    answer = await client.put("/voices/new", json=body)
    assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert answer.json()["message"].startswith(expected)


async def test_a_template_sets_only_what_a_template_may_set(client: httpx.AsyncClient) -> None:
    for name, guess in (("text", ", did you mean 'text_lang'?"), ("top_kk", ", did you mean 'top_k'?"), ("abc", "")):
        answer = await client.put("/voices/new", json={"ref_audio_path": "x", "defaults": {name: "hi"}})
        assert answer.status_code == 400
        message = answer.json()["message"]
        assert message.startswith(f"defaults: {name} cannot be set{guess}; ")
        assert message.endswith(f"these can: {', '.join(DEFAULT_FIELDS)}")


def test_templates_set_every_field_but_the_requests_own() -> None:
    clips = {"ref_audio_path", "aux_ref_audio_paths", "timbre_ref_audio_path"}
    own = {"text", "voice_id", "emotion", "prompt_text", "prompt_lang", "timestamps", "subtitles", *clips}
    assert set(DEFAULT_FIELDS) == TtsFields.model_fields.keys() - own


def test_every_field_of_a_voice_is_in_the_one_table() -> None:
    names = {field.name for field in fields(Voice)}
    assert {field.name for field in VOICE_FIELDS} == names - {"voice_id"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"prompt_text": "hi", "prompt_lang": "xx"}, "prompt_lang: xx is not supported in version v2"),
        ({"prompt_lang": "xx"}, "prompt_lang: xx is not supported in version v2"),
        ({"prompt_text": "hi"}, "prompt_lang is required"),
        ({"prompt_text": "x" * 501, "prompt_lang": "en"}, "prompt_text has 501 characters; at most 500 are accepted: "),
        ({"consent": "x" * 2001}, "consent should have at most 2000 characters"),
    ],
)
async def test_what_is_said_of_an_upload_is_checked_when_it_comes(
    client: httpx.AsyncClient, service: FastService, said: dict[str, str], message: str
) -> None:
    answer = await upload(client, clip(), **said)
    assert (answer.status_code, answer.json()["message"][: len(message)]) == (400, message)
    assert service.references == {}


async def test_the_transcript_of_an_upload_stands_in(client: httpx.AsyncClient, service: FastService) -> None:
    path = (await upload(client, clip(), prompt_text="what it says", prompt_lang="EN", consent="me")).json()["path"]
    fields = {"ref_audio_path": path, "text": "hi", "text_lang": "en"}
    await client.post("/tts", json=fields)
    await client.post("/tts", json={**fields, "prompt_text": "other words", "prompt_lang": "zh"})
    await client.post("/tts", json={**fields, "prompt_text": ""})
    prompts = [(request.prompt_text, request.prompt_lang) for request in service.requests]
    assert prompts == [("what it says", "en"), ("other words", "zh"), ("", "")]
    assert service.details[path, ""].consent == "me"


async def test_a_long_clip_can_be_trimmed(client: httpx.AsyncClient) -> None:
    assert (await upload(client, clip(14.0))).status_code == 400
    assert (await upload(client, clip(14.0), trim="true")).json()["duration_s"] == 10.0
    refused = await upload(client, clip(4.0), trim="perhaps")
    assert (refused.status_code, refused.json()) == (400, {"message": "trim must be true or false"})


async def test_an_infected_clip_is_refused(client: httpx.AsyncClient) -> None:
    assert (await upload(client, b"virus")).status_code == 400


def inline(data: bytes, media_type: str = "audio/wav") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


async def test_a_reference_within_the_request(client: httpx.AsyncClient, service: FastService) -> None:
    fields = {
        "ref_audio_path": inline(clip()),
        "text": "hi",
        "text_lang": "en",
        "aux_ref_audio_paths": [inline(clip(5))],
        "timbre_ref_audio_path": inline(clip(3)),
    }
    answer = await client.post("/tts", json=fields)
    assert answer.status_code == 200, answer.text
    request = service.requests[0]
    assert service.references[request.ref_audio] == clip()
    assert service.references[request.aux_ref_audio[0]] == clip(5)
    assert service.references[request.timbre_ref_audio] == clip(3)


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 300_000}])
@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("data:audio/wav,plain", 400),
        ("data:audio/wav;base64,!!!", 400),
        ("data:audio/wav;base64,", 400),
        (inline(b"<html>"), 400),
        (inline(clip(1.0)), 400),
        (inline(b"RIFF" + bytes(300_000)), 413),
    ],
)
async def test_a_reference_within_the_request_obeys_the_rules_of_uploads(
    client: httpx.AsyncClient, service: FastService, reference: str, status: int
) -> None:
    answer = await client.post("/tts", json={"ref_audio_path": reference, "text": "hi", "text_lang": "en"})
    assert answer.status_code == status  # what is no audio is a field of /tts like any other
    assert service.references == {}


KEYS = tuple(
    {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}
    for name, scopes in (("talk", ("synth",)), ("studio", ("synth", "upload")))
)


@pytest.mark.parametrize("settings", [{"api_keys": KEYS}])
async def test_uploads_belong_to_their_key(client: httpx.AsyncClient, service: FastService) -> None:
    fields = {"ref_audio_path": inline(clip()), "text": "hi", "text_lang": "en"}
    refused = await client.post("/tts", json=fields, headers={"X-API-Key": "talk"})
    assert (refused.status_code, service.references) == (403, {})
    assert (await client.post("/tts", json=fields, headers={"X-API-Key": "studio"})).status_code == 200
    assert [owner for _, owner in service.details] == ["studio"]


async def test_references_by_web_address_are_off_by_default(client: httpx.AsyncClient) -> None:
    for url in ("https://clips.example/a.wav", "HTTP://clips.example/a.wav"):
        answer = await client.post("/tts", json={"ref_audio_path": url, "text": "hi", "text_lang": "en"})
        assert answer.status_code == 400
        assert "uploads.from_urls" in answer.json()["message"]


@pytest.mark.parametrize("settings", [{"uploads": {"from_urls": True}}])
async def test_references_by_web_address_never_come_from_this_network(base_url: str, client: httpx.AsyncClient) -> None:
    port = urlsplit(base_url).port
    for url in (f"{base_url}/metrics", f"https://127.0.0.1:{port}/", "https://127.0.0.1/", "https://[::1]/a.wav"):
        answer = await client.post("/tts", json={"ref_audio_path": url, "text": "hi", "text_lang": "en"})
        assert answer.status_code == 400
        assert "from public addresses alone" in answer.json()["message"]
