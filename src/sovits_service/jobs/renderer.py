"""The files of finished jobs: made once, in a thread that steps back behind speech."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sovits_service.jobs.model import Job, JobFormat
from sovits_service.jobs.render import Pace, render
from sovits_service.jobs.store import JobStore, Room
from sovits_service.jobs.timeline import place
from sovits_service.threads import lower_priority, run_in

# Niceness: a third of the share of speech on full cores. With less, the thread would now and then keep the
# interpreter lock while it is not scheduled, and with it the event loop.
_NICENESS = 5


@dataclass(slots=True, eq=False)
class _Rendering:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0


class Renderer:
    """Makes the file of a job where it is not there yet; one at a time for each job.

    Args:
        is_awaited: whether others go first.
    """

    def __init__(self, store: JobStore, room: Room, is_awaited: Callable[[], bool]) -> None:
        self._store = store
        self._room = room
        self._is_awaited = is_awaited
        self._thread = ThreadPoolExecutor(1, "sovits-jobs-audio", partial(lower_priority, _NICENESS))
        self._rendering: dict[str, _Rendering] = {}

    async def file(self, job: Job, form: JobFormat) -> Path:
        """The audio of a job all of whose fragments are done or failed.

        Raises:
            SovitsError: as `render`; QuotaExceededError where there is no room for it.
            RenderCancelledError: the job is deleted, or the service is to stop.
        """
        rendering = self._rendering.setdefault(job.id, _Rendering())
        rendering.waiting += 1
        try:
            async with rendering.lock:
                file = await self._store.file(job.id, f"audio.{form}")
                return file or await self._render(job, form, rendering.stop)
        except asyncio.CancelledError:
            rendering.stop.set()  # the thread does not see that nobody waits any more
            raise
        finally:
            rendering.waiting -= 1
            if not rendering.waiting:
                self._rendering.pop(job.id, None)

    async def _render(self, job: Job, form: JobFormat, stop: threading.Event) -> Path:
        await self._room.require()
        placed = place(job, await self._store.fragments(job.id))
        cover = await self._store.cover(job.id)
        pace = Pace(stop, self._is_awaited)
        async with self._store.gathered(job, placed) as folder:
            file = await run_in(self._thread, partial(render, job, form, placed, folder, cover, pace))
            return await self._store.keep(job, file)

    async def end(self, job_id: str) -> None:
        """End what is being made of a job."""
        rendering = self._rendering.get(job_id)
        if rendering is not None:
            rendering.stop.set()
            async with rendering.lock:
                pass

    async def stop(self) -> None:
        for rendering in self._rendering.values():
            rendering.stop.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
