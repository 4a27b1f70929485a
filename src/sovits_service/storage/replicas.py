"""What replicas share through one Redis, beside the answers in the cache."""

from __future__ import annotations

from sovits_service.storage.redis_link import RedisLink
from sovits_service.storage.shared_limits import SharedLimits


class Replicas:
    """This process among the replicas of one Redis.

    Args:
        url: of the Redis.

    Attributes:
        limits: counts what clients do on all replicas.

    Raises:
        SettingsError: not a URL of a Redis.
    """

    def __init__(self, url: str) -> None:
        self._link = RedisLink(url, name="sharing")
        self.limits = SharedLimits(self._link)

    async def close(self) -> None:
        """Give back what is held, and close the connections."""
        await self.limits.close()
        await self._link.close()
