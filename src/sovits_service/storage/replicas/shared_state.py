"""State that the replicas of one configuration agree on: a Redis hash, polled every second."""

from __future__ import annotations

from collections.abc import Mapping

from sovits_service.storage.replicas.redis_link import RedisLink

_TTL_S = 30 * 24 * 3600  # from the last look on: replicas of a configuration that nobody runs any more leave nothing


class SharedState:
    """Named texts.

    Args:
        link: to the Redis that the replicas share.
        scope: what the replicas that agree have in common; those of another configuration begin afresh.
    """

    def __init__(self, link: RedisLink, scope: str, prefix: str = "sovits:") -> None:
        self._link = link
        self._key = f"{prefix}state:{scope}"

    async def read(self) -> Mapping[str, str]:
        """All of it. Raises StorageError."""
        found = await self._link.run(self._read)
        return {name.decode(): value.decode("utf-8", "replace") for name, value in found.items()}

    async def write(self, values: Mapping[str, str]) -> None:
        """Change some of it. Raises StorageError: Redis may or may not have it."""
        await self._link.run(lambda: self._link.client.hset(self._key, mapping=dict(values)))  # type: ignore[arg-type]

    async def _read(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = await self._link.client.hgetall(self._key)  # type: ignore[assignment]
        if found:
            await self._link.client.expire(self._key, _TTL_S)
        return found
