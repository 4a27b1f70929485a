"""The engine loop, which owns the device: takes jobs from any event loop and sends audio chunks back."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeVar

import torch

from sovits_service.cores import Threads, available_cores
from sovits_service.deadline import Deadline
from sovits_service.engine.counters import Counters
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.sequence import Job, JobOptions
from sovits_service.engine.source import Source
from sovits_service.engine.stage import Stages, StageSet
from sovits_service.errors import DeadlineExceededError, OverloadedError, SovitsError, SynthesisError
from sovits_service.types import AudioChunk, ReferenceAudio, Segment

T = TypeVar("T")
log = logging.getLogger(__name__)
_SEGMENTS_AHEAD = 32  # started and not yet read: bounds the memory of a long text behind a slow reader
_STREAMED_SEGMENTS_AHEAD = 2
_SWITCH_INTERVAL_S = 0.0005
_GIVE_WAY_S = 0.01  # between two looks at whether somebody still waits
_TURNOVER_WEIGHT = 0.2  # of the latest interval in the mean


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot for metrics; totals count from the start."""

    active_jobs: int
    waiting_jobs: int
    running_sequences: int
    rejected: int
    counters: Counters


class Admission:
    """A request's place in the engine, from before its text is read until its speech is made.

    A context manager: on leaving the block the place becomes free, unless `synthesize` has taken it over.
    """

    def __init__(self, engine: Engine, *, is_background: bool = False) -> None:
        self._engine = engine
        self._is_background = is_background
        self.is_taken = False

    def __enter__(self) -> Admission:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self.is_taken or self._is_background):
            self._engine.release_places(1)


class Engine:
    """Runs jobs of any number of workers (loaded models) on one device.

    Args:
        max_jobs: requests that may be in the engine at a time, running and waiting; one more is refused at once.
        threads: that an operator may use; None leaves them as they are set when the engine is made.
    """

    def __init__(self, *, max_jobs: int, threads: Threads | None = None) -> None:
        self._max_jobs = max_jobs
        self._inbox: queue.SimpleQueue[tuple[ModelWorker, Job]] = queue.SimpleQueue()
        self._workers: list[ModelWorker] = []
        self._background_workers: list[ModelWorker] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()  # guards what follows, which callers and the loop write
        self._jobs: set[Job] = set()
        self._active_jobs = 0
        self._rejected = 0
        self._turnover = _Turnover()
        self._has_ended = False
        self._is_draining = False
        self._is_stopping = False
        self._step_since_s: float | None = None
        self._is_quiet = threading.Event()
        self._is_quiet.set()
        self.counters = Counters()
        if threads is None:
            threads = Threads(torch.get_num_threads(), torch.get_num_threads(), available_cores())
        self._stages = Stages(self._wake.set, threads, self._is_decoding)
        self._thread = threading.Thread(target=self._run, name="sovits-engine", daemon=True)

    def start(self) -> None:
        # A step gives the interpreter lock away at each operator, and a thread that computes in Python, as one that
        # reads a text, keeps it for this long each time: with Python's 5 ms a token takes seconds.
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._stages.start()
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._has_ended

    def stuck_work(self, limit_s: float) -> list[str]:
        """The kinds of work that have taken longer than this, and may never end: decoding, or that of a stage."""
        since_s = {"decoding": self._step_since_s} | {stage.name: stage.busy_since_s for stage in self._stages.all}
        now_s = time.monotonic()
        return [kind for kind, start_s in since_s.items() if start_s is not None and now_s - start_s > limit_s]

    def stop(self, deadline_s: float) -> None:
        """Refuse new jobs, let those inside finish for at most `deadline_s`, end the loop. Blocks."""
        with self._lock:
            self._is_draining = True
        self._is_quiet.wait(deadline_s)
        self._is_stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._stages.stop()

    def stats(self) -> EngineStats:
        """Numbers as they are now; read from another thread, each is right but they may be a step apart."""
        workers = list(self._workers)
        return EngineStats(
            active_jobs=self._active_jobs,
            waiting_jobs=sum(worker.waiting_jobs for worker in workers) + self._inbox.qsize(),
            running_sequences=sum(worker.running_sequences for worker in workers),
            rejected=self._rejected,
            counters=replace(self.counters),
        )

    def admit(self, *, is_background: bool = False) -> Admission:
        """Take a place for a request before anything is done for it.

        Args:
            is_background: it takes no place from others, is not waited for when the engine stops, and its worker has to
                be one of the background.

        Raises:
            OverloadedError: the engine is full, about to stop, or has failed.
        """
        with self._lock:
            self._require_open()
            if is_background:
                return Admission(self, is_background=True)
            if self._active_jobs >= self._max_jobs:
                self._rejected += 1
                wait_s = max(1.0, self._turnover.interval_s)
                raise OverloadedError(
                    f"the service is busy with {self._active_jobs} requests; try again in {math.ceil(wait_s)} s",
                    retry_after_s=wait_s,
                )
            if self._active_jobs == 0:
                self._turnover.resume(time.monotonic())
            self._active_jobs += 1
            self._is_quiet.clear()
        return Admission(self)

    def release_places(self, count: int) -> None:
        """Give places back whose requests have ended."""
        with self._lock:
            self._active_jobs -= count
            self._turnover.note(count, time.monotonic())
            if self._active_jobs == 0:
                self._is_quiet.set()
        self._wake.set()  # the background may go on

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for speech; not when the engine is about to stop."""
        return not (self._is_draining or self._has_ended) and self._is_awaited()

    def give_way(self) -> None:
        """Block while somebody waits for speech; for threads of the background, before each short piece of work."""
        while self.is_awaited:
            time.sleep(_GIVE_WAY_S)

    async def synthesize(
        self,
        admission: Admission,
        worker: ModelWorker,
        segments: Sequence[Segment],
        prompt_segment: Segment | None,
        references: Sequence[ReferenceAudio],
        options: JobOptions,
        deadline: Deadline,
        *,
        timbre: ReferenceAudio | None = None,
        source: ReferenceAudio | None = None,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Speak segments, in order. Closing the iterator cancels the job, which frees its slots at the next step.

        Args:
            admission: the request's place, taken over when the first chunk is asked for.
            references: the reference clip first, then auxiliary ones.
            deadline: counts the time in which the caller waits for a chunk.
            timbre: whose timbre takes the place of the reference's.
            source: a recording whose tokens are said; then the one segment is what it says, without phonemes where
                nobody told.

        Raises:
            OverloadedError: the engine is about to stop, or has failed.
            SovitsError: the job failed; nothing more comes.
        """
        job = Job(
            segments=segments,
            prompt_segment=prompt_segment,
            references=references,
            options=options,
            window=_STREAMED_SEGMENTS_AHEAD if options.streaming_mode else _SEGMENTS_AHEAD,
            event_loop=asyncio.get_running_loop(),
            is_background=worker.is_background,
            timbre=timbre,
            source=Source(source) if source is not None else None,
        )
        self._enter(admission, worker, job)
        try:
            while (item := await deadline.wait(job.outbox.get())) is not None:
                if isinstance(item, Exception):
                    raise item
                if item.is_fragment_end:
                    job.consumed += 1
                    self._wake.set()
                yield item
        except DeadlineExceededError:
            job.has_expired = True
            raise
        finally:
            job.is_cancelled = True  # of no consequence to a job that is done
            self._wake.set()

    def _require_open(self) -> None:
        if self._has_ended and not self._is_stopping:
            raise OverloadedError("the engine has failed; the service must be restarted", retry_after_s=30.0)
        if self._is_draining or self._has_ended:
            raise _shutting_down()

    def _enter(self, admission: Admission, worker: ModelWorker, job: Job) -> None:
        with self._lock:
            self._require_open()
            admission.is_taken = True
            self._jobs.add(job)
        self._inbox.put((worker, job))
        self._wake.set()

    def _leave(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            left = self._jobs.intersection(jobs)
            self._jobs -= left
        if live := sum(not job.is_background for job in left):
            self.release_places(live)

    def _is_decoding(self) -> bool:
        return any(worker.decodes(self._stages.threads.cores) for worker in self._workers)

    def _run(self) -> None:
        torch.set_num_threads(self._stages.threads.beside)
        try:
            while not self._is_stopping:
                self._wake.clear()
                self._step_since_s = time.monotonic()
                self._take_inbox()
                self._settle()
                has_worked = self._step_all()
                self._step_since_s = None
                if not has_worked:
                    self._wake.wait()
        except BaseException as error:
            log.critical("engine_loop_ended", exc_info=error)
        finally:
            self._end()

    def _end(self) -> None:
        """Nothing runs any more: whoever still waits is told at once, whatever state the workers are in."""
        with self._lock:
            self._has_ended = True
            jobs = list(self._jobs)
        error: SovitsError = _shutting_down()
        if not self._is_stopping:
            error = SynthesisError("the engine has failed; its log says why")
        self._leave(jobs)
        for job in jobs:
            job.send(error)

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            worker, job = self._inbox.get()
            workers = self._background_workers if worker.is_background else self._workers
            if worker not in workers:
                workers.append(worker)
            worker.submit(job)

    def _settle(self) -> None:
        """Hand the outcomes of the stages to the workers they belong to."""
        for stage in self._stages.all:
            outcome = stage.take()
            if outcome is not None:
                self._guard(outcome.owner, outcome.settle)

    def _step_all(self) -> bool:
        """A step of every worker; returns whether there may be more to do at once. An idle loop holds no worker.

        Those of the background have theirs while nobody waits for the others.
        """
        has_worked = self._step_workers(self._workers, self._stages.live)
        if self._background_workers and not self._is_awaited():
            has_worked |= self._step_workers(self._background_workers, self._stages.background)
        return has_worked

    def _step_workers(self, workers: list[ModelWorker], stages: StageSet) -> bool:
        has_worked = False
        for worker in list(workers):
            has_worked |= self._step(worker, stages)
            if worker.is_idle:
                workers.remove(worker)
        workers[:] = workers[1:] + workers[:1]  # each is the first to find a stage free in turn
        return has_worked

    def _step(self, worker: ModelWorker, stages: StageSet) -> bool:
        return bool(self._guard(worker, lambda: worker.step(stages)))

    def _is_awaited(self) -> bool:
        """Whether somebody waits for speech: also one whose request has a place and is still being read."""
        with self._lock:
            entered = sum(not job.is_background for job in self._jobs)
            is_coming = self._active_jobs > entered
        now_s = time.monotonic()
        return is_coming or any(worker.is_awaited(now_s) for worker in list(self._workers))

    def _guard(self, worker: ModelWorker, work: Callable[[], T]) -> T | None:
        """Work of a worker. What the worker's own guards do not catch fails all its jobs, and no other worker's."""
        try:
            return work()
        except Exception as error:
            log.error("engine_fault", exc_info=error)
            self.counters.failed += worker.reset(SynthesisError("the engine failed on this request; its log says why"))
            return None
        finally:
            self._leave(worker.pop_finished_jobs())


class _Turnover:
    """The mean time between places that become free, while the engine has work."""

    def __init__(self) -> None:
        self.interval_s = 1.0
        self._since_s = 0.0

    def resume(self, now_s: float) -> None:
        """The engine was empty until now, which says nothing about its speed."""
        self._since_s = now_s

    def note(self, count: int, now_s: float) -> None:
        """So many places became free."""
        for _ in range(count):
            self.interval_s += _TURNOVER_WEIGHT * ((now_s - self._since_s) / count - self.interval_s)
        self._since_s = now_s


def _shutting_down() -> OverloadedError:
    return OverloadedError("the service is shutting down; try again in a moment", retry_after_s=5.0)
