"""Periodic tasks that are logged and counted when they fail, and keep running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

log = structlog.get_logger(__name__)


class PeriodicWork:
    """Runs pieces of work at intervals on the event loop, supervised: no failure of one ends it or another."""

    def __init__(self) -> None:
        self._work: dict[str, tuple[Callable[[], Awaitable[object]], float]] = {}
        self._failures: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def failures(self) -> Mapping[str, int]:
        """Failed runs of each piece of work since the start, by name."""
        return dict(self._failures)

    def add(self, name: str, work: Callable[[], Awaitable[object]], interval_s: float) -> None:
        """Have `work` run every `interval_s` from `start` on; `name` is for the log and the metrics."""
        self._work[name] = (work, interval_s)
        self._failures[name] = 0

    async def run(self, name: str) -> bool:
        """Run a piece of work now; returns whether it succeeded."""
        work, _ = self._work[name]
        try:
            await work()
        except Exception as error:
            self._failures[name] += 1
            log.error("periodic_work_failed", work=name, exc_info=error)
            return False
        return True

    def start(self) -> None:
        """Begin; the first run of each piece is one interval away."""
        self._tasks = [asyncio.create_task(self._repeat(name)) for name in self._work]

    async def stop(self) -> None:
        """End all of it, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _repeat(self, name: str) -> None:
        _, interval_s = self._work[name]
        while True:
            await asyncio.sleep(interval_s)
            await self.run(name)
