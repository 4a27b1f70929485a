"""What the parts of `Jobs` share: the store's thread, who watches a job, and the room that files have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sovits_service.errors import QuotaExceededError
from sovits_service.jobs.store import JobStore
from sovits_service.threads import run_in

T = TypeVar("T")


class StoreThread:
    """The store, whose methods block, in the one thread that SQLite wants."""

    def __init__(self, folder: Path, max_jobs: int) -> None:
        self.store = JobStore(folder, max_jobs)
        self._thread = ThreadPoolExecutor(1, "sovits-jobs")

    async def run(self, work: Callable[[JobStore], T]) -> T:
        """The result of work on the store; what was begun goes on when the caller is cancelled."""
        return await run_in(self._thread, lambda: work(self.store))

    async def close(self) -> None:
        await self.run(lambda store: store.close())
        self._thread.shutdown(wait=False)


class Watchers:
    """Whoever waits for changes of a job. A change that nobody has looked at yet is one with the next."""

    def __init__(self) -> None:
        self._of: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def on(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the job."""
        changed = asyncio.Event()
        self._of.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._of[job_id].discard(changed)
            if not self._of[job_id]:
                del self._of[job_id]

    def tell(self, job_id: str) -> None:
        for watcher in self._of.get(job_id, ()):
            watcher.set()

    def tell_all(self) -> None:
        for job_id in self._of:
            self.tell(job_id)


class Room:
    """What the files of all jobs may take together."""

    def __init__(self, max_bytes: int) -> None:
        self.used_bytes = 0
        self._max_bytes = max_bytes

    def require(self, further_bytes: int = 1) -> None:
        """Raise a QuotaExceededError where there is no room for so much more."""
        if self.used_bytes + further_bytes > self._max_bytes:
            raise QuotaExceededError(
                "the files of all jobs take as much as jobs.max_bytes allows: delete jobs that are not needed"
            )
