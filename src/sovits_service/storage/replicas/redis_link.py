"""Connection to a shared Redis that fails at once while the server is known to be down."""

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

from sovits_service.errors import SettingsError, StorageError

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


class RedisLink:
    """Runs operations on one Redis; one that is down or slow is left alone until it is back.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user, password and number as redis-py reads them.
        timeout_s: for one operation, connecting included.
        name: what uses it, for the log.

    Attributes:
        failures: operations that Redis did not carry out.
        bypassed: operations that were not tried since it is known to be down.

    Raises:
        SettingsError: not a URL of a Redis.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 0.5, name: str = "redis", breaker: CircuitBreaker | None = None
    ) -> None:
        self.failures = 0
        self.bypassed = 0
        self._timeout_s = timeout_s
        self._name = name
        self._breaker = breaker or CircuitBreaker()
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise SettingsError("the Redis URL must begin with redis://, rediss:// or unix://")
        try:
            self.client: Redis = Redis.from_url(
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

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which uses `client`.

        Raises:
            StorageError: Redis did not carry it out, or has not for a while, so that it was not tried.
        """
        if not self._breaker.allows():
            self.bypassed += 1
            raise StorageError("Redis does not answer; try again in a moment")
        try:
            result = await asyncio.wait_for(work(), self._timeout_s)
        except (TimeoutError, RedisError, OSError) as error:
            self.failures += 1
            was_open = self._breaker.is_open
            self._breaker.fail()
            if not was_open:
                log.warning("redis failed", of=self._name, error=type(error).__name__, bypassed=self._breaker.is_open)
            raise StorageError("Redis does not answer; try again in a moment") from None
        if self._breaker.is_open:
            log.info("redis is back", of=self._name)
        self._breaker.succeed()
        return result

    async def close(self) -> None:
        await self.client.aclose()
