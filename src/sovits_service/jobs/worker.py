"""Keep some fragments of unfinished jobs in work, job by job in turn, and put finished jobs together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from sovits_service.errors import SovitsError, StorageError
from sovits_service.jobs.model import Job, JobOptions, JobState
from sovits_service.jobs.render import RenderCancelledError
from sovits_service.jobs.renderer import Renderer
from sovits_service.jobs.speaking import Speaker, speak_fragment
from sovits_service.jobs.upkeep import Room, StoreThread, Watchers

log = structlog.get_logger(__name__)

_STORE_POLL_S = 5.0  # until the next try to write, while the store takes nothing
_INTERNAL = "internal error; the log says more"


@dataclass(slots=True, eq=False)
class _Work:
    """A job that is not over.

    Attributes:
        waiting: numbers of fragments that nobody speaks yet.
        tasks: what is being done for it.
        started_s, characters: when this process began with it, and what it has spoken since.
    """

    job_id: str
    options: JobOptions
    waiting: deque[int]
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    started_s: float = 0.0
    characters: int = 0
    is_finishing: bool = False


class Worker:
    """The jobs that are not over; `run` works on them until it is cancelled."""

    def __init__(
        self, service: Speaker, stored: StoreThread, renderer: Renderer, room: Room, watchers: Watchers, at_once: int
    ) -> None:
        self._service = service
        self._stored = stored
        self._renderer = renderer
        self._room = room
        self._watchers = watchers
        self._at_once = at_once
        self._work: deque[_Work] = deque()
        self._wake = asyncio.Event()

    def add(self, job: Job, waiting: list[int]) -> None:
        """Work on a job, of which these fragments are still to be spoken."""
        self._work.append(_Work(job.id, job.options, deque(waiting)))
        self._wake.set()

    async def remove(self, job_id: str) -> None:
        """Let go of a job, if there is work on it."""
        work = self._find(job_id)
        if work is not None:
            await self._let_go(work)

    def remaining_s(self, job: Job) -> float | None:
        """How long the rest of a job will take at the rate so far; None before anything is known of it."""
        work = self._find(job.id)
        if work is None or not work.characters:
            return None
        elapsed_s = time.monotonic() - work.started_s
        return (job.characters - job.characters_done) * elapsed_s / work.characters

    async def run(self) -> None:
        servers = [asyncio.create_task(self._serve()) for _ in range(self._at_once)]
        try:
            await asyncio.gather(*servers)
        finally:
            for server in servers:
                server.cancel()
            await asyncio.gather(*servers, return_exceptions=True)

    def _find(self, job_id: str) -> _Work | None:
        return next((work for work in self._work if work.job_id == job_id), None)

    async def _let_go(self, work: _Work) -> None:
        self._work.remove(work)
        tasks = work.tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            claim = self._claim()
            if claim is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            work, step = claim
            task = asyncio.create_task(step)
            work.tasks.add(task)
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                work.tasks.discard(task)
            self._wake.set()  # the last fragment of a job makes its end possible
            if not task.cancelled() and (error := task.exception()) is not None and work in self._work:
                await self._fail(work, error)

    def _claim(self) -> tuple[_Work, Coroutine[Any, Any, None]] | None:
        """The next thing to do, of each job in turn."""
        for _ in range(len(self._work)):
            work = self._work[0]
            self._work.rotate(-1)
            if work.waiting:
                return work, self._speak(work, work.waiting.popleft())
            if not work.tasks and not work.is_finishing:
                work.is_finishing = True
                return work, self._finish(work)
        return None

    async def _speak(self, work: _Work, number: int) -> None:
        if not work.started_s:
            work.started_s = time.monotonic()
            await self._stored.run(lambda store: store.set_state(work.job_id, "running"))
            self._watchers.tell(work.job_id)
        self._room.require()
        [fragment] = await self._stored.run(lambda store: store.fragments(work.job_id, number, 1))
        spoken, audio = await speak_fragment(self._service, fragment, work.options.max_speed_up)
        self._room.require(len(audio))
        await self._stored.run(lambda store: store.finish(work.job_id, spoken, audio))
        self._room.used_bytes += len(audio)
        work.characters += len(fragment.request.text)
        self._watchers.tell(work.job_id)

    async def _finish(self, work: _Work) -> None:
        await self._stored.run(lambda store: store.set_state(work.job_id, "encoding"))
        self._watchers.tell(work.job_id)
        job = await self._stored.run(lambda store: store.job(work.job_id))
        if not job.done:
            await self._fail(work, await self._reason(job))
            return
        await self._renderer.file(job, job.format)
        await self._end(work, "done")

    async def _reason(self, job: Job) -> SovitsError:
        """Why nothing could be spoken: what was wrong with the first fragment."""
        [first] = await self._stored.run(lambda store: store.fragments(job.id, 0, 1))
        return SovitsError(first.message)

    async def _fail(self, work: _Work, error: BaseException) -> None:
        if isinstance(error, RenderCancelledError):  # deleted, or the next process does it
            return
        if not isinstance(error, SovitsError):
            log.error("job_failed", exc_info=error)
        else:
            log.warning("job_failed", kind=type(error).__name__)
        await self._end(work, "failed", str(error) if isinstance(error, SovitsError) else _INTERNAL)

    async def _end(self, work: _Work, state: JobState, message: str = "") -> None:
        await self._let_go(work)
        while True:
            try:
                await self._stored.run(lambda store: store.set_state(work.job_id, state, message))
                break
            except StorageError:  # a full disk, of which the store has told: nothing else can be worked on either
                await asyncio.sleep(_STORE_POLL_S)
        self._watchers.tell(work.job_id)
