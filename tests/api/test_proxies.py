"""Behind a reverse proxy, and what the HTTP layer itself owes a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sovits_service.storage.objects.objects import LocalObjects
from tests.api.fast_service import FastService

Say = Callable[..., dict[str, Any]]
BEHIND_A_PREFIX = pytest.mark.parametrize("settings", [{"root_path": "/speech"}])


@BEHIND_A_PREFIX
@pytest.mark.parametrize("prefix", ["", "/speech", "/speech/", "//speech"])
async def test_a_prefix_may_be_taken_away_or_not(client: httpx.AsyncClient, say: Say, prefix: str) -> None:
    base = str(client.base_url).rstrip("/")
    assert (await client.post(f"{base}{prefix}/tts", json=say())).content[:4] == b"RIFF"
    missing = await client.post(f"{base}{prefix}/v1/audio/speech", json={})
    assert missing.json()["error"]["message"] == "input is required"
    assert (await client.post(f"{base}{prefix}/", json={"text": 1})).json()["code"] == 400


@BEHIND_A_PREFIX
async def test_the_documentation_and_links_know_the_prefix(
    client: httpx.AsyncClient, service: FastService, say: Say, tmp_path: Path
) -> None:
    assert (await client.get("/speech/docs")).status_code == 200
    assert (await client.get("/speech/docs/assets/swagger-ui.css")).status_code == 200
    assert (await client.get("/speech/openapi.json")).json()["servers"] == [{"url": "/speech"}]
    service.objects = LocalObjects(tmp_path)
    url = (await client.post("/tts", json=say(response="url"))).json()["url"]
    assert urlsplit(url).path.startswith("/speech/objects/")
    assert (await client.get(url)).content[:4] == b"RIFF"


async def test_without_the_setting_a_prefix_is_unknown(client: httpx.AsyncClient, say: Say) -> None:
    assert (await client.post("/speech/tts", json=say())).status_code == 404
    assert (await client.get("/ttsx")).status_code == 404


async def test_a_client_that_waits_for_leave_to_send_gets_it(base_url: str, say: Say) -> None:
    """curl does so with bodies over a megabyte, and some clients always."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = json.dumps(say()).encode()
    head = f"POST /tts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode())
    leave = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert leave.startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"RIFF" in answer
