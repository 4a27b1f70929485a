"""The decode loop of a CUDA device, on a stand-in that records and replays: same tokens, and nobody waits for it."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.device_queue import CudaQueue, HostQueue, _TorchCuda
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.models.gpt import PrefixBatch, TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.vits import Vits
from tests.engine.conftest import CPU, WatchedEngine, collect, joined, options, segment, voice
from tests.engine.recorded_cuda import Launches, RecordedCuda

CAPACITY = 600  # steps are captured for 256, 512 and 600
PREFILLS = 7  # lengths for which passes are captured


def new_sequence(seed: int, slot: int, *, max_new_tokens: Any = 300) -> Any:
    job = Job([segment(seed)], segment(100 + seed), [voice(1)], options(seed, max_new_tokens=max_new_tokens), 8, None)
    sequence = job.start_next()
    sequence.slot = slot
    return sequence


def prefill(runner: Any, sequence: Any, prompt_length: Any = 20) -> None:
    prompt = torch.arange(prompt_length) % 60
    length = len(sequence.segment.phoneme_ids) + len(sequence.job.prompt_segment.phoneme_ids)
    runner.prefill([runner.admit(sequence, torch.zeros(length, 1024), prompt)])


def spoken(runner: Any) -> Any:
    """Tokens of sequences that join at different steps, reach over two bounds, end, and leave their slots to others."""
    plan = {0: (1, 0, 300), 3: (2, 1, 40), 7: (3, 2, 260), 60: (4, 1, 250)}
    running, everyone = [], []
    for turn in range(400):
        if turn in plan:
            seed, slot, limit = plan[turn]
            sequence = new_sequence(seed, slot, max_new_tokens=limit)
            prefill(runner, sequence)
            running.append(sequence)
            everyone.append(sequence)
        runner.step(running, 3)
        for sequence in [s for s in running if s.is_finished]:
            sequence.slot = None
            running.remove(sequence)
    assert not running
    return [sequence.tokens for sequence in everyone]


@pytest.fixture(scope="module")
def plain(gpt: TextToSemantic) -> Any:
    return spoken(SemanticRunner(gpt, 4, CAPACITY, queue=HostQueue(CPU)))


def test_a_host_that_is_a_step_behind_a_replayed_graph_draws_the_same_tokens(gpt: TextToSemantic, plain: Any) -> None:
    cuda = RecordedCuda()
    assert spoken(SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda))) == plain
    assert max(map(len, plain)) + 44 > 256, "no sequence reached over the first bound"
    assert cuda.captures == 3 + PREFILLS
    assert cuda.log.count("replay") >= 274


def test_with_graphs_for_few_rows_too(gpt: Any, plain: Any) -> None:
    """Rows 1, 2 and 4 by three bounds, and by the lengths of prefills; which graph is taken follows what runs."""
    cuda = RecordedCuda()
    runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda), is_deterministic=False)
    assert cuda.captures == 9 + 3 * PREFILLS
    assert spoken(runner) == plain
    sequence = new_sequence(1, 0, max_new_tokens=40)
    prefill(runner, sequence)
    with Launches() as launches:
        while not sequence.is_finished:
            runner.step([sequence], 1)
    assert sequence.tokens == plain[0][:40]
    assert launches.read_rows() == {1}, "what is read back has a row for each that is spanned"


def test_without_graphs_too(gpt: TextToSemantic, plain: Any) -> None:
    cuda = RecordedCuda()
    assert spoken(SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda), use_graphs=False)) == plain
    assert "replay" not in cuda.log


def test_a_capture_that_fails_costs_speed_alone(
    gpt: TextToSemantic, plain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = RecordedCuda(fail_captures=True)
    with caplog.at_level(logging.WARNING):
        runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda))
    assert [record.message.split(", which")[0] for record in caplog.records] == [
        "CUDA graphs are off for decoding",
        "CUDA graphs are off for prefills",
    ]
    assert "operation not permitted" in caplog.text
    assert cuda.current_stream == "default", "the thread was left on the stream of the capture"
    assert spoken(runner) == plain
    assert cuda.captures == 2
    runner.queue.free_memory()  # as when the next model is loaded: torch must not take the capture for under way


def test_a_step_that_reads_the_device_cannot_be_captured(caplog: pytest.LogCaptureFixture) -> None:
    cuda = RecordedCuda()
    queue = CudaQueue(CPU, cuda)
    state = torch.zeros(3)

    def step() -> Any:
        state.add_(1)
        return state * float(state[0].item())

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        queue.capture(step, queue.new_pool())
    assert cuda.current_stream == "default"
    queue.free_memory()


def test_all_graphs_are_there_before_a_sequence_runs_and_leave_no_trace(gpt: TextToSemantic) -> None:
    cuda = RecordedCuda()
    runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda))
    assert cuda.captures == 3 + PREFILLS
    state = runner._state
    assert not state.is_active.any()
    assert not state.seen.any()
    assert not state.drawn.any()
    spoken(runner)
    assert cuda.captures == 3 + PREFILLS


def test_the_next_step_is_launched_before_the_last_one_is_read(gpt: TextToSemantic) -> None:
    cuda = RecordedCuda()
    runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, cuda))
    sequence = new_sequence(1, 0)
    prefill(runner, sequence)
    cuda.log.clear()
    for _ in range(20):
        runner.step([sequence], 1)
    # The first step's turn reads the prefill's token, each later turn the token of the step before.
    assert cuda.log == ["replay", "copied", "read"] * 20
    assert len(sequence.tokens) == 20
    assert sequence.launched == 21


def test_a_step_is_one_launch_and_one_copy(gpt: TextToSemantic, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.engine import recorded_cuda

    runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()))
    sequence = new_sequence(1, 0)
    prefill(runner, sequence)
    runner.step([sequence], 1)
    replays = []
    monkeypatch.setattr(recorded_cuda.Graph, "replay", lambda graph: replays.append(graph))
    with Launches() as launches:
        runner.step([sequence], 1)
    assert len(replays) == 1
    # The copy goes into new room on the host, which the stand-in clones to have it pinned; NumPy's view of it is free.
    on_host = ("empty", "clone", "detach", "resolve", "to.")
    assert [name for name in launches.names if not name.startswith(tuple(f"aten::{n}" for n in on_host))] == [
        "aten::copy_"
    ]


def test_a_sequence_that_ends_costs_no_other_its_tokens(gpt: TextToSemantic) -> None:
    """One that has ended is in the next step already: its row is computed and thrown away."""
    runner = SemanticRunner(gpt, 2, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()))
    first, second = new_sequence(1, 0, max_new_tokens=5), new_sequence(2, 1, max_new_tokens=30)
    prefill(runner, first)
    prefill(runner, second)
    running = [first, second]
    while running:
        runner.step(running, 2)
        running = [sequence for sequence in running if not sequence.is_finished]
    assert (len(first.tokens), len(second.tokens)) == (5, 30)


def test_a_sequence_that_loses_its_slot_leaves_nothing_to_its_successor(gpt: TextToSemantic) -> None:
    def tokens(queue: Any, *, interrupted: Any) -> Any:
        runner = SemanticRunner(gpt, 2, CAPACITY, queue=queue)
        if interrupted:
            gone = new_sequence(9, 0)
            prefill(runner, gone)
            for _ in range(10):
                runner.step([gone], 1)
            runner.release(0)
            gone.slot = None
        sequence = new_sequence(1, 0, max_new_tokens=40)
        prefill(runner, sequence)
        while not sequence.is_finished:
            runner.step([sequence], 1)
        if interrupted:
            assert len(gone.tokens) < 11, "the step that was on its way when it left is nobody's"
        return sequence.tokens

    expected = tokens(HostQueue(CPU), interrupted=False)
    assert tokens(CudaQueue(CPU, RecordedCuda()), interrupted=True) == expected


@pytest.mark.parametrize("use_graphs", [True, False])
def test_only_the_row_that_is_not_finite_breaks(gpt: TextToSemantic, use_graphs: Any) -> None:
    runner = SemanticRunner(gpt, 2, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()), use_graphs=use_graphs)
    good, bad = new_sequence(1, 0, max_new_tokens=30), new_sequence(2, 1, max_new_tokens=30)
    prefill(runner, good)
    length = len(bad.segment.phoneme_ids) * 2
    runner.prefill([runner.admit(bad, torch.full((length, 1024), torch.nan), torch.arange(20))])
    broken = [s for _ in range(5) for s in runner.step([s for s in (good, bad) if s.slot is not None], 2).broken]
    assert broken == [bad] * len(broken)
    assert broken
    runner.clear(1)
    bad.slot = None
    while not good.is_finished:
        assert not runner.step([good], 1).broken
    assert len(good.tokens) == 30


async def test_a_whole_engine_speaks_the_same(
    engine: WatchedEngine, make_worker: Callable[..., ModelWorker], gpt: TextToSemantic, vits: Vits, hubert: Hubert
) -> None:
    from sovits_service.engine.model_worker import ModelWorker
    from sovits_service.engine.prompt_encoder import PromptEncoder
    from sovits_service.engine.text_features import TextFeatures
    from sovits_service.engine.wave_decoder import VitsWaveDecoder
    from tests.engine.test_engine import speak
    from tests.tiny_sizes import VITS

    def said(worker: ModelWorker, mode: Any) -> Any:
        return speak(
            engine, worker, [segment(1), segment(2)], voice(1), options(5, streaming_mode=mode), prompt=segment(3)
        )

    cuda = RecordedCuda()
    on_cuda = ModelWorker(
        SemanticRunner(gpt, 4, 400, queue=CudaQueue(torch.device("cpu"), cuda)),
        TextFeatures(None, CPU, torch.float32),
        PromptEncoder(vits, hubert, None),
        VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40),
        engine.counters,
    )
    for mode in (0, 3):
        expected = joined(await collect(said(make_worker(engine), mode)))
        actual = joined(await collect(said(on_cuda, mode)))
        assert np.array_equal(actual, expected)
    # The loop's stream, and one for each thread that works beside it.
    assert len(cuda.streams) >= 4


def test_streams_are_made_on_the_configured_device() -> None:
    cuda = RecordedCuda()
    queue = CudaQueue(torch.device("cuda:1"), cuda)
    queue.beside(lambda: None)
    assert {stream.device for stream in cuda.streams} == {torch.device("cuda:1")}


def test_no_thread_can_get_a_stream_that_is_captured_on() -> None:
    """torch's streams of a priority are handed out in turn: the 33rd is the first again."""
    cuda = RecordedCuda()
    queue = CudaQueue(CPU, cuda)
    queue.capture(lambda: torch.zeros(1) + 1, queue.new_pool())
    queue.capture_shared(lambda x: x + 1, [torch.zeros(1, 1)], queue.new_pool())
    of_captures, made = cuda.captured_on, len(cuda.streams)
    for _ in range(3):
        thread = threading.Thread(target=queue.beside, args=(lambda: None,))
        thread.start()
        thread.join()
    of_threads = cuda.streams[made:]
    assert len(of_threads) == 3
    assert len({id(stream) for stream in of_captures}) == 2, "their products would share scratch memory"
    assert not {stream.priority for stream in of_captures} & {stream.priority for stream in of_threads}


def test_a_cache_and_inputs_are_filled_with_zeros_before_anything_is_written(gpt: Any, monkeypatch: Any) -> None:
    cuda, streams = RecordedCuda(), []
    new_cache = type(gpt).new_cache
    noted = lambda self, *sizes: streams.append(cuda.current_stream) or new_cache(self, *sizes)  # noqa: E731
    monkeypatch.setattr(type(gpt), "new_cache", noted)
    empty = PrefixBatch.empty
    monkeypatch.setattr(PrefixBatch, "empty", lambda *sizes: streams.append(cuda.current_stream) or empty(*sizes))
    queue = CudaQueue(CPU, cuda)
    SemanticRunner(gpt, 2, CAPACITY, queue=queue, use_graphs=False)
    with queue.launching():
        assert streams == [cuda.current_stream] * 2


@pytest.mark.parametrize("ask", ["free_memory", "wait"])
def test_what_torch_refuses_during_a_capture_waits_for_its_end(ask: Any) -> None:
    """Another request that runs out of memory must not be refused more than that, nor void the capture."""
    cuda = RecordedCuda()
    queue = CudaQueue(CPU, cuda)
    is_capturing, may_end, order = threading.Event(), threading.Event(), []

    def step() -> Any:
        if cuda.underway:
            is_capturing.set()
            may_end.wait(10)
            order.append("captured")
        return torch.zeros(1)

    def asked() -> None:
        getattr(queue, ask)()
        order.append(ask)

    threads = [threading.Thread(target=queue.capture, args=(step, queue.new_pool()))]
    threads[0].start()
    assert is_capturing.wait(10)
    threads.append(threading.Thread(target=asked))
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert order == ["captured", ask]


def test_graphs_that_threads_share_take_turns() -> None:
    """Each call copies its inputs into tensors that all of them use: two threads at once would mix them up."""
    cuda = RecordedCuda()
    queue = CudaQueue(CPU, cuda)

    def run(x: Any, y: Any) -> Any:
        for _ in range(10):
            x = (x + y) - y
        return x * 2 + y

    shared = queue.capture_shared(run, [torch.zeros(4, 8), torch.zeros(4, 1)], queue.new_pool())
    cuda.log.clear()
    wrong = []

    def work(number: Any) -> None:
        for turn in range(100):
            x, y = torch.full((1 + turn % 4, 8), float(number)), torch.full((1 + turn % 4, 1), float(turn))
            made = queue.beside(lambda: shared(x, y))  # noqa: B023 - called at once
            if made.shape != x.shape or not torch.equal(made, 2 * x + y):
                wrong.append((number, turn))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    # On the device a thread waits until the result of the other's is copied.
    turns = [entry for entry in cuda.log if entry != "wait for stream"]
    assert turns == ["in turn", "replay", "done"] * 200


def test_a_shared_graph_is_free_again_after_a_call_that_fails() -> None:
    queue = CudaQueue(CPU, RecordedCuda())
    shared = queue.capture_shared(lambda x: x + 1, [torch.zeros(2, 3)], queue.new_pool())
    with pytest.raises(RuntimeError):
        queue.beside(lambda: shared(torch.zeros(1, 5)))
    assert torch.equal(queue.beside(lambda: shared(torch.ones(1, 3))), torch.full((1, 3), 2.0))


def test_a_result_of_a_shared_graph_stays_what_it_is() -> None:
    queue = CudaQueue(CPU, RecordedCuda())
    shared = queue.capture_shared(lambda x: x + 1, [torch.zeros(2, 3)], queue.new_pool())
    first = queue.beside(lambda: shared(torch.ones(2, 3)))
    queue.beside(lambda: shared(torch.zeros(2, 3)))
    assert torch.equal(first, torch.full((2, 3), 2.0))


def test_what_works_beside_has_its_result_before_it_hands_it_over() -> None:
    cuda = RecordedCuda()
    queue = CudaQueue(CPU, cuda)
    assert queue.beside(lambda: cuda.log.append("work") or 7) == 7
    assert cuda.log == ["work", "wait for stream"]
    with pytest.raises(ValueError, match="broken"):
        queue.beside(lambda: (_ for _ in ()).throw(ValueError("broken")))
    assert cuda.log == ["work", "wait for stream", "wait for stream"], "what it launched may read what is freed"
    assert cuda.current_stream == "default"


@pytest.mark.parametrize("has_ended", [False, True])
def test_torch_is_told_to_forget_a_capture_that_did_not_end(monkeypatch: Any, has_ended: bool) -> None:
    """The pool is given back by the graph of a capture that did: twice would take it from graphs that are alive."""
    calls = []

    def end(index: int, pool: Any) -> None:
        calls.append(("end", index, pool))
        if has_ended:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *given: calls.append(("release", *given)))
    _TorchCuda.forget_capture(torch.device("cuda:1"), (0, 5))
    assert calls == [("end", 1, (0, 5)), ("release", 1, (0, 5))][: 1 if has_ended else 2]


def test_a_runner_frees_its_caches_at_once(gpt: TextToSemantic) -> None:
    # What torch imports at the first use of an operator leaves the frames of that use to the collector.
    SemanticRunner(gpt, 1, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()))
    gc.collect()
    gc.disable()
    try:
        runner = SemanticRunner(gpt, 4, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()))
        cache = weakref.ref(runner.slots.cache)  # type: ignore[attr-defined]
        del runner
        assert cache() is None, "something in the runner holds the runner"
    finally:
        gc.enable()
