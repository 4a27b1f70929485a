"""What replicas share through one Redis, beside the result cache."""

from __future__ import annotations

from sovits_service.storage.replicas.redis_link import RedisLink
from sovits_service.storage.replicas.shared_flights import SharedFlights
from sovits_service.storage.replicas.shared_limits import SharedLimits
from sovits_service.storage.replicas.shared_state import SharedState


class Replicas:
    """This process among the replicas of one Redis.

    Args:
        url: of the Redis.

    Attributes:
        limits: counts what clients do on all replicas.
        flights: has one replica work on equal requests.

    Raises:
        SettingsError: not a URL of a Redis.
    """

    def __init__(self, url: str) -> None:
        self._link = RedisLink(url, name="sharing")
        self.limits = SharedLimits(self._link)
        self.flights = SharedFlights(self._link)

    def state(self, scope: str) -> SharedState:
        """What the replicas of one scope have agreed on."""
        return SharedState(self._link, scope)

    async def close(self) -> None:
        """Give back what is held, and close the connections."""
        await self.limits.close()
        await self._link.close()
