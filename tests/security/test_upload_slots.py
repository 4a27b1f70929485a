"""Slow uploads of one client leave room for the uploads of others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx

from sovits_service.settings import ServiceSettings
from tests.api.conftest import serving
from tests.api.fast_service import FastService
from tests.api.test_voices import clip
from tests.security.real_service import KEYS, upload

HEAD = (
    b"POST /upload_ref HTTP/1.1\r\nHost: x\r\nX-API-Key: ann\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
)


@contextlib.asynccontextmanager
async def slow_upload(address: str) -> AsyncIterator[bytes]:
    """An upload of which nothing comes; gives the first line of what is answered to its head."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(HEAD)
    try:
        yield await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_eight_slow_uploads_of_one_key() -> None:
    service = FastService()
    async with (
        serving(service, ServiceSettings(api_keys=KEYS)) as url,
        httpx.AsyncClient(base_url=url, timeout=20.0) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        answers = [await stack.enter_async_context(slow_upload(url)) for _ in range(8)]
        assert [b"100" in line for line in answers] == [True] * 4 + [False] * 4
        refused = await upload(client, "ann", clip())
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["message"].startswith("at most 4 uploads at once")
        for key in ("bob", "boss"):
            assert (await upload(client, key, clip())).status_code == 200
    assert len(service.references) == 1
