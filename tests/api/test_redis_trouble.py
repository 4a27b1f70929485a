"""A Redis that stops, freezes, restarts and forgets under load: every request is answered, and with its own speech."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import httpx
import numpy as np
import pytest
from redis import Redis

from sovits_service.settings import ServiceSettings
from sovits_service.storage.replicas.redis_link import CircuitBreaker
from sovits_service.storage.results.redis_cache import RedisCache
from tests.api.conftest import serving
from tests.api.fast_service import FastService, heard, pitch_hz
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

CLIENTS, REQUESTS_A_STATE, TEXTS = 16, 120, 40


async def test_no_request_fails_while_redis_stops_freezes_restarts_and_forgets(
    service: FastService, redis_server: RedisServer
) -> None:
    service.results = RedisCache(redis_server.url, timeout_s=0.05, breaker=CircuitBreaker(3, 0.02))
    done = asyncio.Event()
    states: Counter[str] = Counter()
    answered = asyncio.Event()

    async def converse(url: str, number: int) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60.0) as http:
            for turn in itertools.count(number):
                if done.is_set():
                    return
                text, voice = f"t{turn % TEXTS:02}", ("amy", "bob")[turn % 2]
                fields = {"text": text, "text_lang": "en", "voice_id": voice, "seed": 1, "media_type": "raw"}
                answer = await http.post("/tts", json={**fields, "streaming_mode": turn % 3 % 2})
                assert answer.status_code == 200, answer.text
                samples = np.frombuffer(answer.content, "<i2") / 32768
                assert heard(samples, len(text)) == pytest.approx([pitch_hz(voice, c) for c in text], abs=8.0)
                states[answer.headers["x-cache"]] += 1
                answered.set()

    async def some_requests() -> None:
        before = states.total()
        while states.total() < before + REQUESTS_A_STATE:
            answered.clear()
            one_more = asyncio.create_task(answered.wait())
            await asyncio.wait([one_more, *clients], return_when=asyncio.FIRST_COMPLETED)
            assert not any(task.done() for task in clients), [task.exception() for task in clients if task.done()]

    def forget() -> None:
        with Redis.from_url(redis_server.url) as admin:
            admin.flushall()

    async with serving(service, ServiceSettings()) as url:
        clients = [asyncio.create_task(converse(url, 5 * number)) for number in range(CLIENTS)]
        await some_requests()
        for trouble in (forget, redis_server.stop, redis_server.start, redis_server.freeze, redis_server.thaw, forget):
            await asyncio.to_thread(trouble)
            await some_requests()
        hits = states["hit"]
        while states["hit"] < hits + REQUESTS_A_STATE:  # back by itself
            await some_requests()
        done.set()
        await asyncio.gather(*clients)
        async with httpx.AsyncClient(base_url=url) as http:
            metrics = (await http.get("/metrics")).text
    counts = service.results.counts
    assert min(counts.hits, counts.misses, counts.failures, counts.bypassed) > 0
    assert f"sovits_cache_failures_total {counts.failures:.1f}" in metrics
    assert f"sovits_cache_bypassed_total {counts.bypassed:.1f}" in metrics
    assert service.started == service.closed
    await service.results.close()
