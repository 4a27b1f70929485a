"""A recording in another voice: read in stretches, said by the decoder alone, beside requests that the GPT speaks."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from sovits_service.deadline import Deadline
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.source import CONTEXT_TOKENS, STRETCH_TOKENS, Source
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import ReferenceAudio, Segment
from tests.engine.conftest import WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import SAMPLES_PER_TOKEN, Recorder, speak


def convert(
    engine: WatchedEngine, worker: ModelWorker, source: Any, reference: Any, text: Segment | None = None, **kwargs: Any
) -> Any:
    return engine.synthesize(
        engine.admit(),
        worker,
        [text or Segment(())],
        None,
        [reference],
        options(7, **kwargs),
        Deadline(60.0),
        source=source,
    )


@pytest.mark.parametrize("duration_s", [0.3, 9.99, 14.0, 16.1, 60.0])
def test_stretches_cover_a_recording_once_with_context_around_each(duration_s: Any) -> None:
    source = Source(ReferenceAudio(np.zeros(int(duration_s * 1000), np.float32), 1000, "x"))
    ends = []
    while not source.is_read:
        stretch = source.next_stretch()
        assert stretch.start == len(source.tokens)
        assert stretch.start - stretch.first == min(CONTEXT_TOKENS, stretch.start)
        assert stretch.last - stretch.stop == min(CONTEXT_TOKENS, source.length - stretch.stop)
        assert stretch.stop - stretch.start <= STRETCH_TOKENS * 3 // 2
        source.take([0] * (stretch.stop - stretch.start))
        ends.append(stretch.stop)
    assert ends[-1] == len(source.tokens) == source.length
    assert 0 <= source.length / 25 - duration_s < 0.04


def test_tokens_of_stretches_are_those_of_the_whole(vits: Vits, hubert: Hubert) -> None:
    encoder, recording = PromptEncoder(vits, hubert, None), voice(4, 24.0)
    source = Source(recording)
    lengths = []
    while not source.is_read:
        source.take(encoder.read(source))
        lengths.append(len(source.tokens))
    whole = encoder.encode([recording]).prompt_tokens[: source.length].tolist()
    assert lengths == [250, 600]
    assert np.mean(np.array(source.tokens) == np.array(whole)) > 0.95


async def test_a_recording_is_said_in_the_voice_token_by_token(engine: WatchedEngine, worker: ModelWorker) -> None:
    recorder = Recorder(worker)
    said = joined(await collect(convert(engine, worker, voice(4, 4.0), voice(1))))
    assert len(said) == 100 * SAMPLES_PER_TOKEN
    assert recorder.tokens[7, 0] == worker._prompts.read(Source(voice(4, 4.0)))
    other = joined(await collect(convert(engine, worker, voice(4, 4.0), voice(2))))
    assert len(other) == len(said)
    assert np.abs(other - said).max() > 0.01


async def test_what_it_says_counts_where_it_is_told(engine: WatchedEngine, worker: ModelWorker) -> None:
    told = joined(await collect(convert(engine, worker, voice(4), voice(1), segment(1))))
    untold = joined(await collect(convert(engine, worker, voice(4), voice(1))))
    assert len(told) == len(untold)
    assert np.abs(told - untold).max() > 0.001


async def test_a_stream_is_the_whole_piece_by_piece(engine: WatchedEngine, worker: ModelWorker) -> None:
    (whole,) = await collect(convert(engine, worker, voice(4, 12.0), voice(1)))
    pieces = await collect(convert(engine, worker, voice(4, 12.0), voice(1), streaming_mode=3))
    assert len(pieces) > 5
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    np.testing.assert_allclose(joined(pieces), np.clip(whole.samples, -1, 1), atol=2e-5)


async def test_recordings_and_texts_run_together_as_alone(engine: WatchedEngine, worker: ModelWorker) -> None:
    text_alone = joined(await collect(speak(engine, worker, [segment(1)], voice(1), options(5))))
    alone = joined(await collect(convert(engine, worker, voice(4, 20.0), voice(2))))
    together = await asyncio.gather(
        collect(convert(engine, worker, voice(4, 20.0), voice(2))),
        *(collect(speak(engine, worker, [segment(1)], voice(1), options(5))) for _ in range(3)),
    )
    np.testing.assert_allclose(joined(together[0]), alone, atol=2e-5)
    for chunks in together[1:]:
        np.testing.assert_allclose(joined(chunks), text_alone, atol=2e-5)
    await engine.until(lambda: engine.stats().active_jobs == 0)
    assert worker.is_idle


async def test_a_client_that_leaves_while_its_recording_is_read_leaves_nothing(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    speech = convert(engine, worker, voice(4, 60.0), voice(1))
    first = asyncio.ensure_future(anext(speech))
    await engine.until(lambda: not worker.is_idle)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await speech.aclose()
    await engine.until(lambda: engine.stats().active_jobs == 0)
    assert engine.counters.cancelled == 1
