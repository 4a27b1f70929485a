"""The jobs of a process: take them, speak them in the background, hand out what has become of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog

from sovits_service.errors import InvalidRequestError, OverloadedError, SovitsError, StorageError, UnfinishedJobError
from sovits_service.jobs.local_store import LocalStore
from sovits_service.jobs.model import Fragment, Job, JobFormat, NewJob
from sovits_service.jobs.renderer import Renderer
from sovits_service.jobs.speaking import Speaker
from sovits_service.jobs.store import JobStore, Room, unknown_job
from sovits_service.jobs.timeline import Placed, cues, place
from sovits_service.jobs.watchers import Watchers
from sovits_service.jobs.worker import Worker
from sovits_service.service.periodic import PeriodicWork
from sovits_service.setting_sections import JobSettings
from sovits_service.text.subtitles import write_subtitles

log = structlog.get_logger(__name__)

_LOCK_POLL_S = 2.0
_SWEEP_INTERVAL_S = 600.0
_BEAT_S = 15.0  # between two looks at a job in which nothing happens


class Jobs:
    """The jobs of one store. All methods are safe on the event loop.

    Args:
        service: what speaks; jobs wait while it is not ready.
        settings: limits, and where things are kept.
        store: that several processes share; None is this process's own, in `settings.dir`.
    """

    def __init__(self, service: Speaker, settings: JobSettings, store: JobStore | None = None) -> None:
        self.settings = settings
        self._store = store or LocalStore(settings.dir, settings.max_jobs)
        self._room = Room(self._store, settings.max_bytes)
        self._watchers = Watchers()
        self._renderer = Renderer(self._store, self._room, lambda: service.is_awaited)
        self._worker = Worker(service, self._store, self._renderer, self._room, self._watchers, settings.at_once)
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
        if not await self._store.open():
            raise StorageError("another process is at work in the folder of these jobs")
        self._begin()
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
        await self._store.close()

    async def submit(self, new: NewJob) -> Job:
        """Take a job.

        Raises:
            QuotaExceededError: there are too many jobs, or their files take too much.
            StorageError, OverloadedError: the folder cannot be used, or not now.
        """
        self._require_open()
        await self._room.require()
        job = await self._store.add(new)
        self._worker.look()
        return job

    async def resume(self, job_id: str, owner: str | None) -> Job:
        """Try a job again that has failed, from the first fragment that is not spoken.

        Raises:
            UnfinishedJobError: it has not failed.
            SovitsError: as `get`.
        """
        job = await self.get(job_id, owner)
        if not await self._store.retry(job_id):
            state = "is done" if job.state == "done" else "has not failed: it goes on by itself"
            raise UnfinishedJobError(f"the job {state}; only a failed job can be resumed")
        self._worker.look()
        self._watchers.tell(job_id)
        return await self.get(job_id, owner)

    async def all(self, owner: str | None) -> list[Job]:
        """The jobs that `owner` may see, the newest first; None sees all."""
        self._require_open()
        return await self._store.jobs(owner)

    async def get(self, job_id: str, owner: str | None) -> Job:
        """Raise UnknownJobError, also where the job is another owner's."""
        self._require_open()
        job = await self._store.job(job_id)
        if owner is not None and job.owner != owner:
            raise unknown_job()
        return job

    async def fragments(self, job: Job, first: int = 0, count: int = -1) -> list[Fragment]:
        """Fragments of a job, `count` of them from number `first` on; -1 is all."""
        return await self._store.fragments(job.id, first, count)

    async def placed(self, job: Job) -> list[Placed]:
        """The spoken fragments with their times in the whole."""
        return place(job, await self.fragments(job))

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
                job = await self._next(job, changed)
                if self._is_stopping:
                    return

    async def _next(self, job: Job, changed: asyncio.Event) -> Job | None:
        """The job after a change, or after some time; None where it is deleted."""
        now: Job | None = job
        end_s = time.monotonic() + _BEAT_S  # what remains changes without an event
        while not self._is_stopping and (left_s := end_s - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self._store.poll_s or _BEAT_S)):
                    await changed.wait()
            is_news = changed.is_set()
            changed.clear()
            try:
                now = await self._store.job(job.id)
            except StorageError:
                continue  # a shared store is back soon
            except SovitsError:
                return None
            if is_news or now != job:
                break
        return now

    def _require_open(self) -> None:
        if self._running is not None and self._running.done() and not self._is_stopping:
            raise StorageError("there are no jobs: their folder (jobs.dir) cannot be used; the log says why")
        if not self._is_open or self._is_stopping:
            raise OverloadedError(
                "there are no jobs at the moment: the service is starting or shutting down, another process has their "
                "folder (jobs.dir), or Redis does not answer; try again in a moment",
                retry_after_s=_LOCK_POLL_S,
            )

    async def _run(self) -> None:
        while not await self._opens():  # noqa: ASYNC110 - the lock is another process's
            await asyncio.sleep(_LOCK_POLL_S)
        self._begin()
        await self._worker.run()

    async def _opens(self) -> bool:
        try:
            return await self._store.open()
        except StorageError:
            if self._store.poll_s is None:
                raise
            return False  # a shared store that does not answer yet

    def _begin(self) -> None:
        self._is_open = True
        self._periodic.start()

    async def _delete(self, job_id: str) -> None:
        await self._worker.remove(job_id)
        await self._renderer.end(job_id)
        await self._store.delete(job_id)
        self._watchers.tell(job_id)

    async def _sweep(self) -> None:
        for job_id in await self._store.expired(time.time() - self.settings.ttl_s):
            await self._delete(job_id)
        await self._store.clean_up()


def _require_done(job: Job) -> None:
    if job.state == "failed":
        raise UnfinishedJobError(f"the job has failed, and has no audio: {job.message}")
    if job.state != "done":
        raise UnfinishedJobError("the job is not done: ask again when its status is done, or watch its events")


def _note_end(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("jobs_have_stopped", exc_info=error)
