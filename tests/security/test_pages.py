"""What a web page may do with a service of its reader's: names of hosts, origins, and requests without either."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from tests.api.fast_service import FastService

KEYS = {"api_keys": ({"name": "web", "sha256": hashlib.sha256(b"k").hexdigest()},)}
SPEECH = {"text": "hi", "text_lang": "en", "voice_id": "amy"}
STRANGE_PAGE = {"Origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9880", 200),
        ("localhost:9880", 200),
        ("LOCALHOST", 200),
        ("tts.localhost:9880", 200),
        ("[::1]:9880", 200),
        ("192.168.1.5:9880", 200),
        ("mymachine:9880", 200),
        ("host.docker.internal:9880", 200),
        ("evil.example", 403),
        ("evil.example:9880", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example.", 403),
        ("127.0.0.1@evil.example", 403),
    ],
)
async def test_a_name_that_was_pointed_at_this_machine_is_refused(
    client: httpx.AsyncClient, host: str, status: int
) -> None:
    for method, path in (("GET", "/voices"), ("GET", "/docs"), ("GET", "/health")):
        answer = await client.request(method, path, headers={"Host": host})
        assert answer.status_code == status
    assert (status == 200) or "allowed_hosts" in answer.json()["message"]


@pytest.mark.parametrize("settings", [{"allowed_hosts": ("tts.example.com",)}])
async def test_names_of_a_proxy_are_settings(client: httpx.AsyncClient) -> None:
    for host in ("tts.example.com", "TTS.example.com:8443", "127.0.0.1"):
        assert (await client.get("/voices", headers={"Host": host})).status_code == 200
    for host in ("example.com", "a.tts.example.com", "evil.example"):
        assert (await client.get("/voices", headers={"Host": host})).status_code == 403


@pytest.mark.parametrize("settings", [KEYS])
async def test_with_keys_any_name_will_do(client: httpx.AsyncClient) -> None:
    headers = {"Host": "tts.example.com", "X-API-Key": "k", **STRANGE_PAGE}
    assert (await client.get("/voices", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        STRANGE_PAGE,
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://evil.example/http://localhost"},
        {"Origin": "http://127.0.0.1.evil.example:80"},
        {"Sec-Fetch-Site": "cross-site"},  # an <audio> of a page that hides its address
        {"Referer": "https://evil.example/page"},
    ],
)
async def test_a_strange_page_is_refused_everywhere(
    client: httpx.AsyncClient, service: FastService, headers: dict[str, str]
) -> None:
    answers = [
        await client.get("/tts", params=SPEECH, headers=headers),
        await client.post("/tts", json=SPEECH, headers=headers),
        await client.post("/v1/audio/speech", json={"input": "hi", "voice": "amy"}, headers=headers),
        await client.get("/voices", headers=headers),
        await client.delete("/voices/amy", headers=headers),
        await client.put("/voices/new", json={}, headers=headers),
        await client.post("/upload_ref", files={"file": b"RIFF"}, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert all("access-control-allow-origin" not in answer.headers for answer in answers)
    assert (service.started, list(service.templates)) == (0, ["amy", "bob"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8000"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": "https://[::1]:8000"},
        {"Referer": "http://127.0.0.1:8000/chat", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_this_machine_speaks_and_lists_and_no_more(
    client: httpx.AsyncClient, service: FastService, headers: dict[str, str]
) -> None:
    for answer in (
        await client.get("/tts", params=SPEECH, headers=headers),
        await client.post("/tts", json=SPEECH, headers=headers),
        await client.get("/voices", headers=headers),
    ):
        assert answer.status_code == 200
        assert answer.headers.get("access-control-allow-origin") == headers.get("Origin")
    assert (await client.delete("/voices/amy", headers=headers)).status_code == 403
    assert (await client.post("/upload_ref", files={"file": b"RIFF"}, headers=headers)).status_code == 403
    inline = {**SPEECH, "ref_audio_path": "data:audio/wav;base64,AAAA"}
    assert (await client.post("/tts", json=inline, headers=headers)).status_code == 403
    assert "amy" in service.templates


async def test_the_preflight_of_a_page_of_this_machine_is_answered(client: httpx.AsyncClient) -> None:
    headers = {
        "Origin": "http://localhost:8000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = await client.options("/tts", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "http://localhost:8000")
    stranger = await client.options("/tts", headers={**headers, **STRANGE_PAGE})
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("settings", [{"cors_origins": ("https://page.example", "null")}])
@pytest.mark.parametrize("origin", ["https://page.example", "null"])
async def test_pages_that_are_named_may_write_too(client: httpx.AsyncClient, origin: str) -> None:
    headers = {"Origin": origin}
    spoken = await client.post("/tts", json=SPEECH, headers=headers)
    assert (spoken.status_code, spoken.headers["access-control-allow-origin"]) == (200, origin)
    assert (await client.delete("/voices/amy", headers=headers)).status_code == 204
    assert (await client.get("/voices", headers=STRANGE_PAGE)).status_code == 403


async def test_pages_of_the_service_itself_may_write_too(client: httpx.AsyncClient, base_url: str) -> None:
    assert (await client.get("/voices", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200
    assert (await client.delete("/voices/amy", headers={"Origin": base_url})).status_code == 204


@pytest.mark.parametrize("settings", [{"admin": {"enabled": True}, "cors_origins": ("*",)}])
async def test_no_page_administers_without_a_key(
    client: httpx.AsyncClient, service: FastService, base_url: str
) -> None:
    path = "/set_gpt_weights?weights_path=a.ckpt"
    pages: list[dict[str, Any]] = [
        STRANGE_PAGE,
        {"Origin": "http://localhost:8000"},
        {"Origin": base_url},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Referer": "https://evil.example/"},
    ]
    for headers in pages:
        assert (await client.get(path, headers=headers)).status_code == 403
    assert service.switched == []
    assert (await client.get(path)).status_code == 200  # api_v2's clients are programs, not pages
