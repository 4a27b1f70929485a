"""What a client holds before a route has looked at its request: real sockets, a real server, short limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from sovits_service.settings import ServiceSettings
from tests.api.conftest import serving
from tests.api.fast_service import FastService

Say = Callable[..., dict[str, Any]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SHORT = {"connections": {"header_s": 0.2, "body_s": 0.2, "header_bytes": 4096, "max": 2}}
WHOLE = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def connected(base_url: str) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; a reset is an end too."""
    received = b""
    try:
        while part := await asyncio.wait_for(reader.read(65536), 20):
            received += part
    except ConnectionResetError:
        pass
    return received


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(length)


async def drip(writer: asyncio.StreamWriter, piece: bytes, ended: asyncio.Event) -> None:
    """Sends a little again and again, as a client that wants to hold its connection does."""
    try:
        while not ended.is_set():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
    except ConnectionError:
        return


@pytest.mark.parametrize("settings", [SHORT])
async def test_headers_have_a_size(base_url: str) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: " + b"a" * 5000)
        status, body = await answer_of(reader)
        assert (status, json.loads(body)) == (
            431,
            {"message": "the address and the headers of a request may have 4,096 bytes; send a long text with POST"},
        )
        assert await rest_of(reader) == b""


async def test_a_text_of_the_longest_length_fits_a_get(base_url: str) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(f"GET /tts?text={quote('啊' * 10_000)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert (await answer_of(reader))[1] == b'{"message":"ref_audio_path is required"}'


@pytest.mark.parametrize("settings", [SHORT])
@pytest.mark.parametrize("first", [b"", b"GET /hea"])
async def test_a_request_that_does_not_come_ends_its_connection(base_url: str, first: bytes) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(first)
        received = await rest_of(reader)
    assert received.startswith(b"HTTP/1.1 408 ") if first else received == b""


@pytest.mark.parametrize("settings", [SHORT])
async def test_more_headers_now_and_then_win_no_time(base_url: str) -> None:
    async with connected(base_url) as (reader, writer):
        ended = asyncio.Event()
        writer.write(b"GET /health HTTP/1.1\r\n")
        dripping = asyncio.create_task(drip(writer, b"X-A: b\r\n", ended))
        received = await rest_of(reader)
        ended.set()
        await dripping
    assert received.startswith(b"HTTP/1.1 408 ") or not received


@pytest.mark.parametrize("settings", [SHORT])
@pytest.mark.parametrize(
    "target", ["POST /tts", "GET /tts?text=a&text_lang=en&voice_id=amy", "PUT /voices/new", "POST /v1/audio/speech"]
)
async def test_a_body_that_comes_slowly_is_given_up(base_url: str, target: str) -> None:
    async with connected(base_url) as (reader, writer):
        head = f"{target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode())
        ended = asyncio.Event()
        dripping = asyncio.create_task(drip(writer, b" ", ended))
        status, body = await answer_of(reader)
        assert status == 504
        assert b"the request's body took longer than 0.2 s to arrive" in body
        await rest_of(reader)  # and the connection ends with it
        ended.set()
        await dripping


@pytest.mark.parametrize("settings", [SHORT])
async def test_a_body_that_no_route_reads_does_not_hold_its_connection(base_url: str) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
        assert (await answer_of(reader))[0] == 200
        ended = asyncio.Event()
        dripping = asyncio.create_task(drip(writer, b"a", ended))
        await rest_of(reader)
        ended.set()
        await dripping


@pytest.mark.parametrize("settings", [SHORT])
async def test_a_client_that_pauses_between_requests_keeps_its_connection(base_url: str) -> None:
    async with connected(base_url) as (reader, writer):
        for _ in range(2):
            writer.write(WHOLE)
            assert (await answer_of(reader))[0] == 200
            async with connected(base_url) as (silent, _):
                assert await rest_of(silent) == b""  # the pause is longer than headers may take
        writer.write(WHOLE + WHOLE)  # and pipelining works
        assert [(await answer_of(reader))[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("settings", [{"connections": {"max": 3}}])
async def test_idle_connections_make_room_for_others(base_url: str) -> None:
    async with connected(base_url) as first, connected(base_url) as second, connected(base_url) as third:
        for reader, writer in (first, second, third):
            writer.write(WHOLE)
            assert (await answer_of(reader))[0] == 200
        async with connected(base_url) as (reader, writer):
            writer.write(WHOLE)
            assert (await answer_of(reader))[0] == 200
        ends = [asyncio.create_task(rest_of(reader)) for reader, _ in (first, second, third)]
        done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, 2)
        for task in waiting:
            task.cancel()


@pytest.mark.parametrize("settings", [{"connections": {"max": 2}}])
async def test_connections_have_a_number(base_url: str, service: FastService, say: Say) -> None:
    service.gate = asyncio.Semaphore(0)
    async with httpx.AsyncClient(base_url=base_url, timeout=20) as http:
        at_work = [asyncio.create_task(http.post("/tts", json=say(streaming_mode=1))) for _ in range(2)]
        while service.started < 2:
            service.began.clear()
            await asyncio.wait_for(service.began.wait(), 10)
        for path, status in (("/tts", 503), ("/health", 200), ("/ready", 200), ("//health/", 200), ("/voices", 503)):
            async with connected(base_url) as (reader, writer):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                answer = await rest_of(reader)  # and the connection is closed
            assert answer.startswith(b"HTTP/1.1 %d " % status), path
            assert (b"retry-after: 1" in answer) == (status == 503)
        async with contextlib.AsyncExitStack() as held:
            for _ in range(8):  # the reserve, with clients that ask for nothing
                await held.enter_async_context(connected(base_url))
            reader, _ = await held.enter_async_context(connected(base_url))
            refusal = await rest_of(reader)
            assert refusal.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in refusal
            assert service.started == 2
        for _ in range(10):
            service.gate.release()
        assert [answer.status_code for answer in await asyncio.gather(*at_work)] == [200, 200]


@pytest.mark.parametrize(
    ("trusted", "expected"), [((), [200, 429]), (("127.0.0.1",), [200, 200]), (("10.0.0.0/8",), [200, 429])]
)
async def test_a_forwarded_address_is_believed_of_proxies_alone(
    service: FastService, say: Say, trusted: tuple[str, ...], expected: list[int]
) -> None:
    settings = ServiceSettings(rate_limit="1/hour", trusted_proxies=trusted)
    async with serving(service, settings) as url, httpx.AsyncClient(base_url=url) as http:
        statuses = [
            (await http.get("/tts", params=say(), headers={"X-Forwarded-For": f"203.0.113.{number}"})).status_code
            for number in range(2)
        ]
    assert statuses == expected


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        ServiceSettings(trusted_proxies=("nginx",))


async def test_the_query_of_an_upgrade_is_not_logged(base_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(base_url) as (reader, writer):
        writer.write(
            b"GET /tts?text=private&text_lang=en HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await answer_of(reader))[0] == 400  # no WebSocket is there: the answer of GET /tts without a reference
    assert "private" not in caplog.text


@pytest.mark.parametrize(
    ("request_line", "body", "status"),
    [
        (b"GET /health", b"", 200),
        (b"GET /voices/amy", b"", 200),
        (b"POST /tts", b'{"text": "hello", "text_lang": "en", "voice_id": "amy"}', 200),
        (b"POST /tts", b"{}", 400),
        (b"GET /ws/nothing", b"", 404),
        (b"DELETE /health", b"", 405),
    ],
)
async def test_an_upgrade_where_no_websocket_is_is_answered_by_the_route(
    base_url: str, request_line: bytes, body: bytes, status: int
) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(
            request_line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert (await answer_of(reader))[0] == status
        writer.write(WHOLE)
        assert (await answer_of(reader))[0] == 200


@pytest.mark.parametrize("settings", [{"root_path": "/speech"}])
@pytest.mark.parametrize("path", ["/ws/tts", "/speech/ws/tts", "/ws/tts/", "//ws/tts", "/ws%2Ftts"])
async def test_a_websocket_is_found_by_every_spelling_of_its_path(base_url: str, path: str) -> None:
    async with connected(base_url) as (reader, writer):
        writer.write(
            b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % path.encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 101")
