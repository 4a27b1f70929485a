"""Two servers with one Redis: what a client may do on both together, and what they do when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from redis import Redis

from sovits_service.settings import ServiceSettings
from sovits_service.storage.replicas.replicas import Replicas
from sovits_service.storage.results.redis_cache import RedisCache
from tests.api.conftest import serving
from tests.api.fast_service import FastService
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

Say = Callable[..., dict[str, Any]]


@pytest.fixture
async def pair(
    service: FastService, settings: dict[str, Any], redis_server: RedisServer
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of two servers, each with its own access control, and one service behind both."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            replicas = Replicas(redis_server.url)
            stack.push_async_callback(replicas.close)
            service.limits = replicas.limits
            url = await stack.enter_async_context(serving(service, ServiceSettings(**settings)))
            clients.append(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20.0)))
        yield clients[0], clients[1]


@pytest.mark.parametrize("settings", [{"rate_limit": "5/hour"}])
async def test_a_rate_limit_holds_for_both_together(
    pair: tuple[httpx.AsyncClient, httpx.AsyncClient], say: Say, redis_server: RedisServer
) -> None:
    statuses = [(await pair[number % 2].post("/tts", json=say())).status_code for number in range(5)]
    assert statuses == [200] * 5
    for client in pair:
        over = await client.post("/tts", json=say())
        assert over.status_code == 429
        assert 3500 <= int(over.headers["retry-after"]) <= 3601
    # Without Redis each counts for itself, and what it has counted so far still counts.
    redis_server.stop()
    statuses = [(await pair[0].post("/tts", json=say())).status_code for _ in range(6)]
    assert 429 in statuses
    assert set(statuses) <= {200, 429}


@pytest.mark.parametrize("settings", [{"max_concurrent_per_client": 2}])
@pytest.mark.parametrize("streaming_mode", [0, 1])
async def test_syntheses_at_once_are_bounded_for_both_together(
    pair: tuple[httpx.AsyncClient, httpx.AsyncClient],
    service: FastService,
    say: Say,
    redis_server: RedisServer,
    streaming_mode: int,
) -> None:
    service.gate = asyncio.Semaphore(0)
    fields = say("abc", streaming_mode=streaming_mode)
    running = [asyncio.create_task(client.post("/tts", json=fields)) for client in pair]
    while service.started < 2:
        service.began.clear()
        await asyncio.wait_for(service.began.wait(), 10)
    for client in pair:
        assert (await client.post("/tts", json=fields)).status_code == 429
    for _ in range(6):
        service.gate.release()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200]
    service.gate = None
    with Redis.from_url(redis_server.url) as admin:
        while admin.keys("sovits:slots:*"):  # given back in a moment
            await asyncio.sleep(0.005)
        # Slots of a process that died are no one's any more once their leases have ended.
        admin.zadd("sovits:slots:address:127.0.0.1", {"dead": time.time() - 1, "dead too": time.time() - 1})
        assert (await pair[0].post("/tts", json=fields)).status_code == 200
        admin.zadd("sovits:slots:address:127.0.0.1", {"alive": time.time() + 60, "alive too": time.time() + 60})
        assert (await pair[0].post("/tts", json=fields)).status_code == 429
    redis_server.stop()
    assert (await pair[0].post("/tts", json=fields)).status_code == 200


async def test_equal_requests_on_both_are_one_synthesis(
    service: FastService, redis_server: RedisServer, say: Say
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            replicas = Replicas(redis_server.url)
            stack.push_async_callback(replicas.close)
            service.flights = replicas.flights
            service.results = RedisCache(redis_server.url)
            stack.push_async_callback(service.results.close)
            url = await stack.enter_async_context(serving(service, ServiceSettings()))
            clients.append(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20.0)))
        service.gate = asyncio.Semaphore(0)
        asked = [clients[number % 2].post("/tts", json=say("abc", seed=1)) for number in range(6)]
        running = [asyncio.create_task(one) for one in asked]
        await asyncio.wait_for(service.began.wait(), 10)
        with Redis.from_url(redis_server.url) as admin:
            (flight,) = admin.keys("sovits:flight:*")
            service.gate.release()
            answers = await asyncio.gather(*running)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            assert sorted(answer.headers["x-cache"] for answer in answers) == ["hit"] * 5 + ["miss"]
            assert service.started == 1
            assert not admin.exists(flight)
            # A failure is nobody else's, and leaves nothing that others wait for.
            failed = await asyncio.gather(*(client.post("/tts", json=say("broken", seed=1)) for client in clients))
            assert [answer.status_code for answer in failed] == [400, 400]
            # One that died while it worked is not waited for longer than its lease.
            service.gate = None
            admin.flushall()
            admin.set(flight, "of a dead process", px=100)
            assert (await clients[0].post("/tts", json=say("abc", seed=1))).headers["x-cache"] == "miss"
        redis_server.stop()
        assert (await clients[1].post("/tts", json=say("abc", seed=1))).status_code == 200
