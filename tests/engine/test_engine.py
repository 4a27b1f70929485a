"""Continuous batching as a caller sees it: company changes nothing, failures and departures stay with their request."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.deadline import Deadline
from sovits_service.engine.engine import Engine
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, OverloadedError, SynthesisError
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.vits import Vits
from tests.engine.conftest import BACKENDS, SLOTS, WatchedEngine, collect, joined, options, segment, voice
from tests.tiny_sizes import GPT, VITS

in_every_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)
SAMPLES_PER_TOKEN = 2 * VITS.hop_length


def speak(
    engine: WatchedEngine,
    worker: ModelWorker,
    segments: Any,
    reference: Any,
    job_options: Any,
    *,
    prompt: Any = None,
    timeout_s: float = 60.0,
) -> Any:
    deadline = Deadline(timeout_s)
    return engine.synthesize(engine.admit(), worker, segments, prompt, [reference], job_options, deadline)


class Recorder:
    """Keeps the tokens of every sequence that a worker runs, by the seed of its job and its index."""

    def __init__(self, worker: ModelWorker) -> None:
        self.tokens: dict[tuple[int, int], list[int]] = {}
        open_stream = worker.decoder.open

        def opened(sequence: Any, prompt: Any) -> Any:
            self.tokens[sequence.job.options.seed, sequence.index] = sequence.tokens
            return open_stream(sequence, prompt)

        worker.decoder.open = opened


@pytest.fixture
def recorder(worker: ModelWorker) -> Any:
    return Recorder(worker)


async def test_a_request_gives_speech_of_the_length_of_its_tokens(
    engine: WatchedEngine, worker: ModelWorker, recorder: Any
) -> None:
    (chunk,) = await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5)))
    assert chunk.sample_rate_hz == VITS.sampling_rate
    assert chunk.is_fragment_end
    assert len(chunk.samples) == len(recorder.tokens[5, 0]) * SAMPLES_PER_TOKEN
    assert np.abs(chunk.samples).max() > 0.01


@in_every_backend
async def test_tokens_do_not_depend_on_batch_composition(
    engine: WatchedEngine, worker: ModelWorker, recorder: Any
) -> None:
    alone = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5), prompt=segment(50))))
    tokens_alone = list(recorder.tokens[5, 0])
    # Company of different lengths: some leave before, some after; one request joins when all are running.
    company = [
        asyncio.create_task(
            collect(
                speak(
                    engine,
                    worker,
                    [segment(10 + i, 5 + i)],
                    voice(i),
                    options(seed=100 + i, max_new_tokens=15 + 12 * i),
                )
            )
        )
        for i in range(SLOTS - 1)
    ]
    await engine.until(lambda: len(recorder.tokens) >= SLOTS // 2)  # have begun, and some may have ended
    late = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=5), prompt=segment(50))))
    await asyncio.gather(*company)
    assert recorder.tokens[5, 0] == tokens_alone
    np.testing.assert_allclose(late, alone, atol=1e-3)


@in_every_backend
async def test_voices_do_not_leak_between_concurrent_requests(engine: WatchedEngine, worker: ModelWorker) -> None:
    def request(i: int) -> Any:
        return speak(
            engine, worker, [segment(i), segment(30 + i, 7)], voice(i % 4), options(seed=i), prompt=segment(60 + i % 4)
        )

    alone = [joined(await collect(request(i))) for i in range(16)]
    together = await asyncio.gather(*(collect(request(i)) for i in range(16)))
    for one, many in zip(alone, together, strict=True):
        assert joined(many).shape == one.shape
        np.testing.assert_allclose(joined(many), one, atol=1e-3)
    # The check above means something: another voice sounds different.
    other = joined(await collect(speak(engine, worker, [segment(0)], voice(3), options(seed=0), prompt=segment(60))))
    length = min(len(other), len(alone[0]))
    assert np.abs(other[:length] - alone[0][:length]).max() > 1e-2


@in_every_backend
async def test_different_sampling_parameters_share_a_batch(
    engine: WatchedEngine, worker: ModelWorker, recorder: Any
) -> None:
    greedy = options(seed=1)
    greedy = type(greedy)(type(greedy.sampling)(top_k=1, max_new_tokens=40), seed=1)
    await collect(speak(engine, worker, [segment(1)], voice(1), greedy))
    alone = list(recorder.tokens[1, 0])
    await asyncio.gather(
        collect(speak(engine, worker, [segment(1)], voice(1), greedy)),
        *(collect(speak(engine, worker, [segment(1)], voice(1), options(seed=s))) for s in range(2, 8)),
    )
    assert recorder.tokens[1, 0] == alone
    assert len({tuple(recorder.tokens[s, 0]) for s in range(2, 8)}) == 6


async def test_a_long_text_is_delivered_in_order(engine: WatchedEngine, worker: ModelWorker, recorder: Any) -> None:
    segments = [segment(i, 4 + i % 5) for i in range(40)]
    chunks = await collect(speak(engine, worker, segments, voice(1), options(seed=2, max_new_tokens=None)))
    assert len(chunks) == 40
    assert [len(c.samples) // SAMPLES_PER_TOKEN for c in chunks] == [len(recorder.tokens[2, i]) for i in range(40)]


@in_every_backend
async def test_closing_the_iterator_frees_the_slots_at_the_next_step(
    engine: WatchedEngine, worker: ModelWorker, recorder: Any
) -> None:
    chunks = speak(engine, worker, [segment(i) for i in range(8)], voice(1), options(seed=3, streaming_mode=1))
    await anext(chunks)
    before = engine.stats().counters.tokens
    await chunks.aclose()
    await engine.until(lambda: not engine.stats().active_jobs)
    assert engine.stats().running_sequences == 0
    assert engine.stats().counters.cancelled == 1
    # At most the step that was under way: two segments of a stream run at a time, one token each, four admissions.
    assert engine.stats().counters.tokens - before < 60
    assert not worker._speech


async def test_a_cancelled_task_cancels_the_work_too(engine: WatchedEngine, worker: ModelWorker) -> None:
    task = asyncio.create_task(
        collect(speak(engine, worker, [segment(i) for i in range(30)], voice(1), options(max_new_tokens=300)))
    )
    await engine.until(lambda: engine.stats().running_sequences > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.until(lambda: not engine.stats().active_jobs)
    assert engine.stats().running_sequences == 0


async def test_a_full_engine_refuses_at_once_and_says_when_to_come_back(
    make_worker: Callable[..., ModelWorker],
) -> None:
    engine = Engine(max_jobs=2)  # not started: nothing leaves the queue
    worker = make_worker(engine)
    waiting = [asyncio.ensure_future(anext(speak(engine, worker, [segment(1)], voice(1), options()))) for _ in range(2)]
    with pytest.raises(OverloadedError) as refused:
        await anext(speak(engine, worker, [segment(1)], voice(1), options()))
    assert refused.value.retry_after_s >= 1
    assert engine.stats().rejected == 1
    engine.start()
    await asyncio.gather(*waiting)
    engine.stop(0.0)


@in_every_backend
async def test_an_error_in_one_sequence_fails_that_request_alone(engine: WatchedEngine, worker: ModelWorker) -> None:
    poisoned = segment(1)
    run = poisoned.runs[0]
    poison = type(poisoned)((type(run)(run.language, run.norm_text, (GPT.phoneme_vocab + 5, *run.phoneme_ids[1:])),))
    good = [
        asyncio.create_task(collect(speak(engine, worker, [segment(i)], voice(1), options(seed=i)))) for i in range(4)
    ]
    with pytest.raises(SynthesisError) as failed:
        await collect(speak(engine, worker, [poison], voice(1), options()))
    assert "index" not in str(failed.value)  # what went wrong inside is for the log
    assert all(len(joined(chunks)) for chunks in await asyncio.gather(*good))
    assert engine.stats().counters.failed == 1


@in_every_backend
async def test_a_non_finite_output_is_an_error_and_leaves_nothing_behind(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = joined(await collect(speak(engine, worker, [segment(7)], voice(1), options(seed=9))))
    with monkeypatch.context() as patch:
        patch.setattr(worker._features, "features", lambda segments: torch.full((12, 1024), torch.nan))
        with pytest.raises(SynthesisError, match="non-finite"):
            await collect(speak(engine, worker, [segment(1)], voice(1), options()))
    again = joined(await collect(speak(engine, worker, [segment(7)], voice(1), options(seed=9))))
    np.testing.assert_array_equal(again, clean)


async def test_content_features_that_are_not_finite_are_an_error(
    engine: WatchedEngine, worker: ModelWorker, hubert: Hubert, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a half precision HuBERT overflows: its tokens would all be entry 0, and the style would stay finite.
    monkeypatch.setattr(worker._prompts, "_hubert", lambda samples: torch.full_like(hubert(samples), torch.nan))
    with pytest.raises(SynthesisError, match="non-finite"):
        await collect(speak(engine, worker, [segment(1)], voice(1), options()))
    monkeypatch.undo()
    assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), options()))))


async def test_an_idle_engine_keeps_no_worker_alive(
    engine: WatchedEngine, make_worker: Callable[..., ModelWorker]
) -> None:
    worker, is_gone, loop = make_worker(engine), asyncio.Event(), asyncio.get_running_loop()
    await collect(speak(engine, worker, [segment(1)], voice(1), options()))
    gc.collect()
    gc.disable()
    try:
        watched = weakref.ref(worker, lambda _: loop.call_soon_threadsafe(is_gone.set))
        del worker
        await asyncio.wait_for(is_gone.wait(), 30)
        assert watched() is None
    finally:
        gc.enable()


async def test_a_passed_deadline_ends_a_request_with_an_error(engine: WatchedEngine, worker: ModelWorker) -> None:
    segments = [segment(i) for i in range(200)]
    with pytest.raises(DeadlineExceededError):
        await collect(speak(engine, worker, segments, voice(1), options(max_new_tokens=300), timeout_s=0.01))
    await engine.until(lambda: not engine.stats().active_jobs)
    assert engine.stats().counters.expired == 1


async def test_a_fragment_that_leaves_no_room_for_speech_is_the_request_s_fault(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    with pytest.raises(InvalidRequestError, match="text_split_method"):
        await collect(speak(engine, worker, [segment(1, 395)], voice(1), options()))
    assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), options()))))


@in_every_backend
async def test_a_sequence_stops_at_the_end_of_its_slot(
    engine: WatchedEngine, worker: ModelWorker, recorder: Any
) -> None:
    await collect(speak(engine, worker, [segment(1, 300)], voice(1), options(seed=4, max_new_tokens=None)))
    assert len(recorder.tokens[4, 0]) <= 100


async def test_a_reference_is_encoded_once_whatever_it_is_called(
    engine: WatchedEngine, worker: ModelWorker, vits: Vits, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    extract = type(vits).extract_codes
    monkeypatch.setattr(type(vits), "extract_codes", lambda self, x: calls.append(1) or extract(self, x))
    for _ in range(3):
        await collect(speak(engine, worker, [segment(1)], voice(77), options()))
    assert len(calls) == 1
    await collect(speak(engine, worker, [segment(1)], voice(78), options()))
    assert len(calls) == 2


async def test_stopping_lets_running_requests_finish_and_refuses_new_ones(
    make_worker: Callable[..., ModelWorker],
) -> None:
    engine = WatchedEngine(max_jobs=4)
    worker = make_worker(engine)
    engine.start()
    running = asyncio.create_task(collect(speak(engine, worker, [segment(1)], voice(1), options(max_new_tokens=200))))
    await engine.until(lambda: engine.stats().active_jobs > 0)
    stopping = asyncio.create_task(asyncio.to_thread(engine.stop, 60.0))
    await engine.until(lambda: engine._is_draining)
    with pytest.raises(OverloadedError, match="shutting down"):
        await anext(speak(engine, worker, [segment(1)], voice(1), options()))
    assert len(joined(await running))
    await stopping
    assert not engine.is_alive


async def test_stopping_without_patience_ends_requests_with_an_error(make_worker: Callable[..., ModelWorker]) -> None:
    engine = WatchedEngine(max_jobs=4)
    worker = make_worker(engine)
    engine.start()
    segments = [segment(i) for i in range(200)]
    running = asyncio.create_task(collect(speak(engine, worker, segments, voice(1), options(max_new_tokens=300))))
    await engine.until(lambda: engine.stats().running_sequences > 0)
    await asyncio.to_thread(engine.stop, 0.0)
    with pytest.raises(OverloadedError):
        await running


async def test_memory_is_flat_over_300_requests_of_mixed_length(engine: WatchedEngine, worker: ModelWorker) -> None:
    async def round_of(count: int) -> None:
        for start in range(0, count, 10):
            await asyncio.gather(
                *(
                    collect(
                        speak(
                            engine,
                            worker,
                            [segment(i, 3 + i % 30)],
                            voice(i % 5),
                            options(seed=i, max_new_tokens=11 + i % 50),
                        )
                    )
                    for i in range(start, start + 10)
                )
            )

    async def settled() -> None:
        # The loop's thread holds the last chunks until it has gone round once more.
        await engine.until(lambda: not engine.stats().active_jobs and not engine._workers)
        gc.collect()

    await round_of(60)
    await settled()
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        await round_of(300)
        await settled()
        grown = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    assert grown < 200_000
    assert engine.stats().active_jobs == 0
    assert not worker._speech
