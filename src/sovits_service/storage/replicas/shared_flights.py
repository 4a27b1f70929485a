"""Single flight across replicas: a lease in Redis lets one of them do the work of equal requests."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sovits_service.errors import StorageError
from sovits_service.storage.replicas.redis_link import RedisLink

T = TypeVar("T")

_LEASE_MS = 10_000  # work of a process that died is taken over by another after so long
_RENEW_S = 3.0
_LOOK_S = 0.05

# A key without an end of its own is no lease, but a value of another program, or another version.
_BEGIN = "if redis.call('PTTL', KEYS[1]) < 0 then return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end"
_END = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"


class SharedFlights:
    """One replica at a time works on a key; the others wait, and take what it has kept.

    Args:
        link: to the Redis that the replicas share.
    """

    def __init__(self, link: RedisLink, prefix: str = "sovits:") -> None:
        self._link = link
        self._prefix = f"{prefix}flight:"
        self._take = link.client.register_script(_BEGIN)
        self._end = link.client.register_script(_END)
        self._renew = link.client.register_script(_RENEW)

    async def run(
        self, key: str, look_up: Callable[[], Awaitable[T | None]], work: Callable[[], Awaitable[T]]
    ) -> tuple[T, bool]:
        """The result of `work`, or what a replica that did the same work meanwhile has kept.

        Args:
            look_up: the kept result; None where it was not kept, as after a failure.
            work: makes the result, and keeps it. Where Redis does not answer, each replica does it for itself.

        Returns:
            The result, and whether it is another replica's.
        """
        name, token = self._prefix + key, secrets.token_hex(8)
        while not await self._begin(name, token):
            while await self._is_taken(name):  # noqa: ASYNC110 - another process has it
                await asyncio.sleep(_LOOK_S)
            kept = await look_up()
            if kept is not None:
                return kept, True
        async with self._held(name, token):
            return await work(), False

    async def _begin(self, name: str, token: str) -> bool:
        try:
            return bool(await self._link.run(lambda: self._take(keys=[name], args=[token, _LEASE_MS])))
        except StorageError:
            return True

    async def _is_taken(self, name: str) -> bool:
        try:
            return await self._link.run(lambda: self._link.client.pttl(name)) > 0
        except StorageError:
            return False

    @contextlib.asynccontextmanager
    async def _held(self, name: str, token: str) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._keep(name, token))
        try:
            yield
        finally:
            renewing.cancel()
            with contextlib.suppress(StorageError):  # the lease ends
                await self._link.run(lambda: self._end(keys=[name], args=[token]))

    async def _keep(self, name: str, token: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(StorageError):
                await self._link.run(lambda: self._renew(keys=[name], args=[token, _LEASE_MS]))
