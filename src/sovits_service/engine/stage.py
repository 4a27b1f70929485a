"""A pipeline stage: runs one piece of work at a time in a thread and returns results to the engine loop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from sovits_service.threads import lower_priority

if TYPE_CHECKING:
    from sovits_service.cores import Threads
    from sovits_service.engine.model_worker import ModelWorker

T = TypeVar("T")
_BACKGROUND = 19  # of what nobody waits for: what is left over
_BESIDE = 5  # niceness of what may take long: on full cores it gets a third of the share of what listeners wait for


@dataclass(frozen=True, slots=True, eq=False)
class Task(Generic[T]):
    """A piece of work.

    Attributes:
        owner: whose it is.
        run: done in the stage's thread.
        finish: takes the result, in the loop's thread.
        fail: takes what `run` raised, in the loop's thread.
    """

    owner: ModelWorker
    run: Callable[[], T]
    finish: Callable[[T], None]
    fail: Callable[[Exception], None]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What has become of a task; `settle` is for the loop's thread."""

    owner: ModelWorker
    settle: Callable[[], None]


class Stage:
    """A thread that does one task at a time. It has room for that task alone: who has more holds it, and chooses late.

    All methods but the thread's own are for the loop.

    Args:
        name: of the thread.
        wake: called from the thread when an outcome is there to be settled.
        threads: how many threads an operator may use, asked when a task begins.
        niceness: how far the thread steps back, from where the process stands, where there are too few cores.
    """

    def __init__(self, name: str, wake: Callable[[], None], threads: Callable[[], int], niceness: int = 0) -> None:
        self.name = name
        self._wake = wake
        self._threads = threads
        self._niceness = niceness
        self._inbox: queue.SimpleQueue[tuple[Task[Any], int] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._is_busy = False
        self.busy_since_s: float | None = None  # on the clock of `time.monotonic`; None while it waits for work
        self._thread = threading.Thread(target=self._run, name=f"sovits-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread when its task is done. Blocks."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_busy(self) -> bool:
        return self._is_busy

    def submit(self, task: Task[Any]) -> None:
        """Begin a task; the stage must not be busy."""
        assert not self._is_busy
        threads = self._threads()
        self._is_busy = True
        self._inbox.put((task, threads))

    def take(self) -> Outcome | None:
        """The outcome of the task that is done, if one is; the stage is free then."""
        try:
            outcome = self._outcomes.get_nowait()
        except queue.Empty:
            return None
        self._is_busy = False
        return outcome

    def _run(self) -> None:
        lower_priority(self._niceness)
        while (item := self._inbox.get()) is not None:
            task, threads = item
            torch.set_num_threads(threads)  # of this thread: others keep theirs
            self.busy_since_s = time.monotonic()
            self._outcomes.put(_outcome(task))
            self.busy_since_s = None
            del item, task  # an idle stage keeps nothing alive
            self._wake()


def _outcome(task: Task[T]) -> Outcome:
    try:
        result = task.run()
    except BaseException as error:  # noqa: BLE001 - an edge of the engine loop, which fails the jobs concerned
        # Whatever it was: a thread that ended would leave its jobs, and all later ones, waiting.
        failure = error if isinstance(error, Exception) else RuntimeError(f"a stage raised {type(error).__name__}")
        failure.__cause__ = None if failure is error else error
        return Outcome(task.owner, lambda: task.fail(failure))
    return Outcome(task.owner, lambda: task.finish(result))


@dataclass(frozen=True, slots=True)
class StageSet:
    """The stages as a worker sees them.

    Attributes:
        voices: prompts of new voices.
        texts: BERT features.
        streams: waves that somebody listens to.
        answers: waves of whole answers, which may not hold the former up.
        more_answers: more of them, while nothing is decoded and there are several cores: two windows side by side take
            less time than one after the other, each on all cores.
        cores: that there are for all of them.
    """

    voices: Stage
    texts: Stage
    streams: Stage
    answers: Stage
    more_answers: Stage
    cores: int


class Stages:
    """What runs beside the loop, which decodes: voices and texts before it, waves after it.

    Attributes:
        live: of workers whose jobs somebody waits for.
        background: of the other workers: one thread for all their work, so that they never keep a stage of the former
            busy.

    Args:
        wake: called when a stage has done a piece.
        threads: that an operator may use.
        is_decoding: whether the loop has sequences to decode.
    """

    def __init__(self, wake: Callable[[], None], threads: Threads, is_decoding: Callable[[], bool]) -> None:
        self.threads = threads
        self._is_decoding = is_decoding
        self.live = StageSet(
            voices=Stage("voices", wake, self._threads_now, _BESIDE),
            texts=Stage("texts", wake, self._threads_now, _BESIDE),
            streams=Stage("streams", wake, self._threads_now),
            answers=Stage("answers", wake, self._threads_now, _BESIDE),
            more_answers=Stage("more-answers", wake, self._threads_now, _BESIDE),
            cores=threads.cores,
        )
        behind = Stage("background", wake, lambda: threads.beside, _BACKGROUND)
        self.background = StageSet(behind, behind, behind, behind, behind, threads.cores)

    def _threads_now(self) -> int:
        """For a piece of work that begins: all cores where it is alone, else its share of them."""
        is_alone = not (self._is_decoding() or any(stage.is_busy for stage in self._live))
        return self.threads.alone if is_alone else self.threads.beside

    @property
    def _live(self) -> tuple[Stage, ...]:
        return self.live.voices, self.live.texts, self.live.streams, self.live.answers, self.live.more_answers

    @property
    def all(self) -> tuple[Stage, ...]:
        return *self._live, self.background.answers

    def start(self) -> None:
        for stage in self.all:
            stage.start()

    def stop(self) -> None:
        for stage in self.all:
            stage.stop()
