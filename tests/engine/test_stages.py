"""What runs beside the loop does not stop those who are being spoken to, and what listeners wait for goes first."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.cores import Threads
from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.model_worker import ModelWorker, _urgency
from sovits_service.engine.sequence import Job
from sovits_service.engine.stage import Stage, Stages, Task
from sovits_service.engine.text_features import TextFeatures
from sovits_service.errors import SynthesisError
from sovits_service.types import AudioChunk
from tests.engine.conftest import CPU, WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import speak


class Held:
    """Stands in for a slow piece of work: it goes on when it is let go."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self.began, self.release = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.began.set()
        assert self.release.wait(30.0)
        return self.original(*args, **kwargs)


async def began(held: Any) -> None:
    assert await asyncio.to_thread(held.began.wait, 60.0)


@pytest.mark.parametrize("part", ["_prompts._encode", "_features.features"])
async def test_a_slow_new_voice_or_text_does_not_stop_a_running_stream(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    known = options(seed=1, streaming_mode=3, max_new_tokens=200)
    alone = await collect(speak(engine, worker, [segment(1)], voice(1), known))
    stream = speak(engine, worker, [segment(1)], voice(1), known)
    chunks = [await anext(stream)]
    owner, name = part.split(".")
    held = Held(getattr(getattr(worker, owner), name))
    monkeypatch.setattr(getattr(worker, owner), name, held)
    newcomers = [
        asyncio.create_task(collect(speak(engine, worker, [segment(i)], voice(i), options(seed=i))))
        for i in range(10, 18)
    ]
    await began(held)
    chunks += await collect(stream)  # to its end, while none of the new voices gets on
    assert not any(newcomer.done() for newcomer in newcomers)
    np.testing.assert_array_equal(joined(chunks), joined(alone))
    held.release.set()
    assert all(len(joined(speech)) for speech in await asyncio.gather(*newcomers))


async def test_a_slow_whole_answer_does_not_stop_a_stream_s_waves(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = worker.decoder.advance
    held = Held(advance)

    def chosen(streams: Any) -> Any:
        return (advance if streams[0].sequence.job.is_stream else held)(streams)

    monkeypatch.setattr(worker.decoder, "advance", chosen)
    whole = asyncio.create_task(collect(speak(engine, worker, [segment(2)], voice(1), options(seed=2))))
    await began(held)
    chunks = await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=1, streaming_mode=3)))
    assert chunks[-1].is_last
    assert not whole.done()
    held.release.set()
    assert len(joined(await whole))


@pytest.mark.parametrize("cores", [1, 2])
async def test_waves_of_two_answers_are_made_at_once_where_two_cores_have_nothing_to_decode(
    make_worker: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    engine = WatchedEngine(max_jobs=4, threads=Threads(alone=cores, beside=1, cores=cores))
    engine.start()
    worker = make_worker(engine)
    alone = [await collect(speak(engine, worker, [segment(i)], voice(1), options(seed=i))) for i in range(2)]
    advance, side_by_side, one_core = worker.decoder.advance, threading.Barrier(2), threading.Lock()

    def meet(streams: Any) -> Any:
        if cores == 2:
            side_by_side.wait(30.0)  # broken, and the request fails, if the other never comes
            return advance(streams)
        assert one_core.acquire(blocking=False)
        try:
            return advance(streams)
        finally:
            one_core.release()

    monkeypatch.setattr(worker.decoder, "advance", meet)
    answers = [speak(engine, worker, [segment(i)], voice(1), options(seed=i)) for i in range(2)]
    together = await asyncio.gather(*map(collect, answers))
    engine.stop(0.0)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(joined(one), joined(other))


async def test_known_voices_do_not_wait_behind_new_ones(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collect(speak(engine, worker, [segment(1)], voice(1), options()))
    held = Held(worker._prompts._encode)
    monkeypatch.setattr(worker._prompts, "_encode", held)
    new = asyncio.create_task(collect(speak(engine, worker, [segment(1)], voice(2), options())))
    await began(held)
    assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), options()))))
    held.release.set()
    await new


@pytest.mark.parametrize("part", ["_prompts._encode", "_features.features", "decoder.open", "decoder.advance"])
async def test_a_fault_in_a_stage_fails_its_own_request_alone(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    good = asyncio.create_task(
        collect(speak(engine, worker, [segment(1)], voice(1), options(seed=1, max_new_tokens=200)))
    )
    await engine.until(lambda: engine.stats().running_sequences > 0)
    owner, name = part.split(".")
    place = worker.decoder if owner == "decoder" else getattr(worker, owner)
    original = getattr(place, name)

    def faulty(subject: Any, *args: Any) -> Any:
        if name == "advance" and subject[0].sequence.job.options.seed == 1:
            return original(subject, *args)
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(place, name, faulty)
        with pytest.raises(SynthesisError):
            await collect(speak(engine, worker, [segment(2)], voice(2), options(seed=2)))
    assert len(joined(await good))
    assert engine.stats().counters.failed == 1
    assert len(joined(await collect(speak(engine, worker, [segment(2)], voice(2), options(seed=2)))))


async def test_a_job_that_leaves_while_a_stage_works_on_it_leaves_nothing_behind(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(worker.decoder.advance)
    monkeypatch.setattr(worker.decoder, "advance", held)
    gone = asyncio.create_task(collect(speak(engine, worker, [segment(1)], voice(1), options())))
    await began(held)
    gone.cancel()
    await engine.until(lambda: not engine.stats().active_jobs)
    held.release.set()
    assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), options()))))
    assert not worker._speech


def test_a_stage_hands_back_results_and_errors_and_is_free_again() -> None:
    woken = threading.Event()
    stage = Stage("test", woken.set, lambda: 1)
    stage.start()
    seen: list[Any] = []

    def fault() -> None:
        raise ValueError("it")

    for run in (lambda: 7, fault):
        woken.clear()
        stage.submit(Task(None, run, seen.append, seen.append))
        assert stage.is_busy
        assert woken.wait(10.0)
        stage.take().settle()
        assert not stage.is_busy
        assert stage.take() is None
    stage.stop()
    assert seen[0] == 7
    assert isinstance(seen[1], ValueError)


async def test_streams_go_by_when_their_listener_runs_dry_and_before_whole_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("sovits_service.engine.sequence.time.monotonic", lambda: clock[0])

    def sequence(streaming_mode: int, submitted_s: Any) -> Any:
        job_options = options(streaming_mode=streaming_mode)
        job = Job([segment(1)], None, (), job_options, 2, asyncio.get_running_loop(), submitted_s=submitted_s)
        return job.start_next()

    whole, rich, poor, new = sequence(0, 90.0), sequence(2, 91.0), sequence(2, 92.0), sequence(2, 100.0)
    for started, seconds in ((rich, 3.0), (poor, 0.06)):
        started.job.deliver(0, AudioChunk(np.zeros(int(8_000 * seconds), np.float32), 8_000, is_fragment_end=False))
    order = sorted((whole, rich, poor, new), key=_urgency)
    assert order == [poor, new, rich, whole]
    clock[0] += 10.0  # a listener who has waited hears the next chunk from now on, not from when the last one ended
    poor.job.deliver(0, AudioChunk(np.zeros(8_000, np.float32), 8_000, is_fragment_end=False))
    assert poor.job.runs_dry_s == 111.0


def test_a_stream_s_window_of_v4_is_batched_with_shorter_streams_alone() -> None:
    def stream(mode: Any, frames: Any, steps: Any = 4) -> Any:
        job = SimpleNamespace(options=options(streaming_mode=mode, cfm_steps=steps))
        features = torch.zeros(1, 1, frames)
        return SimpleNamespace(sequence=SimpleNamespace(job=job), features=features, fed=(), cursor=0, prompt_frames=0)

    decoder: Any = object.__new__(CfmWaveDecoder)
    decoder._max_batch = 8
    decoder._spec = SimpleNamespace(window_frames=500)
    first, longer, shorter, whole, other = stream(2, 64), stream(2, 140), stream(3, 60), stream(0, 50), stream(2, 9, 8)
    assert decoder.batch([first, longer, shorter, whole, other]) == [first, shorter]
    assert decoder.batch([whole, first, longer]) == [whole, first, longer]
    decoder._max_batch = 1
    assert decoder.batch([first, shorter]) == [first]


def test_bert_features_are_bounded_by_bytes_and_made_one_by_one() -> None:
    calls = []

    def bert(texts: Any) -> Any:
        calls.append(list(texts))
        return [torch.zeros(len(text), 1024) for text in texts]

    features = TextFeatures(bert, CPU, torch.float32, remembered_bytes=30 * 4096)
    for seed in range(8):
        run = type(segment(1).runs[0])("zh", chr(0x4E00 + seed) * 12, (1,) * 12, (1,) * 12)
        assert features.features([type(segment(1))((run,))]).shape == (12, 1024)
    assert [len(call) for call in calls] == [1] * 8
    assert sum(tensor.nbytes for tensor in features._remembered.values()) <= 30 * 4096
    assert len(features._remembered) == 2


def test_a_piece_of_work_has_all_cores_alone_and_its_share_beside_others() -> None:
    used: list[int] = []
    is_decoding = [False]
    woken = threading.Semaphore(0)
    stages = Stages(woken.release, Threads(alone=3, beside=1, cores=3), lambda: is_decoding[0])
    stages.start()
    go, began = threading.Event(), threading.Event()

    def note(wait: bool = False) -> None:
        used.append(torch.get_num_threads())
        began.set()
        assert not wait or go.wait(30.0)

    def finish(stage: Stage) -> None:
        assert woken.acquire(timeout=30.0)
        assert stage.take() is not None

    def submit(stage: Stage, wait: bool = False) -> None:
        stage.submit(Task(None, lambda: note(wait), lambda _: None, lambda _: None))

    submit(stages.live.answers)
    finish(stages.live.answers)
    is_decoding[0] = True
    submit(stages.live.answers)
    finish(stages.live.answers)
    is_decoding[0] = False
    began.clear()
    submit(stages.live.texts, wait=True)
    assert began.wait(30.0)
    submit(stages.live.streams)
    finish(stages.live.streams)
    go.set()
    finish(stages.live.texts)
    stages.stop()
    assert used == [3, 1, 3, 1]


@pytest.mark.parametrize("cores", [1, 2])
async def test_the_first_chunk_has_all_of_few_cores(
    make_worker: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch, cores: Any
) -> None:
    engine = WatchedEngine(max_jobs=4, threads=Threads(alone=cores, beside=1, cores=cores))
    engine.start()
    worker = make_worker(engine)
    advance, threads = worker.decoder.advance, []

    def watched(streams: Any) -> Any:
        threads.append(torch.get_num_threads())
        return advance(streams)

    held = Held(watched)
    monkeypatch.setattr(worker.decoder, "advance", held)
    stream = asyncio.create_task(
        collect(speak(engine, worker, [segment(1)], voice(1), options(streaming_mode=3, max_new_tokens=200)))
    )
    await began(held)
    steps, rounds = worker.counters.decode_steps, itertools.count()

    def has_gone_round() -> bool:
        engine._wake.set()
        return next(rounds) > 10

    await engine.until(has_gone_round)
    assert worker.counters.decode_steps == steps
    held.release.set()
    chunks = await stream
    engine.stop(0.0)
    assert threads[0] == cores
    assert worker.counters.decode_steps > steps
    assert len(chunks) > 3
