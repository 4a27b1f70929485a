"""The result cache in a Redis that replicas share; while it is down or slow it is bypassed."""

from __future__ import annotations

from sovits_service.errors import StorageError
from sovits_service.storage.replicas.redis_link import CircuitBreaker, RedisLink
from sovits_service.storage.results.cache import CacheCounts, CachedAudio, pack_audio, unpack_audio


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
        self._counts = CacheCounts()
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._prefix = prefix
        self._max_value_bytes = max_value_bytes
        self._link = RedisLink(url, timeout_s=timeout_s, name="cache", breaker=breaker)

    @property
    def counts(self) -> CacheCounts:
        """What it did, as far as Redis carried it out."""
        self._counts.failures, self._counts.bypassed = self._link.failures, self._link.bypassed
        return self._counts

    async def get(self, key: str) -> CachedAudio | None:
        try:
            value = await self._link.run(lambda: self._link.client.get(self._prefix + key))
        except StorageError:
            value = None
        audio = unpack_audio(key, value) if isinstance(value, bytes) else None
        self._counts.hits += audio is not None
        self._counts.misses += audio is None
        return audio

    async def put(self, key: str, audio: CachedAudio) -> None:
        value = pack_audio(key, audio)
        if len(value) > self._max_value_bytes:
            return
        try:
            written = await self._link.run(lambda: self._link.client.set(self._prefix + key, value, px=self._ttl_ms))
        except StorageError:
            return
        self._counts.writes += bool(written)

    async def close(self) -> None:
        await self._link.close()
