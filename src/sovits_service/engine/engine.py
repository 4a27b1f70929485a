"""The loop that owns the device: jobs in from any event loop, audio chunks out to it."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator
from collections.abc import Sequence as Row
from dataclasses import dataclass, replace

import structlog

from sovits_service.engine.lane import Counters, Lane
from sovits_service.engine.sequence import Job, JobOptions
from sovits_service.errors import OverloadedError
from sovits_service.types import AudioChunk, ReferenceAudio, Segment

log = structlog.get_logger(__name__)
_IDLE_WAIT_S = 0.5  # an idle loop looks for passed deadlines this often; work wakes it at once
_SEGMENTS_AHEAD = 32  # started and not yet read: bounds the memory of a long text behind a slow reader
_STREAMED_SEGMENTS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot for metrics; totals count from the start."""

    active_jobs: int
    waiting_jobs: int
    running_sequences: int
    rejected: int
    counters: Counters


class Engine:
    """Runs jobs of any number of lanes (loaded models) on one device.

    Args:
        max_jobs: jobs that may be in the engine at a time, running and waiting; one more is refused at once.
        parallel_jobs: how many of them run side by side, to tell a refused one when to come back.
    """

    def __init__(self, *, max_jobs: int, parallel_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._parallel_jobs = parallel_jobs
        self._inbox: queue.SimpleQueue[tuple[Lane, Job]] = queue.SimpleQueue()
        self._lanes: list[Lane] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()  # guards the two numbers below, which callers and the loop write
        self._active_jobs = 0
        self._rejected = 0
        self._mean_job_s = 1.0
        self._is_stopping = False
        self._is_draining = False
        self._is_quiet = threading.Event()
        self._is_quiet.set()
        self.counters = Counters()
        self._thread = threading.Thread(target=self._run, name="sovits-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, deadline_s: float) -> None:
        """Refuse new jobs, let those inside finish for at most `deadline_s`, end the loop. Blocks."""
        with self._lock:
            self._is_draining = True
        self._is_quiet.wait(deadline_s)
        self._is_stopping = True
        self._wake.set()
        if self.is_alive:
            self._thread.join()

    def stats(self) -> EngineStats:
        """Numbers as they are now; read from another thread, each is right but they may be a step apart."""
        lanes = list(self._lanes)
        return EngineStats(
            active_jobs=self._active_jobs,
            waiting_jobs=sum(lane.waiting_jobs for lane in lanes) + self._inbox.qsize(),
            running_sequences=sum(lane.running_sequences for lane in lanes),
            rejected=self._rejected,
            counters=replace(self.counters),
        )

    async def synthesize(
        self,
        lane: Lane,
        segments: Row[Segment],
        prompt_segment: Segment | None,
        references: Row[ReferenceAudio],
        options: JobOptions,
        timeout_s: float,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Speak segments, in order. Closing the iterator cancels the job, which frees its slots at the next step.

        Args:
            references: the reference clip first, then auxiliary ones.

        Raises:
            OverloadedError: the engine is full, or about to stop.
            SovitsError: the job failed; nothing more comes.
        """
        job = Job(
            segments=segments,
            prompt_segment=prompt_segment,
            references=references,
            options=options,
            deadline_s=time.monotonic() + timeout_s,
            window=_STREAMED_SEGMENTS_AHEAD if options.streaming_mode else _SEGMENTS_AHEAD,
            event_loop=asyncio.get_running_loop(),
        )
        self._enter(lane, job)
        try:
            while (item := await job.outbox.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                if item.is_fragment_end:
                    job.consumed += 1
                    self._wake.set()
                yield item
        finally:
            job.is_cancelled = True  # of no consequence to a job that is done
            self._wake.set()

    def _enter(self, lane: Lane, job: Job) -> None:
        with self._lock:
            if self._is_draining:
                raise OverloadedError("the service is shutting down; try again in a moment", retry_after_s=5.0)
            if self._active_jobs >= self._max_jobs:
                self._rejected += 1
                wait_s = self._mean_job_s * self._active_jobs / self._parallel_jobs
                raise OverloadedError(
                    f"the service is busy with {self._active_jobs} requests; try again in {max(1, round(wait_s))} s",
                    retry_after_s=max(1.0, wait_s),
                )
            self._active_jobs += 1
            self._is_quiet.clear()
        self._inbox.put((lane, job))
        self._wake.set()

    def _leave(self, jobs: Row[Job]) -> None:
        now_s = time.monotonic()
        with self._lock:
            for job in jobs:
                self._active_jobs -= 1
                self._mean_job_s += 0.1 * (now_s - job.submitted_s - self._mean_job_s)
            if self._active_jobs == 0:
                self._is_quiet.set()

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            self._take_inbox()
            has_worked = False
            for lane in list(self._lanes):
                has_worked |= self._step(lane)
                if lane.is_idle:
                    self._lanes.remove(lane)
            if not has_worked:
                self._wake.wait(_IDLE_WAIT_S)
        self._take_inbox()
        for lane in self._lanes:
            lane.fail_all(OverloadedError("the service is shutting down; try again in a moment", retry_after_s=5.0))
            self._leave(lane.take_departed())

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            lane, job = self._inbox.get()
            if lane not in self._lanes:
                self._lanes.append(lane)
            lane.submit(job)

    def _step(self, lane: Lane) -> bool:
        """One step of a lane; an error in a unit of work fails the jobs of that unit and no others."""
        lane.drop_abandoned(time.monotonic())
        has_worked = False
        for work in lane.step():
            has_worked = True
            try:
                work.run()
            except Exception as error:  # noqa: BLE001 - the loop's edge: whatever it was, the others go on
                lane.fail(work.jobs, error)
        self._leave(lane.take_departed())
        return has_worked
