"""Cached answers in a Redis that replicas share; one that is down or slow is left alone until it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import structlog
from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sovits_service.errors import SettingsError
from sovits_service.storage.cache import CacheCounts, CachedAudio, pack_audio, unpack_audio

log = structlog.get_logger(__name__)

T = TypeVar("T")


class CircuitBreaker:
    """Counts failures in a row; after some of them says no for a while, then lets one caller try.

    Args:
        failures_to_open: failures in a row before it says no.
        pause_s: how long it says no.
        clock: seconds that only go forward.
    """

    def __init__(
        self, failures_to_open: int = 3, pause_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures_to_open = failures_to_open
        self._pause_s = pause_s
        self._clock = clock
        self._failures = 0
        self._closed_again_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._failures_to_open

    def allows(self) -> bool:
        """Whether to try; where the pause is over, yes for one caller, and no again for the next."""
        if not self.is_open:
            return True
        if self._clock() < self._closed_again_at:
            return False
        self._closed_again_at = self._clock() + self._pause_s
        return True

    def succeed(self) -> None:
        self._failures = 0

    def fail(self) -> None:
        self._failures += 1
        if self.is_open:
            self._closed_again_at = self._clock() + self._pause_s


class RedisCache:
    """Key -> packed answer with a time to live. Eviction is Redis's own (`maxmemory-policy allkeys-lru`).

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user, password and number as redis-py reads them.
        ttl_s: life of an answer, counted from its writing.
        timeout_s: for one operation, connecting included.
        max_value_bytes: larger answers are not kept.

    Raises:
        SettingsError: not a URL of a Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: float = 24 * 3600.0,
        timeout_s: float = 0.5,
        prefix: str = "sovits:audio:",
        max_value_bytes: int = 64 * 2**20,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.counts = CacheCounts()
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._max_value_bytes = max_value_bytes
        self._breaker = breaker or CircuitBreaker()
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise SettingsError("the Redis URL must begin with redis://, rediss:// or unix://")
        try:
            self._client: Redis = Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                decode_responses=False,
            )
        except ValueError:
            raise SettingsError(
                "the Redis URL cannot be used; write redis://[:password@]host[:port][/number]"
            ) from None

    async def get(self, key: str) -> CachedAudio | None:
        value = await self._guarded(lambda: self._client.get(self._prefix + key))
        audio = unpack_audio(key, value) if isinstance(value, bytes) else None
        self.counts.hits += audio is not None
        self.counts.misses += audio is None
        return audio

    async def put(self, key: str, audio: CachedAudio) -> None:
        value = pack_audio(key, audio)
        if len(value) > self._max_value_bytes:
            return
        written = await self._guarded(lambda: self._client.set(self._prefix + key, value, px=self._ttl_ms))
        self.counts.writes += bool(written)

    async def close(self) -> None:
        await self._client.aclose()

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T | None:
        if not self._breaker.allows():
            self.counts.bypassed += 1
            return None
        try:
            result = await asyncio.wait_for(work(), self._timeout_s)
        except (TimeoutError, RedisError, OSError) as error:
            self.counts.failures += 1
            was_open = self._breaker.is_open
            self._breaker.fail()
            if not was_open:
                log.warning("redis cache failed", error=type(error).__name__, bypassed=self._breaker.is_open)
            return None
        if self._breaker.is_open:
            log.info("redis cache is back")
        self._breaker.succeed()
        return result
