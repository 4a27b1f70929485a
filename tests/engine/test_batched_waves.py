"""Windows of several streams that are made in one pass, as on CUDA without `deterministic`: what each says alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder, windows_together
from sovits_service.errors import SynthesisError
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.vits import Vits
from tests.engine.conftest import CPU, SLOTS, WatchedEngine, collect, joined, options, segment, voice
from tests.engine.test_engine import speak
from tests.tiny_sizes import VITS

TOLERANCE = 1e-4  # of full scale, as that of the stored outputs


@pytest.fixture
def decoder(vits: Vits) -> Any:
    return VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40, max_batch=8)


@pytest.fixture
def worker(engine: WatchedEngine, gpt: TextToSemantic, vits: Vits, hubert: Hubert, decoder: Any) -> Any:
    return ModelWorker(
        SemanticRunner(gpt, SLOTS, 400),
        TextFeatures(None, CPU, torch.float32),
        PromptEncoder(vits, hubert, None),
        decoder,
        engine.counters,
    )


@pytest.fixture
def prompts(vits: Vits, hubert: Hubert) -> Any:
    encoder = PromptEncoder(vits, hubert, None)
    return [encoder.encode([voice(number)]) for number in (1, 2)]


def new_stream(decoder: Any, prompts: Any, seed: int, *, tokens: Any, has_text: Any = True, **kwargs: Any) -> Any:
    """A stream that was fed so many tokens of its own."""
    text = segment(seed, 8 + seed) if has_text else segment(seed, 0)
    job = Job([text], None, [voice(1)], options(seed, **kwargs), 8, None)
    stream = decoder.open(job.start_next(), prompts[seed % 2])
    stream.feed(
        np.random.default_rng(seed).integers(0, 60, tokens).tolist(), is_final=kwargs.get("streaming_mode") != 3
    )
    return stream


@pytest.fixture
def passes(vits: Vits, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many windows went into each pass of the generator."""
    sizes = []
    generate = type(vits.dec).forward

    def noted(self: Any, frames: Any, *args: Any) -> Any:
        sizes.append(frames.shape[0])
        return generate(self, frames, *args)

    monkeypatch.setattr(type(vits.dec), "forward", noted)
    return sizes


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"speed": 1.3}, {"streaming_mode": 3}, {"has_text": False}],
    ids=["whole", "faster", "stream", "without text"],
)
def test_a_window_made_with_others_is_the_one_made_alone(decoder: Any, prompts: Any, passes: Any, kwargs: Any) -> None:
    def streams() -> Any:
        return [new_stream(decoder, prompts, seed, tokens=70, **kwargs) for seed in range(4)]

    alone = [[decoder.advance([stream])[0] for _ in range(3)] for stream in streams()]
    passes.clear()
    company = streams()
    assert list(decoder.batch(company)) == company
    together = [decoder.advance(company) for _ in range(3)]
    assert passes == [4, 4, 4]
    for turn in range(3):
        for number in range(4):
            assert len(alone[number][turn]), "nothing was said"
            np.testing.assert_allclose(together[turn][number], alone[number][turn], atol=TOLERANCE)
    assert not np.allclose(together[0][0], together[0][1], atol=0.01), "each has its own voice and text"


def test_texts_speeds_and_lengths_of_all_kinds_may_advance_together(decoder: Any, prompts: Any) -> None:
    plans = [
        {"tokens": 20},
        {"tokens": 31, "speed": 0.8},
        {"tokens": 12, "has_text": False},
        {"tokens": 70, "streaming_mode": 3},
        {"tokens": 5},
    ]

    def streams() -> Any:
        return [new_stream(decoder, prompts, seed, **plan) for seed, plan in enumerate(plans)]

    alone = [decoder.advance([stream])[0] for stream in streams()]
    for one, many in zip(alone, decoder.advance(streams()), strict=True):
        np.testing.assert_allclose(many, one, atol=TOLERANCE)


def test_only_windows_of_equal_length_share_a_batch(decoder: Any, prompts: Any, passes: Any) -> None:
    def streams() -> Any:
        return [new_stream(decoder, prompts, seed, tokens=tokens) for seed, tokens in enumerate((70, 90, 9, 70))]

    alone = [[decoder.advance([stream])[0] for _ in range(2)] for stream in streams() if len(stream.fed) > 9]
    first, other, shorter, third = streams()
    assert list(decoder.batch([first, shorter, other, third])) == [first, other, third]
    assert list(decoder.batch([shorter, first, other, third])) == [shorter]
    decoder.advance([first])
    passes.clear()
    assert list(decoder.batch([first, other, third])) == [first, other, third]
    # The second window of one, with context before it, and the first of the others.
    together = decoder.advance([first, other, third])
    assert passes == [3]
    for one, many in zip((alone[0][1], alone[1][0], alone[2][0]), together, strict=True):
        np.testing.assert_allclose(many, one, atol=TOLERANCE)


@pytest.mark.parametrize("part", ["flow", "dec"])
def test_without_memory_for_a_batch_each_is_made_alone(
    decoder: Any, prompts: Any, vits: Vits, passes: Any, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    def streams() -> Any:
        return [new_stream(decoder, prompts, seed, tokens=70) for seed in range(3)]

    alone = [decoder.advance([stream])[0] for stream in streams()]
    kind = type(getattr(vits, part))
    run = kind.forward

    def scarce(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.shape[0] > 1:
            raise torch.OutOfMemoryError
        return run(self, x, *args, **kwargs)

    monkeypatch.setattr(kind, "forward", scarce)
    for one, many in zip(alone, decoder.advance(streams()), strict=True):
        np.testing.assert_allclose(many, one, atol=TOLERANCE)
    monkeypatch.setattr(kind, "forward", lambda self, *args, **kwargs: scarce(self, torch.zeros(2)))
    with pytest.raises(torch.OutOfMemoryError):
        decoder.advance(streams()[:1])


def test_a_batch_is_bounded(vits: Vits, prompts: Any) -> None:
    decoder = VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40, max_batch=2)
    streams = [new_stream(decoder, prompts, seed, tokens=70) for seed in range(4)]
    assert list(decoder.batch(streams)) == streams[:2]


def test_what_must_not_depend_on_its_company_is_made_alone() -> None:
    assert windows_together(torch.device("cuda"), is_deterministic=True) == 1
    assert windows_together(torch.device("cuda:1"), is_deterministic=False) > 1
    assert windows_together(CPU, is_deterministic=False) == 1


@pytest.mark.parametrize("mode", [0, 2, 3])
async def test_requests_share_batches_and_each_hears_its_own(
    engine: WatchedEngine,
    worker: ModelWorker,
    make_worker: Callable[..., ModelWorker],
    decoder: Any,
    passes: Any,
    monkeypatch: pytest.MonkeyPatch,
    mode: Any,
) -> None:
    def said(on: Any, seed: int) -> Any:
        return collect(speak(engine, on, [segment(seed)], voice(seed % 2), options(seed, streaming_mode=mode)))

    plain = make_worker(engine)
    alone = [joined(await said(plain, seed)) for seed in range(4)]
    passes.clear()
    choose = decoder.batch
    # Nothing is made until all wait for it: who shares a batch does not depend on who is fast.
    monkeypatch.setattr(decoder, "batch", lambda streams: choose(streams) if passes or len(streams) == 4 else [])
    together = await asyncio.gather(*(said(worker, seed) for seed in range(4)))
    assert max(passes) > 1
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(joined(many), one, atol=TOLERANCE)


async def test_a_window_that_is_not_finite_fails_its_own_request_alone(
    engine: WatchedEngine, worker: ModelWorker, decoder: Any, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, choose = type(decoder).advance, decoder.batch

    def broken(self: Any, streams: Any) -> Any:
        pieces = advance(self, streams)
        return [p * np.nan if s.sequence.job.options.seed == 1 else p for p, s in zip(pieces, streams, strict=True)]

    monkeypatch.setattr(type(decoder), "advance", broken)
    monkeypatch.setattr(decoder, "batch", lambda streams: choose(streams) if passes or len(streams) == 3 else [])
    jobs = [speak(engine, worker, [segment(1)], voice(1), options(seed)) for seed in range(3)]
    outcomes = await asyncio.gather(*map(collect, jobs), return_exceptions=True)
    assert max(passes) == 3
    assert isinstance(outcomes[1], SynthesisError)
    assert all(len(joined(outcomes[seed])) for seed in (0, 2))
