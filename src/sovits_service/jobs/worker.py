"""Claim unfinished jobs, keep some of their fragments in work, job by job in turn, and put finished ones together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from sovits_service.errors import SovitsError, StorageError, UnknownJobError
from sovits_service.jobs.model import Job, JobOptions, JobState
from sovits_service.jobs.render import RenderCancelledError
from sovits_service.jobs.renderer import Renderer
from sovits_service.jobs.speaking import Speaker, speak_fragment
from sovits_service.jobs.store import ClaimLostError, JobStore, Room
from sovits_service.jobs.watchers import Watchers

log = structlog.get_logger(__name__)

_STORE_POLL_S = 5.0  # until the next try, while the store cannot be used
_LONGEST_PAUSE = 4  # between two looks for jobs, in times of the store's `poll_s`: claims have to be renewed
_INTERNAL = "internal error; the log says more"


@dataclass(slots=True, eq=False)
class _Work:
    """A job that is not over.

    Attributes:
        waiting: numbers of fragments that nobody speaks yet.
        tasks: what is being done for it.
    """

    job_id: str
    options: JobOptions
    waiting: deque[int]
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    has_begun: bool = False
    is_finishing: bool = False


class Worker:
    """The jobs that this process has claimed; `run` works on them until it is cancelled."""

    def __init__(
        self, service: Speaker, store: JobStore, renderer: Renderer, room: Room, watchers: Watchers, at_once: int
    ) -> None:
        self._service = service
        self._store = store
        self._renderer = renderer
        self._room = room
        self._watchers = watchers
        self._at_once = at_once
        self._work: deque[_Work] = deque()
        self._wake = asyncio.Event()
        self._look = asyncio.Event()

    def look(self) -> None:
        """There may be a job to claim. Where others may claim it too, a process that has work leaves it to them."""
        if self._store.poll_s is None or not self._work:
            self._look.set()

    async def remove(self, job_id: str) -> None:
        """Let go of a job, if there is work on it."""
        work = self._find(job_id)
        if work is not None:
            await self._let_go(work)

    async def run(self) -> None:
        servers = [asyncio.create_task(self._serve()) for _ in range(self._at_once)]
        servers.append(asyncio.create_task(self._claim_jobs()))
        try:
            await asyncio.gather(*servers)
        finally:
            for server in servers:
                server.cancel()
            await asyncio.gather(*servers, return_exceptions=True)

    async def _claim_jobs(self) -> None:
        """Take jobs that nobody works on, and let go of those that have been lost."""
        while True:
            self._look.clear()
            try:
                for job_id in await self._store.renew():
                    await self.remove(job_id)
                for claim in await self._store.claim():
                    self._work.append(_Work(claim.job.id, claim.job.options, deque(claim.waiting)))
                pause_s = self._pause_s()
            except StorageError:  # of which the store has told
                pause_s = _STORE_POLL_S
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look.wait()

    def _pause_s(self) -> float | None:
        """Until the next look for jobs: whoever has fewer looks sooner, and gets the next one."""
        if self._store.poll_s is None:
            return None
        return self._store.poll_s * min(1 + len(self._work), _LONGEST_PAUSE)

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
            next_step = self._next_step()
            if next_step is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            work, step = next_step
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

    def _next_step(self) -> tuple[_Work, Coroutine[Any, Any, None]] | None:
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
        if not work.has_begun:
            work.has_begun = True
            await self._store.set_state(work.job_id, "running")
            self._watchers.tell(work.job_id)
        await self._room.require()
        [fragment] = await self._store.fragments(work.job_id, number, 1)
        spoken, audio = await speak_fragment(self._service, fragment, work.options.max_speed_up)
        await self._room.require(len(audio))
        await self._store.finish(work.job_id, spoken, audio)
        self._watchers.tell(work.job_id)

    async def _finish(self, work: _Work) -> None:
        await self._store.set_state(work.job_id, "encoding")
        self._watchers.tell(work.job_id)
        job = await self._store.job(work.job_id)
        if not job.done:
            await self._fail(work, await self._reason(job))
            return
        await self._renderer.file(job, job.format)
        await self._end(work, "done")

    async def _reason(self, job: Job) -> SovitsError:
        """Why nothing could be spoken: what was wrong with the first fragment."""
        [first] = await self._store.fragments(job.id, 0, 1)
        return SovitsError(first.message)

    async def _fail(self, work: _Work, error: BaseException) -> None:
        if isinstance(error, RenderCancelledError):  # deleted, or the next process does it
            return
        if self._is_passing(error):
            await self._abandon(work)
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
                await self._store.set_state(work.job_id, state, message)
                break
            except (ClaimLostError, UnknownJobError):
                self._store.let_go(work.job_id)
                break
            except StorageError:  # of which the store has told: it takes nothing, so nothing else can be done either
                await asyncio.sleep(_STORE_POLL_S)
        self._watchers.tell(work.job_id)

    async def _abandon(self, work: _Work) -> None:
        """Leave a job to whoever claims it next."""
        await self._let_go(work)
        self._store.let_go(work.job_id)
        self._watchers.tell(work.job_id)

    def _is_passing(self, error: BaseException) -> bool:
        """Whether nothing is wrong with the job: it is another process's or gone, or the shared store is out."""
        is_outage = isinstance(error, StorageError) and self._store.poll_s is not None
        return is_outage or isinstance(error, (ClaimLostError, UnknownJobError))
