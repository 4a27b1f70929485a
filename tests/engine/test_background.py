"""Work in the background stands still while somebody waits for speech, loses nothing by it, and takes no place."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sovits_service.engine.engine import Engine
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.sequence import Job, JobOptions
from sovits_service.errors import OverloadedError
from sovits_service.types import SamplingParams
from tests.engine.conftest import WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import speak
from tests.engine.test_scheduler import SEGMENT, event_loop_for_jobs, make_job
from tests.engine.test_stages import Held, began

__all__ = ["event_loop_for_jobs", "make_job"]  # fixtures
BOOK = [segment(i) for i in range(6)]


def speak_behind(engine: WatchedEngine, worker: ModelWorker, seed: int = 1) -> Any:
    """As `speak`, in the background."""
    from sovits_service.deadline import Deadline

    with engine.admit(is_background=True) as admission:
        return engine.synthesize(admission, worker, BOOK, None, [voice(1)], options(seed=seed), Deadline(600.0))


class Rounds:
    """Counts the steps of a worker."""

    def __init__(self, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, step = 0, worker.step

        def counted(stages: Any) -> Any:
            self.count += 1
            return step(stages)

        monkeypatch.setattr(worker, "step", counted)


async def test_it_stands_still_while_a_request_is_waited_for_and_is_the_same_speech(
    engine: WatchedEngine, worker: ModelWorker, make_worker: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = make_worker(engine, slots=2, is_background=True)
    alone = await collect(speak_behind(engine, behind))
    held = Held(worker._features.features)
    monkeypatch.setattr(worker._features, "features", held)
    rounds, live_rounds = Rounds(behind, monkeypatch), Rounds(worker, monkeypatch)
    book = asyncio.create_task(collect(speak_behind(engine, behind)))
    await engine.until(lambda: behind.running_sequences > 0)
    live = asyncio.create_task(collect(speak(engine, worker, [segment(9)], voice(1), options())))
    await began(held)
    before, live_before = rounds.count, live_rounds.count
    while live_rounds.count < live_before + 5:
        engine._wake.set()
        await engine.until(lambda: True)
        await asyncio.sleep(0)
    assert rounds.count - before <= 1  # the one that was under way
    assert behind.running_sequences > 0
    assert not book.done()
    held.release.set()
    assert len(joined(await live))
    np.testing.assert_array_equal(joined(await book), joined(alone))


async def test_it_stands_still_for_a_request_whose_text_is_still_being_read(
    engine: WatchedEngine, make_worker: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = make_worker(engine, slots=2, is_background=True)
    rounds = Rounds(behind, monkeypatch)
    with engine.admit():
        book = asyncio.create_task(collect(speak_behind(engine, behind)))
        await asyncio.to_thread(lambda: [engine._wake.set() for _ in range(3)])
        await engine.until(lambda: engine._inbox.empty())
        assert rounds.count == 0
    assert len(joined(await book))


async def test_it_takes_no_place_and_no_slot_from_others(make_worker: Callable[..., ModelWorker]) -> None:
    engine = WatchedEngine(max_jobs=1)
    engine.start()
    worker = make_worker(engine, slots=1)
    behind = make_worker(engine, slots=1, is_background=True)
    book = asyncio.create_task(collect(speak_behind(engine, behind)))
    await engine.until(lambda: behind.running_sequences > 0)
    assert engine.stats().active_jobs == 0
    assert len(joined(await collect(speak(engine, worker, [segment(9)], voice(1), options()))))
    assert len(joined(await book))
    engine.stop(0.0)


async def test_a_step_of_it_has_one_prefill_at_most(
    engine: WatchedEngine, make_worker: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = make_worker(engine, slots=4, is_background=True)
    step, prefill, per_step = behind.step, behind._runner.prefill, [0]

    def counted_step(stages: Any) -> Any:
        per_step.append(0)
        return step(stages)

    def counted_prefill(batch: Any) -> None:
        per_step[-1] += 1
        prefill(batch)

    monkeypatch.setattr(behind, "step", counted_step)
    monkeypatch.setattr(behind._runner, "prefill", counted_prefill)
    await collect(speak_behind(engine, behind))
    assert (max(per_step), sum(per_step)) == (1, len(BOOK))


async def test_its_other_threads_wait_while_somebody_waits_and_no_longer_than_the_engine_runs() -> None:
    engine = WatchedEngine(max_jobs=2)
    engine.start()
    with engine.admit():
        thread = threading.Thread(target=engine.give_way)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
    thread.join(60.0)
    assert not thread.is_alive()
    with engine.admit():
        thread = threading.Thread(target=engine.give_way)
        thread.start()
        engine.stop(0.0)
        thread.join(60.0)
    assert not thread.is_alive()


async def test_stopping_does_not_wait_for_it(make_worker: Callable[..., ModelWorker]) -> None:
    engine = Engine(max_jobs=4)
    engine.start()
    speech = speak_behind(engine, make_worker(engine, is_background=True))
    await anext(speech)
    await asyncio.to_thread(engine.stop, 600.0)
    with pytest.raises(OverloadedError):
        await collect(speech)


@pytest.mark.parametrize(
    ("streaming_mode", "has_delivered", "ahead_s", "awaited"),
    [(0, False, 0.0, True), (0, True, 9.0, True), (2, False, 9.0, True), (2, True, 0.5, True), (2, True, 9.0, False)],
)
def test_a_stream_whose_listener_has_enough_to_play_can_spare_the_time(
    make_job: Callable[..., Job], streaming_mode: int, has_delivered: Any, ahead_s: Any, awaited: Any
) -> None:
    job: Job = make_job(streaming_mode=streaming_mode)
    job.has_delivered, job.runs_dry_s = has_delivered, 100.0 + ahead_s
    assert job.is_awaited(100.0) is awaited


def test_a_request_whose_reader_holds_it_back_is_not_waited_for(event_loop_for_jobs: Any) -> None:
    asked = JobOptions(SamplingParams(), seed=1)
    job = Job((SEGMENT,) * 2, None, (), asked, 1, event_loop_for_jobs)
    sequence = job.start_next()
    assert job.is_awaited(0.0)
    job.running.pop(sequence.index)  # delivered, and not read yet
    assert not job.is_awaited(0.0)
