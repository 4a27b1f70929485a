"""Who waits for changes of a job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


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
