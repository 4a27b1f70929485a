"""Rate limits and concurrency bounds across replicas, counted in Redis."""

from __future__ import annotations

import asyncio
import secrets
import time

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from sovits_service.errors import StorageError
from sovits_service.storage.replicas.redis_link import RedisLink

_LEASE_S = 30.0  # a slot of a process that died is free again after so long
_RENEW_S = 10.0

# KEYS[1]: slots of a client, by the time when their lease ends; ARGV: bound, token, lease in seconds.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# The same without the bound; where Redis has forgotten a slot that is still held, it comes back.
_RENEW = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] + time[2] / 1000000 + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class SharedLimits:
    """Counts what clients do on all replicas of one Redis.

    Args:
        link: to the Redis that the replicas share.
        prefix: of its keys.
    """

    def __init__(self, link: RedisLink, prefix: str = "sovits:") -> None:
        self._link = link
        self._prefix = f"{prefix}slots:"
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=f"{prefix}rate",
            connection_pool=link.client.connection_pool,  # type: ignore[arg-type] # typed for options of text
        )
        self._window = MovingWindowRateLimiter(storage)
        self._take = link.client.register_script(_TAKE)
        self._renew = link.client.register_script(_RENEW)
        self._held: dict[str, str] = {}  # token -> key
        self._renewing: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()

    async def hit(self, rate: RateLimitItem, client: str) -> float | None:
        """Count a request; None where it is within the limit, else the seconds until one will be.

        Raises:
            StorageError: Redis does not answer.
        """
        return await self._link.run(lambda: self._hit(rate, client))

    async def take_slot(self, client: str, limit: int) -> str | None:
        """Take one of `limit` slots of a client; None where all are taken.

        Returns:
            What `release` takes. A slot that is not given back since its process died becomes free by itself.

        Raises:
            StorageError: Redis does not answer.
        """
        key, token = self._prefix + client, secrets.token_hex(8)
        try:
            taken = await self._link.run(lambda: self._take(keys=[key], args=[limit, token, round(_LEASE_S)]))
        except (StorageError, asyncio.CancelledError):
            self._remove_later(key, token)  # Redis may have carried it out
            raise
        if not taken:
            return None
        self._held[token] = key
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._keep())
        return token

    def release(self, token: str) -> None:
        """Give a slot back; it is free in a moment."""
        key = self._held.pop(token, None)
        if key is not None:
            self._remove_later(key, token)

    async def close(self) -> None:
        """Give all back, and end."""
        for token in list(self._held):
            self.release(token)
        if self._renewing is not None:
            self._renewing.cancel()
        await asyncio.gather(*self._releasing, *filter(None, [self._renewing]), return_exceptions=True)
        self._renewing = None

    async def _hit(self, rate: RateLimitItem, client: str) -> float | None:
        if await self._window.hit(rate, client):
            return None
        stats = await self._window.get_window_stats(rate, client)
        return max(0.0, stats.reset_time - time.time())

    def _remove_later(self, key: str, token: str) -> None:
        task = asyncio.create_task(self._remove(key, token))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _remove(self, key: str, token: str) -> None:
        try:
            await self._link.run(lambda: self._link.client.zrem(key, token))
        except StorageError:
            return  # its lease ends

    async def _keep(self) -> None:
        """Renew the leases of what is held."""
        while self._held:
            await asyncio.sleep(_RENEW_S)
            for token, key in list(self._held.items()):
                try:
                    await self._link.run(
                        lambda key=key, token=token: self._renew(keys=[key], args=[token, round(_LEASE_S)])  # type: ignore[misc]
                    )
                except StorageError:
                    break  # in the next round
        self._renewing = None
