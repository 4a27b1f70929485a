"""Speech that leaves before it is whole: its length, its joints, and how early it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.streaming import chunk_tokens, quietest_frame
from tests.engine.conftest import WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import speak
from tests.tiny_sizes import VITS


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("speed", [1.0, 1.25, 0.8])
async def test_chunks_together_are_as_long_as_the_whole(
    engine: WatchedEngine, worker: ModelWorker, mode: Any, speed: float
) -> None:
    whole = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=3, speed=speed))))
    chunks = await collect(
        speak(engine, worker, [segment(1)], voice(1), options(seed=3, speed=speed, streaming_mode=mode))
    )
    assert len(chunks) >= 2
    assert len(joined(chunks)) == len(whole)
    assert [chunk.is_fragment_end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@pytest.mark.parametrize("mode", [2, 3])
async def test_there_is_no_click_at_a_joint(engine: WatchedEngine, worker: ModelWorker, mode: Any) -> None:
    whole = joined(await collect(speak(engine, worker, [segment(2)], voice(2), options(seed=4, max_new_tokens=120))))
    chunks = await collect(
        speak(engine, worker, [segment(2)], voice(2), options(seed=4, streaming_mode=mode, max_new_tokens=120))
    )
    streamed = joined(chunks)
    usual_jump = np.abs(np.diff(whole)).max()
    frame = VITS.hop_length
    energy = np.square(whole[: len(whole) // frame * frame]).reshape(-1, frame).mean(axis=1)
    joints = np.cumsum([len(chunk.samples) for chunk in chunks])[:-1]
    assert len(joints) >= 2
    for joint in joints:
        assert np.abs(np.diff(streamed[joint - 2 : joint + 2])).max() <= 1.2 * usual_jump
        around = np.square(streamed[joint - frame : joint + frame]).mean()
        assert 0.25 * energy.min() <= around <= 2 * energy.max()


@pytest.mark.parametrize("mode", [2, 3])
async def test_the_first_chunk_comes_before_the_last_token_is_decoded(
    engine: WatchedEngine, worker: ModelWorker, mode: Any
) -> None:
    chunks = speak(engine, worker, [segment(1)], voice(1), options(seed=3, streaming_mode=mode, max_new_tokens=300))
    tokens_when_sent = []
    deliver = type(worker)._collect

    def collected(self: Any, sequence: Any, samples: Any) -> None:
        tokens_when_sent.append(len(sequence.tokens))
        deliver(self, sequence, samples)

    type(worker)._collect = collected
    try:
        await collect(chunks)
    finally:
        type(worker)._collect = deliver
    assert tokens_when_sent[0] < tokens_when_sent[-1]


async def test_mode_1_sends_each_fragment_when_it_is_ready(engine: WatchedEngine, worker: ModelWorker) -> None:
    segments = [segment(i) for i in range(5)]
    whole = await collect(speak(engine, worker, segments, voice(1), options(seed=3)))
    streamed = await collect(speak(engine, worker, segments, voice(1), options(seed=3, streaming_mode=1)))
    assert len(streamed) == 5
    for fragment, expected in zip(streamed, whole, strict=True):
        np.testing.assert_allclose(fragment.samples, expected.samples, atol=1e-3)


async def test_streamed_fragments_end_where_the_text_s_fragments_end(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    segments = [segment(i) for i in range(3)]
    chunks = await collect(speak(engine, worker, segments, voice(1), options(seed=3, streaming_mode=3)))
    assert sum(chunk.is_fragment_end for chunk in chunks) == 3
    whole = await collect(speak(engine, worker, segments, voice(1), options(seed=3)))
    assert len(joined(chunks)) == len(joined(whole))


async def test_an_overlap_longer_than_the_speech_loses_nothing(engine: WatchedEngine, worker: ModelWorker) -> None:
    whole = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=3))))
    job = options(seed=3, streaming_mode=3, overlap_tokens=100, min_chunk_tokens=1)
    assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), job)))) == len(whole)


async def test_tiny_chunks_lose_nothing(engine: WatchedEngine, worker: ModelWorker) -> None:
    whole = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(seed=3))))
    for mode in (2, 3):
        job = options(seed=3, streaming_mode=mode, overlap_tokens=0, min_chunk_tokens=1)
        assert len(joined(await collect(speak(engine, worker, [segment(1)], voice(1), job)))) == len(whole)


def test_chunks_are_fixed_in_mode_3_and_grow_in_mode_2() -> None:
    fixed = options(streaming_mode=3, min_chunk_tokens=16)
    growing = options(streaming_mode=2, min_chunk_tokens=16)
    assert [chunk_tokens(fixed, n) for n in range(4)] == [16] * 4
    sizes = [chunk_tokens(growing, n) for n in range(30)]
    assert sizes[0] == 16
    assert sizes == sorted(sizes)
    assert sizes[-1] == 75
    assert chunk_tokens(options(streaming_mode=2, min_chunk_tokens=200), 9) == 200


def test_the_quietest_boundary_is_found_within_its_limits() -> None:
    samples = np.ones(100, np.float32)
    samples[25:35] = 0.01
    assert quietest_frame(samples, 10, 1, 10) == 3
    assert quietest_frame(samples, 10, 5, 10) in range(5, 11)
