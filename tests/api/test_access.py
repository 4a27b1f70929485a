"""Keys, scopes, rate limits and bounds on what runs at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from sovits_service.settings import ServiceSettings
from tests.api.fast_service import FastService

Say = Callable[..., dict[str, Any]]


def key(name: str, *scopes: str) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(f"secret-{name}".encode()).hexdigest(), "scopes": scopes}


KEYS = {"api_keys": (key("talk", "synth"), key("studio", "synth", "upload"), key("boss", "admin"))}


@pytest.mark.parametrize("settings", [KEYS])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer secret-nobody"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic secret-talk"}, 401),
        ({"X-API-Key": "secret-tal"}, 401),
        ({"X-API-Key": "secret-talk\xff"}, 401),
        ({"X-API-Key": KEYS["api_keys"][0]["sha256"]}, 401),
        ({"X-API-Key": "secret-boss"}, 403),
        ({"X-API-Key": "secret-talk"}, 200),
        ({"Authorization": "Bearer secret-talk"}, 200),
        ({"Authorization": "bearer  secret-studio"}, 200),
    ],
)
async def test_speech_asks_for_a_key_with_the_scope(
    client: httpx.AsyncClient, service: FastService, say: Say, headers: dict[str, str], status: int
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    for answer in (
        await client.post("/tts", json=say(), headers=encoded),
        await client.get("/tts", params=say(), headers=encoded),
        await client.post("/v1/audio/speech", json={"input": "hi", "voice": "amy"}, headers=encoded),
        await client.get("/voices", headers=encoded),
    ):
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (status == 401)
    assert service.started == (3 if status == 200 else 0)


@pytest.mark.parametrize("settings", [KEYS])
async def test_a_key_is_asked_for_before_anything_is_told(client: httpx.AsyncClient) -> None:
    for method, path in [
        ("POST", "/tts"), ("GET", "/tts"), ("POST", "/upload_ref"), ("GET", "/voices"), ("GET", "/voices/amy"),
        ("PUT", "/voices/amy"), ("DELETE", "/voices/amy"), ("POST", "/v1/audio/speech"), ("GET", "/metrics"),
    ]:  # fmt: skip
        answer = await client.request(method, path)
        assert answer.status_code == 401, path
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("settings", [KEYS])
async def test_voices_are_written_with_the_upload_scope_alone(client: httpx.AsyncClient, service: FastService) -> None:
    for method, path in [("POST", "/upload_ref"), ("PUT", "/voices/new"), ("DELETE", "/voices/amy")]:
        answer = await client.request(method, path, headers={"X-API-Key": "secret-talk"})
        assert (answer.status_code, answer.json()) == (403, {"message": "the key lacks the scope upload"})
    assert "amy" in service.templates
    assert (await client.delete("/voices/amy", headers={"X-API-Key": "secret-studio"})).status_code == 204


@pytest.mark.parametrize("settings", [{**KEYS, "rate_limit": "3/hour"}])
async def test_the_rate_limit_is_of_each_key(client: httpx.AsyncClient, say: Say) -> None:
    for name in ("talk", "studio"):
        headers = {"X-API-Key": f"secret-{name}"}
        statuses = [(await client.post("/tts", json=say(), headers=headers)).status_code for _ in range(3)]
        assert statuses == [200, 200, 200]
    over = await client.post("/tts", json=say(), headers={"X-API-Key": "secret-talk"})
    assert (over.status_code, over.json()) == (
        429,
        {"message": "too many requests: at most 3/hour; wait and try again"},
    )
    assert 3500 <= int(over.headers["retry-after"]) <= 3601
    assert (await client.get("/metrics", headers={"X-API-Key": "secret-talk"})).status_code == 200


@pytest.mark.parametrize("settings", [{"rate_limit": "2/minute"}])
async def test_without_keys_the_rate_limit_is_of_each_address(client: httpx.AsyncClient, say: Say) -> None:
    statuses = [(await client.get("/tts", params=say())).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("settings", [{"max_concurrent_per_client": 2}])
@pytest.mark.parametrize("streaming_mode", [0, 2])
async def test_syntheses_of_one_client_at_once(
    client: httpx.AsyncClient, service: FastService, say: Say, streaming_mode: int
) -> None:
    service.gate = asyncio.Semaphore(0)
    fields = say("abc", streaming_mode=streaming_mode)
    running = [asyncio.create_task(client.post("/tts", json=fields)) for _ in range(2)]
    while service.started < 2:
        service.began.clear()
        await asyncio.wait_for(service.began.wait(), 10)
    refused = await client.post("/tts", json=fields)
    assert (refused.status_code, refused.json()["message"]) == (
        429,
        "at most 2 syntheses at once; let one finish first",
    )
    for _ in range(6):
        service.gate.release()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200]
    service.gate = None
    assert (await client.post("/tts", json=fields)).status_code == 200


def test_a_hash_may_be_written_in_capitals() -> None:
    assert ServiceSettings(api_keys=({"name": "x", "sha256": "AB" * 32},)).api_keys[0].sha256 == "ab" * 32


@pytest.mark.parametrize("sha256", ["", "secret", "A" * 63, "g" * 64])
def test_a_key_that_is_no_hash_is_refused_and_not_shown(sha256: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ServiceSettings(api_keys=({"name": "x", "sha256": sha256},))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("rate_limit", ["fast", "0/minute", "5 per minute", "5/fortnight"])
def test_a_rate_limit_that_cannot_be_read_is_refused(rate_limit: str) -> None:
    with pytest.raises(ValidationError):
        ServiceSettings(rate_limit=rate_limit)
