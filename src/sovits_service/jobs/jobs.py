"""The jobs of a process: take them, speak them in the background, hand out what has become of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import structlog

from sovits_service.errors import InvalidRequestError, OverloadedError, SovitsError, StorageError, UnfinishedJobError
from sovits_service.jobs.model import Fragment, Job, JobFormat, NewJob
from sovits_service.jobs.renderer import Renderer
from sovits_service.jobs.speaking import Speaker
from sovits_service.jobs.store import JobStore, unknown_job
from sovits_service.jobs.timeline import Placed, cues, place
from sovits_service.jobs.upkeep import Room, StoreThread, Watchers
from sovits_service.jobs.worker import Worker
from sovits_service.service.periodic import PeriodicWork
from sovits_service.setting_sections import JobSettings
from sovits_service.text.subtitles import write_subtitles

log = structlog.get_logger(__name__)

_LOCK_POLL_S = 2.0
_SWEEP_INTERVAL_S = 600.0
_BEAT_S = 15.0  # between two looks at a job in which nothing happens


class Jobs:
    """The jobs of one folder. All methods are safe on the event loop.

    Args:
        service: what speaks; jobs wait while it is not ready.
        settings: limits, and where things are kept.
    """

    def __init__(self, service: Speaker, settings: JobSettings) -> None:
        self.settings = settings
        self._stored = StoreThread(settings.dir, settings.max_jobs)
        self._room = Room(settings.max_bytes)
        self._watchers = Watchers()
        self._renderer = Renderer(self._stored, self._room)
        self._worker = Worker(service, self._stored, self._renderer, self._room, self._watchers, settings.at_once)
        self._running: asyncio.Task[None] | None = None
        self._is_open = self._is_stopping = False
        self._periodic = PeriodicWork()
        self._periodic.add("sweep_jobs", self._sweep, _SWEEP_INTERVAL_S)

    def start(self) -> None:
        """Go on with what a former process left, as soon as no other process has the folder."""
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(_note_end)

    async def open(self) -> None:
        """As `start`, but at once.

        Raises:
            StorageError: the folder cannot be used, or another process has it.
        """
        if not await self._stored.run(lambda store: store.open()):
            raise StorageError("another process is at work in the folder of these jobs")
        await self._begin()
        self._running = asyncio.create_task(self._worker.run())

    async def stop(self) -> None:
        """Let go of everything at once; what was not finished is the next process's."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._watchers.tell_all()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._periodic.stop()
        await self._renderer.stop()
        await self._stored.close()

    async def submit(self, new: NewJob) -> Job:
        """Take a job.

        Raises:
            QuotaExceededError: there are too many jobs, or their files take too much.
            StorageError, OverloadedError: the folder cannot be used, or not now.
        """
        self._require_open()
        self._room.require()
        job_id = await self._stored.run(lambda store: store.add(new))
        job = await self._stored.run(lambda store: store.job(job_id))
        self._worker.add(job, list(range(job.total)))
        return job

    async def resume(self, job_id: str) -> Job:
        """Try a job again that has failed, from the first fragment that nobody has spoken; any other is left alone."""
        job = await self.get(job_id, None)
        if job.state == "failed":
            await self._stored.run(lambda store: store.set_state(job_id, "queued"))
            self._worker.add(job, await self._stored.run(lambda store: store.waiting(job_id)))
        return await self.get(job_id, None)

    async def all(self, owner: str | None) -> list[Job]:
        """The jobs that `owner` may see, the newest first; None sees all."""
        self._require_open()
        return await self._stored.run(lambda store: store.jobs(owner))

    async def get(self, job_id: str, owner: str | None) -> Job:
        """Raise UnknownJobError, also where the job is another owner's."""
        self._require_open()
        job = await self._stored.run(lambda store: store.job(job_id))
        if owner is not None and job.owner != owner:
            raise unknown_job()
        return job

    async def fragments(self, job: Job, first: int = 0, count: int = -1) -> list[Fragment]:
        """Fragments of a job, `count` of them from number `first` on; -1 is all."""
        return await self._stored.run(lambda store: store.fragments(job.id, first, count))

    async def placed(self, job: Job) -> list[Placed]:
        """The spoken fragments with their times in the whole."""
        return place(job, await self.fragments(job))

    def remaining_s(self, job: Job) -> float | None:
        """How long the rest will take at the rate so far, standing still included; None where that is not known."""
        return self._worker.remaining_s(job)

    async def delete(self, job_id: str, owner: str | None) -> None:
        """End a job and delete all of it. Raises as `get`."""
        await self.get(job_id, owner)
        await self._delete(job_id)

    async def audio(self, job_id: str, owner: str | None, form: JobFormat | None = None) -> tuple[Path, JobFormat]:
        """The file of a job's audio, made where it is not there yet, and its format.

        Raises:
            UnfinishedJobError: it is not done.
            SovitsError: as `get`, and as `Renderer.file`.
        """
        job = await self.get(job_id, owner)
        _require_done(job)
        return await self._renderer.file(job, form or job.format), form or job.format

    async def subtitles(self, job_id: str, owner: str | None, form: str = "") -> tuple[str, str]:
        """A subtitle file of the whole, and its format. Raises as `audio`; InvalidRequestError where there are none."""
        job = await self.get(job_id, owner)
        if not job.subtitles:
            raise InvalidRequestError("the job has no subtitles: send subtitles with POST /jobs")
        _require_done(job)
        return write_subtitles(cues(await self.placed(job)), form or job.subtitles), form or job.subtitles

    async def watch(self, job_id: str, owner: str | None) -> AsyncGenerator[Job | None, None]:
        """The job now, after each change and every 15 s, until it is over; None as the last where it was deleted.

        A slow reader misses what lies between. Ends with the service too. Raises as `get`.
        """
        job: Job | None = await self.get(job_id, owner)
        with self._watchers.on(job_id) as changed:
            while True:
                yield job
                if job is None or job.is_over:
                    return
                with contextlib.suppress(TimeoutError):  # what remains changes without an event
                    async with asyncio.timeout(_BEAT_S):
                        await changed.wait()
                changed.clear()
                if self._is_stopping:
                    return
                try:
                    job = await self.get(job_id, owner)
                except SovitsError:
                    job = None

    def _require_open(self) -> None:
        if self._running is not None and self._running.done() and not self._is_stopping:
            raise StorageError("there are no jobs: their folder (jobs.dir) cannot be used; the log says why")
        if not self._is_open or self._is_stopping:
            raise OverloadedError(
                "there are no jobs at the moment: the service is starting or shutting down, or another process has "
                "their folder (jobs.dir); try again in a moment",
                retry_after_s=_LOCK_POLL_S,
            )

    async def _run(self) -> None:
        while not await self._stored.run(lambda store: store.open()):  # noqa: ASYNC110 - the lock is another process's
            await asyncio.sleep(_LOCK_POLL_S)
        await self._begin()
        await self._worker.run()

    async def _begin(self) -> None:
        """Take over what is stored."""
        for job in reversed(await self._stored.run(lambda store: store.jobs())):
            if not job.is_over:
                self._worker.add(job, await self._stored.run(partial(JobStore.waiting, job_id=job.id)))
        self._room.used_bytes = await self._stored.run(lambda store: store.used_bytes())
        self._is_open = True
        self._periodic.start()

    async def _delete(self, job_id: str) -> None:
        await self._worker.remove(job_id)
        await self._renderer.end(job_id)
        await self._stored.run(lambda store: store.delete(job_id))
        self._room.used_bytes = await self._stored.run(lambda store: store.used_bytes())
        self._watchers.tell(job_id)

    async def _sweep(self) -> None:
        before_s = time.time() - self.settings.ttl_s
        for job_id in await self._stored.run(lambda store: store.expired(before_s)):
            await self._delete(job_id)


def _require_done(job: Job) -> None:
    if job.state == "failed":
        raise UnfinishedJobError(f"the job has failed, and has no audio: {job.message}")
    if job.state != "done":
        raise UnfinishedJobError("the job is not done: ask again when its status is done, or watch its events")


def _note_end(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("jobs_have_stopped", exc_info=error)
