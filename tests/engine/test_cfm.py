"""v3 and v4 in the engine: windows that carry on, batches across requests, streams without clicks."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.deadline import Deadline
from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.text_features import TextFeatures
from sovits_service.errors import SynthesisError
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.types import Segment
from tests.engine.conftest import CPU, SLOTS, WatchedEngine, _randomised, collect, joined, options, segment, voice
from tests.engine.test_engine import speak
from tests.tiny_sizes import CFM as CONFIG
from tests.tiny_sizes import VOCODER

SAMPLES_PER_TOKEN = 4 * 480


@pytest.fixture(scope="module")
def synthesizer() -> Any:
    torch.manual_seed(1)
    model = _randomised(CfmSynthesizer(CONFIG), 5)
    model.quantizer.vq.layers[0]._codebook.embed.copy_(torch.randn(64, 16, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.fixture(scope="module")
def vocoder() -> Any:
    torch.manual_seed(2)
    return _randomised(Hifigan(VOCODER), 6)


@pytest.fixture
def worker(engine: WatchedEngine, gpt: TextToSemantic, synthesizer: Any, vocoder: Any, hubert: Hubert) -> Any:
    return ModelWorker(
        SemanticRunner(gpt, SLOTS, 600),
        TextFeatures(None, CPU, torch.float32),
        PromptEncoder(synthesizer, hubert, None),
        CfmWaveDecoder(synthesizer, vocoder, max_batch=8),
        engine.counters,
    )


@pytest.fixture
def wait_for(worker: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the decoder do nothing until so many streams wait for it: a batch does not depend on who is fast."""
    choose = type(worker.decoder).batch

    def set_up(count: int) -> None:
        has_begun: list[bool] = []

        def batch(self: Any, streams: Any) -> Any:
            if len(streams) < count and not has_begun:
                return []
            has_begun.append(True)
            return choose(self, streams)

        monkeypatch.setattr(type(worker.decoder), "batch", batch)

    return set_up


def cfm_options(seed: int = 3, **kwargs: Any) -> Any:
    return options(seed, cfm_steps=4, **kwargs)


def request(engine: WatchedEngine, worker: ModelWorker, seed: int = 1, **kwargs: Any) -> Any:
    return speak(engine, worker, [segment(seed)], voice(seed % 4), cfm_options(seed, **kwargs), prompt=segment(60))


async def test_a_sentence_is_as_long_as_its_tokens_at_the_rate_of_the_vocoder(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    (chunk,) = await collect(request(engine, worker))
    assert chunk.sample_rate_hz == 48_000
    assert len(chunk.samples) % SAMPLES_PER_TOKEN == 0
    assert 11 <= len(chunk.samples) // SAMPLES_PER_TOKEN <= 60


async def test_windows_of_many_requests_share_batches_and_each_gets_its_own(
    engine: WatchedEngine,
    worker: ModelWorker,
    synthesizer: Any,
    vocoder: Any,
    monkeypatch: pytest.MonkeyPatch,
    wait_for: Any,
) -> None:
    alone = [joined(await collect(request(engine, worker, seed))) for seed in range(8)]
    sizes, vocoded = [], []
    sample, generate = type(synthesizer).sample, type(vocoder).forward

    def noted(self: Any, mel: Any) -> Any:
        vocoded.append(mel.shape[0])
        return generate(self, mel)

    def counted(self: Any, features: Any, *args: Any) -> Any:
        sizes.append(features.shape[0])
        return sample(self, features, *args)

    monkeypatch.setattr(type(synthesizer), "sample", counted)
    monkeypatch.setattr(type(vocoder), "forward", noted)
    wait_for(8)
    together = await asyncio.gather(*(collect(request(engine, worker, seed)) for seed in range(8)))
    for one, many in zip(alone, together, strict=True):
        assert joined(many).shape == one.shape
        np.testing.assert_allclose(joined(many), one, atol=1e-3)
    assert max(sizes) > 1
    assert max(vocoded) > 1, "mels of equal length go through the vocoder together"


async def test_without_memory_for_a_batch_each_window_is_drawn_and_vocoded_alone(
    engine: WatchedEngine,
    worker: ModelWorker,
    synthesizer: Any,
    vocoder: Any,
    monkeypatch: pytest.MonkeyPatch,
    wait_for: Any,
) -> None:
    alone = [joined(await collect(request(engine, worker, seed))) for seed in range(3)]
    refused = []

    def scarce(kind: str, name: str) -> None:
        run = getattr(kind, name)

        def limited(self: Any, x: torch.Tensor, *args: Any) -> Any:
            if x.shape[0] > 1:
                refused.append(name)
                raise torch.OutOfMemoryError
            return run(self, x, *args)

        monkeypatch.setattr(kind, name, limited)

    scarce(type(synthesizer), "sample")
    scarce(type(vocoder), "forward")
    wait_for(3)
    together = await asyncio.gather(*(collect(request(engine, worker, seed)) for seed in range(3)))
    assert set(refused) == {"sample", "forward"}
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(joined(many), one, atol=1e-5)


async def test_requests_with_different_steps_do_not_share_a_batch(
    engine: WatchedEngine, worker: ModelWorker, synthesizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    sample = type(synthesizer).sample

    def noted(self: Any, features: Any, prompt: Any, noise: Any, n_steps: Any, *args: Any) -> Any:
        seen.append((n_steps, features.shape[0]))
        return sample(self, features, prompt, noise, n_steps, *args)

    monkeypatch.setattr(type(synthesizer), "sample", noted)
    mixed = []
    advance = type(worker.decoder).advance

    def checked(self: Any, streams: Any) -> Any:
        steps = {stream.sequence.job.options.cfm_steps for stream in streams}
        mixed.extend([steps] if len(steps) > 1 else [])
        return advance(self, streams)

    monkeypatch.setattr(type(worker.decoder), "advance", checked)
    jobs = [
        speak(engine, worker, [segment(i)], voice(1), options(i, cfm_steps=steps), prompt=segment(60))
        for i, steps in enumerate((4, 8, 4, 8))
    ]
    await asyncio.gather(*(collect(job) for job in jobs))
    assert {steps for steps, _ in seen} == {4, 8}
    assert sum(size for _, size in seen) >= 4
    assert mixed == []


async def test_what_the_decoder_chose_is_what_advances(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, advanced = [], []
    advance = type(worker.decoder).advance

    def last_alone(self: Any, streams: Any) -> Any:
        chosen.append(streams[-1])
        return streams[-1:]

    def noted(self: Any, streams: Any) -> Any:
        advanced.extend(streams)
        return advance(self, streams)

    monkeypatch.setattr(type(worker.decoder), "batch", last_alone)
    monkeypatch.setattr(type(worker.decoder), "advance", noted)
    together = await asyncio.gather(*(collect(request(engine, worker, seed, max_new_tokens=30)) for seed in range(6)))
    assert all(len(joined(chunks)) for chunks in together)
    assert advanced == chosen
    assert len({id(stream) for stream in chosen}) == 6


async def test_a_non_finite_window_fails_its_own_request_alone(
    engine: WatchedEngine, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch, wait_for: Any
) -> None:
    clean = joined(await collect(request(engine, worker, 1)))
    advance = type(worker.decoder).advance
    batches = []

    def poisoned(self: Any, streams: Any) -> Any:
        batches.append(len(streams))
        pieces = advance(self, streams)
        return [
            np.full_like(piece, np.nan) if stream.sequence.job.options.seed == 2 else piece
            for stream, piece in zip(streams, pieces, strict=True)
        ]

    monkeypatch.setattr(type(worker.decoder), "advance", poisoned)
    wait_for(3)
    results = await asyncio.gather(
        *(collect(request(engine, worker, seed)) for seed in (1, 2, 3)), return_exceptions=True
    )
    assert max(batches) > 1
    assert isinstance(results[1], SynthesisError)
    np.testing.assert_allclose(joined(results[0]), clean, atol=1e-3)
    assert len(joined(results[2]))


async def test_a_long_sentence_is_drawn_in_windows_each_prompted_by_the_last(
    engine: WatchedEngine, worker: ModelWorker, synthesizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = []
    sample = type(synthesizer).sample

    def noted(self: Any, features: Any, prompt: Any, *args: Any) -> Any:
        prompts.append(prompt.clone())
        return sample(self, features, prompt, *args)

    monkeypatch.setattr(type(synthesizer), "sample", noted)
    job = speak(engine, worker, [segment(2)], voice(1, 8.0), cfm_options(5, speed=0.25), prompt=segment(60))
    samples = joined(await collect(job))
    windows = -(-len(samples) // 480 // 500)
    assert len(prompts) == windows
    assert windows >= 2
    assert all(prompt.shape[2] <= 500 for prompt in prompts)
    assert not torch.equal(prompts[0], prompts[1])


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("speed", [1.0, 1.25])
async def test_streams_are_as_long_as_the_whole_and_begin_before_its_last_token(
    engine: WatchedEngine, worker: ModelWorker, mode: Any, speed: float
) -> None:
    whole = joined(await collect(request(engine, worker, speed=speed)))
    chunks = await collect(request(engine, worker, streaming_mode=mode, speed=speed))
    assert len(chunks) >= 2
    assert len(joined(chunks)) == len(whole)


@pytest.mark.parametrize("mode", [2, 3])
async def test_there_is_no_click_where_windows_meet(engine: WatchedEngine, worker: ModelWorker, mode: Any) -> None:
    whole = joined(await collect(request(engine, worker, 3, max_new_tokens=120)))
    chunks = await collect(request(engine, worker, 3, streaming_mode=mode, max_new_tokens=120))
    streamed = joined(chunks)
    usual_jump = np.abs(np.diff(whole)).max()
    joints = np.cumsum([len(chunk.samples) for chunk in chunks])[:-1]
    assert len(joints) >= 2
    for joint in joints:
        assert np.abs(np.diff(streamed[joint - 2 : joint + 2])).max() <= 1.5 * usual_jump


async def test_equal_seeds_sound_equal_and_others_do_not(engine: WatchedEngine, worker: ModelWorker) -> None:
    first, again = [joined(await collect(request(engine, worker, 5))) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    other = joined(await collect(speak(engine, worker, [segment(5)], voice(1), cfm_options(6), prompt=segment(60))))
    assert other.shape != first.shape or np.abs(other - first).max() > 1e-3


async def test_a_clip_for_the_timbre_gives_the_mel_that_the_speech_goes_on_from(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    def spoken(timbre: Any) -> Any:
        return engine.synthesize(
            engine.admit(),
            worker,
            [segment(1)],
            segment(60),
            [voice(1)],
            cfm_options(),
            Deadline(60.0),
            timbre=timbre,
        )

    own, other = joined(await collect(spoken(None))), joined(await collect(spoken(voice(2, 4.0))))
    assert len(own) == len(other)  # the tokens are the same
    assert np.abs(own - other).max() > 0.01


async def test_a_recording_is_said_in_the_voice_without_any_transcript(
    engine: WatchedEngine, worker: ModelWorker
) -> None:
    chunks = engine.synthesize(
        engine.admit(), worker, [Segment(())], None, [voice(1)], cfm_options(), Deadline(60.0), source=voice(2, 4.0)
    )
    assert len(joined(await collect(chunks))) == 100 * SAMPLES_PER_TOKEN
