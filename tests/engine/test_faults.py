"""Faults outside a unit of work, and the end of the loop: nobody waits for an answer that will not come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.engine import Engine
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.sequence import Job
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, OverloadedError, SynthesisError
from tests.engine.conftest import WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import speak

PLACES = [  # where a step does something outside its units of work
    ("sovits_service.engine.speech.next_feed", None),
    ("sovits_service.engine.model_worker._urgency", None),
    (Scheduler, "admit"),
    (Scheduler, "release"),
    (Scheduler, "remove"),
    (Job, "deliver"),
]


class Once:
    """Raises at the first call that concerns a job, then does what it stands for."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self.has_raised = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        is_idle = bool(args) and isinstance(args[0], Scheduler) and not args[0].jobs  # the loop may wake for nobody
        if not self.has_raised and not is_idle:
            self.has_raised = True
            raise KeyError("unforeseen")
        return self.original(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return lambda *args, **kwargs: self(instance, *args, **kwargs)


@pytest.mark.parametrize(("place", "name"), PLACES, ids=str)
async def test_a_fault_outside_a_unit_of_work_fails_what_runs_and_the_engine_goes_on(
    engine: WatchedEngine,
    worker: ModelWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: Any,
    name: str,
) -> None:
    expected = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5))))
    if name is None:
        module, _, function = place.rpartition(".")
        fault = Once(getattr(__import__(module, fromlist=[function]), function))
        monkeypatch.setattr(place, fault)
    else:
        fault = Once(getattr(place, name))
        monkeypatch.setattr(place, name, fault)
    with caplog.at_level(logging.ERROR):
        results = await asyncio.gather(
            *(collect(speak(engine, worker, [segment(i)], voice(1), options(seed=i))) for i in range(3)),
            return_exceptions=True,
        )
    assert fault.has_raised
    assert any(isinstance(result, SynthesisError) for result in results)
    assert "engine_fault" in caplog.messages
    assert engine.is_alive
    again = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5))))
    np.testing.assert_array_equal(again, expected)
    await engine.until(lambda: not engine.stats().active_jobs)
    assert engine.stats().running_sequences == 0


async def test_the_end_of_the_loop_fails_everybody_at_once(
    engine: WatchedEngine,
    worker: ModelWorker,
    make_worker: Callable[..., ModelWorker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end(self: Any, stages: Any) -> None:
        raise SystemExit

    jobs = [speak(engine, worker, [segment(i)], voice(1), options(seed=i, max_new_tokens=300)) for i in range(3)]
    waiting = [asyncio.create_task(collect(job)) for job in jobs]
    await engine.until(lambda: engine.stats().running_sequences >= 3)
    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(type(worker), "step", end)
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [SynthesisError] * 3
    assert "engine_loop_ended" in caplog.messages
    assert not engine.is_alive
    with pytest.raises(OverloadedError, match="restarted"):
        engine.admit()
    assert engine.stats().active_jobs == 0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=type)
@pytest.mark.parametrize("work", ["advance", "open", "prefill", "encode"])
async def test_what_finds_no_memory_may_be_asked_again(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch, work: Any, error: Any
) -> None:
    def allocate(*args: Any) -> None:
        raise error

    owner = {"prefill": worker._runner, "encode": worker._prompts}.get(work, worker.decoder)
    with monkeypatch.context() as patch:
        patch.setattr(owner, work, allocate)
        with pytest.raises(OverloadedError, match="memory") as refused:
            await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5)))
    assert refused.value.retry_after_s > 0
    assert joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5)))).size


@pytest.mark.parametrize("work", ["advance", "open"])
async def test_a_stage_goes_on_after_what_is_no_exception(
    engine: WatchedEngine,
    worker: ModelWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    work: Any,
) -> None:
    def end(*args: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(type(worker.decoder), work, end)
        with pytest.raises(SynthesisError):
            await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5), timeout_s=5.0))
    assert "engine_fault" in caplog.messages
    assert joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5), timeout_s=5.0))).size


async def test_a_reader_has_a_deadline_of_its_own_though_the_loop_hangs(
    make_worker: Callable[..., ModelWorker],
) -> None:
    engine = Engine(max_jobs=2)  # never started, as one that hangs
    with pytest.raises(DeadlineExceededError, match="timeout_s"):
        await collect(speak(engine, make_worker(engine), [segment(1)], voice(1), options(), timeout_s=0.02))


async def test_the_listener_s_time_does_not_count(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("sovits_service.deadline.time.monotonic", lambda: clock[0])
    chunks = speak(engine, worker, [segment(i) for i in range(6)], voice(1), options(streaming_mode=1), timeout_s=60.0)
    taken = []
    async for chunk in chunks:
        taken.append(chunk)
        clock[0] += 50.0  # what a player takes for it
    assert sum(chunk.is_fragment_end for chunk in taken) == 6
    assert [chunk.is_last for chunk in taken] == [False] * (len(taken) - 1) + [True]
    assert engine.stats().counters.expired == 0


async def test_a_place_is_free_again_when_the_request_ends_before_its_synthesis(
    make_worker: Callable[..., ModelWorker],
) -> None:
    engine = Engine(max_jobs=1)
    with contextlib.suppress(InvalidRequestError), engine.admit():
        with pytest.raises(OverloadedError):
            engine.admit()
        raise InvalidRequestError("the text cannot be read")
    with engine.admit():
        assert engine.stats().active_jobs == 1
    assert engine.stats().active_jobs == 0


def test_retry_after_is_the_time_between_ends_of_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("sovits_service.engine.engine.time.monotonic", lambda: clock[0])
    engine = Engine(max_jobs=80)
    for _ in range(80):
        engine.admit()
    for _ in range(40):  # each has been in the engine for up to 160 s, and one ends every 4 s
        clock[0] += 4.0
        engine.release_places(1)
        engine.admit()
    with pytest.raises(OverloadedError) as refused:
        engine.admit()
    assert refused.value.retry_after_s == pytest.approx(4.0, abs=0.1)
    engine.release_places(80)
    clock[0] += 36_000.0  # a night without requests says nothing about the engine's speed
    for _ in range(80):
        engine.admit()
    clock[0] += 6.0
    engine.release_places(1)
    engine.admit()
    with pytest.raises(OverloadedError) as refused:
        engine.admit()
    assert refused.value.retry_after_s < 5.0
    # The message says what the header will.
    assert f"try again in {math.ceil(refused.value.retry_after_s)} s" in str(refused.value)
