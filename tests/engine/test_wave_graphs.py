"""Networks that make waves, captured: the samples are those of plain calls, and each pass is one replay."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.device_queue import CudaQueue, HostQueue
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.engine.wave_graphs import JOINT_FRAMES, CfmGraphs
from sovits_service.models.sovits.bigvgan import BigVgan, BigVganConfig
from tests.engine.conftest import CPU, _randomised, collect, joined, options, segment, voice
from tests.engine.recorded_cuda import RecordedCuda
from tests.engine.test_cfm import synthesizer, vocoder  # noqa: F401 - fixtures
from tests.engine.test_engine import speak
from tests.tiny_sizes import VITS

TOLERANCE = 1e-5  # of full scale
BATCH = 2


@pytest.fixture
def cuda() -> Any:
    return RecordedCuda()


@pytest.fixture
def queue(cuda: Any) -> Any:
    return CudaQueue(CPU, cuda)


def vits_decoder(vits: Any, queue: Any = None, batch: Any = BATCH) -> Any:
    return VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40, max_batch=batch, queue=queue)


@pytest.fixture(scope="module")
def vits_prompt(vits: Any, hubert: Any) -> Any:
    return PromptEncoder(vits, hubert, None).encode([voice(1)])


@pytest.fixture(scope="module")
def cfm_prompt(synthesizer: Any, hubert: Any) -> Any:  # noqa: F811
    return PromptEncoder(synthesizer, hubert, None).encode([voice(1, 6.0)])


def streams(decoder: Any, prompt: Any, counts: Any = (70, 70, 31), **kwargs: Any) -> Any:
    """Streams that were fed so many tokens each."""
    opened = []
    for seed, tokens in enumerate(counts):
        job = Job([segment(seed)], segment(60), [voice(1)], options(seed, cfm_steps=4, **kwargs), 8, None)
        opened.append(decoder.open(job.start_next(), prompt))
        opened[-1].feed(np.random.default_rng(seed).integers(0, 60, tokens).tolist(), is_final=True)
    return opened


def said(decoder: Any, streams: Any, together: Any, run: Any = lambda work: work()) -> Any:
    """The samples of each stream, made so many together."""
    pieces: list[list[Any]] = [[] for _ in streams]
    while any(stream.has_work for stream in streams):
        waiting = [number for number, stream in enumerate(streams) if stream.has_work][:together]
        made = run(lambda waiting=waiting: decoder.advance([streams[number] for number in waiting]))
        for number, piece in zip(waiting, made, strict=True):
            pieces[number].append(piece)
    return [np.concatenate(parts) for parts in pieces]


@pytest.mark.parametrize("kwargs", [{}, {"speed": 1.3}], ids=["plain", "faster"])
def test_captured_waves_are_those_of_plain_calls(
    vits: Any, vits_prompt: Any, cuda: Any, queue: Any, kwargs: Any
) -> None:
    plain, captured = vits_decoder(vits), vits_decoder(vits, queue)
    expected = said(plain, streams(plain, vits_prompt, **kwargs), BATCH)
    cuda.log.clear()
    actual = said(captured, streams(captured, vits_prompt, **kwargs), BATCH, queue.beside)
    assert cuda.log.count("replay") > 4
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_a_batch_of_windows_is_one_replay_and_the_flow_another(
    vits: Any, vits_prompt: Any, cuda: Any, queue: Any
) -> None:
    decoder = vits_decoder(vits, queue)
    first = streams(decoder, vits_prompt, (70, 70))
    cuda.log.clear()
    queue.beside(lambda: decoder.advance(first))
    assert cuda.log.count("replay") == 2
    cuda.log.clear()
    queue.beside(lambda: decoder.advance(first))
    assert cuda.log.count("replay") == 1, "the latents are known"


def test_a_window_alone_says_the_same_bits_whatever_was_in_the_tensors_before(
    vits: Any, vits_prompt: Any, queue: Any
) -> None:
    decoder = vits_decoder(vits, queue, batch=1)
    broken, again = streams(decoder, vits_prompt, (70, 9))
    expected = said(decoder, streams(decoder, vits_prompt, (70, 9))[1:], 1, queue.beside)
    queue.beside(lambda: decoder.advance([broken]))
    broken.latents = torch.full_like(broken.latents, torch.nan)
    assert np.isnan(queue.beside(lambda: decoder.advance([broken]))[0]).any()
    np.testing.assert_array_equal(said(decoder, [again], 1, queue.beside), expected)


def test_what_is_longer_than_all_graphs_or_in_too_many_rows_is_made_all_the_same(
    vits: Any, vits_prompt: Any, cuda: Any, queue: Any
) -> None:
    plain, captured = vits_decoder(vits), vits_decoder(vits, queue)
    counts = (300, 12, 12)  # 600 frames for the flow; three rows where two are captured
    expected = said(plain, streams(plain, vits_prompt, counts), 3)
    actual = said(captured, streams(captured, vits_prompt, counts), 3, queue.beside)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_a_capture_that_fails_costs_speed_alone_and_is_logged_once(vits: Any, vits_prompt: Any, caplog: Any) -> None:
    cuda = RecordedCuda(fail_captures=True)
    queue = CudaQueue(CPU, cuda)
    plain = vits_decoder(vits)
    with caplog.at_level(logging.WARNING):
        captured = vits_decoder(vits, queue)
        actual = said(captured, streams(captured, vits_prompt), BATCH, queue.beside)
    assert [record.message.split(", which")[0] for record in caplog.records] == [
        "CUDA graphs are off for the flow",
        "CUDA graphs are off for HiFi-GAN",
    ]
    for one, other in zip(actual, said(plain, streams(plain, vits_prompt), BATCH), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "replay" not in cuda.log


def test_without_memory_for_a_batch_each_window_is_replayed_alone(
    vits: Any, vits_prompt: Any, cuda: Any, queue: Any, monkeypatch: Any
) -> None:
    decoder = vits_decoder(vits, queue)
    expected = said(decoder, streams(decoder, vits_prompt), 1, queue.beside)
    generate = decoder._captured.generate

    def scarce(frames: Any, style: Any) -> Any:
        if frames.shape[0] > 1:
            raise torch.OutOfMemoryError
        return generate(frames, style)

    monkeypatch.setattr(decoder._captured, "generate", scarce)
    actual = said(decoder, streams(decoder, vits_prompt), BATCH, queue.beside)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_captured_steps_of_flow_matching_give_the_samples_of_plain_calls(
    synthesizer: Any,  # noqa: F811
    vocoder: Any,  # noqa: F811
    cfm_prompt: Any,
    cuda: Any,
    queue: Any,
) -> None:
    plain = CfmWaveDecoder(synthesizer, vocoder, max_batch=BATCH)
    captured = CfmWaveDecoder(synthesizer, vocoder, max_batch=BATCH, queue=queue)
    expected = said(plain, streams(plain, cfm_prompt, (150, 40)), BATCH)
    cuda.log.clear()
    actual = said(captured, streams(captured, cfm_prompt, (150, 40)), BATCH, queue.beside)
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=10 * TOLERANCE)
    # Two windows of the first stream, in the first of which the second takes part: four steps each, and a vocoder for
    # each length.
    assert cuda.log.count("replay") == 2 * 4 + 3


def test_bigvgan_is_replayed_for_mels_of_the_usual_lengths_alone(synthesizer: Any, cuda: Any, queue: Any) -> None:  # noqa: F811
    sizes = BigVganConfig(
        upsample_rates=(4, 4),
        upsample_kernel_sizes=(8, 8),
        upsample_initial_channel=16,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 2),),
    )
    torch.manual_seed(3)
    network = _randomised(BigVgan(sizes), 7)
    graphs = CfmGraphs(synthesizer, network, queue, 1)
    spec = synthesizer.flow_matching
    usual = spec.window_frames - spec.prompt_frames + JOINT_FRAMES + network.context_frames
    with torch.inference_mode():
        for frames, replays in ((usual, 1), (usual - 1, 0), (usual + 1, 0)):
            mel = torch.randn(1, 100, frames, generator=torch.Generator().manual_seed(frames))
            cuda.log.clear()
            wave = queue.beside(lambda mel=mel: graphs.vocode(mel))
            assert cuda.log.count("replay") == replays
            torch.testing.assert_close(wave, network(mel))


async def test_streams_and_whole_answers_share_the_graphs_of_an_engine(
    engine: Any, make_worker: Any, gpt: Any, vits: Any, hubert: Any, cuda: Any, queue: Any
) -> None:
    """Each kind has a thread of its own, and both of them replay what was captured once."""
    on_cuda = ModelWorker(
        SemanticRunner(gpt, 6, 400, queue=queue, is_deterministic=False),
        TextFeatures(None, CPU, torch.float32),
        PromptEncoder(vits, hubert, None),
        vits_decoder(vits, queue),
        engine.counters,
    )
    plain = make_worker(engine)

    def said(worker: Any, number: int) -> Any:
        asked = options(number, streaming_mode=3 * (number % 2))
        texts = [segment(number), segment(number + 50)]
        return collect(speak(engine, worker, texts, voice(number % 2), asked, prompt=segment(3)))

    alone = [joined(await said(plain, number)) for number in range(6)]
    captures = cuda.captures
    together = await asyncio.gather(*(said(on_cuda, number) for number in range(6)))
    assert cuda.captures == captures, "all was captured before the first request"
    for one, chunks in zip(alone, together, strict=True):
        np.testing.assert_allclose(joined(chunks), one, atol=10 * TOLERANCE)


def test_a_decoder_frees_its_graphs_at_once(vits: Any, queue: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        decoder = vits_decoder(vits, queue)
        graphs = weakref.ref(decoder._captured._generators)
        del decoder
        assert graphs() is None, "something in the decoder holds the decoder"
    finally:
        gc.enable()


def test_on_a_cpu_nothing_is_captured(vits: Any) -> None:
    graphs = vits_decoder(vits, HostQueue(CPU))._captured
    assert graphs._flows.padded(1, 10) is None
    assert graphs._generators.padded(1, 10) is None
