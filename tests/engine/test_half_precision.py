"""FP16 on CUDA without a GPU: where tensors live, what they are made of, and what half precision costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sovits_service.engine import cfm_decoder, device_queue, prompt_encoder, wave_decoder
from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.sovits.vits import Vits
from tests.engine import test_cfm
from tests.engine.conftest import options, segment, voice
from tests.tiny_sizes import CFM, GPT, HUBERT, VITS, VOCODER

CUDA = torch.device("meta")  # stands for CUDA: the CPU build cannot place even fake tensors there


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Fake tensors: mixing devices raises as on a GPU. What is read back is checked, and replaced by plain values."""
    read_back = []

    def to_host(tensor: torch.Tensor) -> Any:
        assert tensor.device == CUDA, "computed on the CPU by mistake"
        read_back.append(tuple(tensor.shape))
        if tensor.dtype == torch.int64:  # drawn tokens: 7, not over, finite
            return np.tile(np.array([7, 0, 1]), (tensor.shape[0], 1))
        return np.zeros(tuple(tensor.shape), np.float32)

    for module in (device_queue, wave_decoder, cfm_decoder, prompt_encoder):
        monkeypatch.setattr(module, "to_host", to_host)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield read_back


def on_device(build: Any) -> torch.nn.Module:
    """As the loader leaves a model: weights in half precision, these and the computed buffers on the device."""
    torch.set_default_dtype(torch.float16)
    try:
        with CUDA:
            model = build()
    finally:
        torch.set_default_dtype(torch.float32)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = buffer.to(CUDA)
    for module in model.modules():
        module.register_forward_hook(check_tensors)
    return model.requires_grad_(False).eval()


def check_tensors(module: Any, inputs: Any, output: Any) -> None:
    """Fake tensors forgive some mixtures that a GPU does not, so each module is asked what it saw."""
    held = [*module._parameters.values(), *module._buffers.values()]
    for tensor in (*inputs, *held, *(output if isinstance(output, tuple) else (output,))):
        if isinstance(tensor, torch.Tensor):
            assert tensor.device == CUDA, f"{type(module).__name__} has a tensor on the CPU"
            is_computed = any(tensor is buffer for buffer in module._buffers.values())
            assert tensor.dtype != torch.float32 or is_computed or keeps_float32(module), (
                f"{type(module).__name__} has a tensor in float32"
            )


def keeps_float32(module: Any) -> bool:
    """Positions and times are large angles, and the steps of a sampling add up: half would round them away."""
    return type(module).__name__ in ("Rotary", "TimeEmbedding", "Cfm")


def half_pipeline() -> Any:
    gpt = on_device(lambda: TextToSemantic(GPT))
    vits = on_device(lambda: Vits(VITS, weight_norm=False))
    hubert = on_device(lambda: Hubert(HUBERT))
    return (
        SemanticRunner(gpt, 4, 200),
        TextFeatures(None, CUDA, torch.float16),
        PromptEncoder(vits, hubert, None),
        VitsWaveDecoder(vits, VITS.sampling_rate),
    )


def half_cfm_pipeline() -> Any:
    """As above with v4's parts."""
    runner, features, _, _ = half_pipeline()
    model = on_device(lambda: CfmSynthesizer(CFM))
    vocoder = on_device(lambda: Hifigan(VOCODER))
    prompts = PromptEncoder(model, on_device(lambda: Hubert(HUBERT)), None)
    return runner, features, prompts, CfmWaveDecoder(model, vocoder)


def new_job(loop: Any, **kwargs: Any) -> Any:
    return Job([segment(1)], segment(2), [voice(1)], options(**kwargs), 8, loop)


def run_all(runner: Any, features: Any, prompts: Any, decoder: Any, **kwargs: Any) -> Any:
    """One sequence from reference to samples."""
    job = new_job(None, **kwargs)
    sequence = job.start_next()
    sequence.slot = 1
    prompt = prompts.encode(job.references)
    assert prompt.prompt_tokens.device == CUDA
    assert prompt.style_embedding.dtype == torch.float16
    bert = features.features([job.prompt_segment, sequence.segment])
    runner.prefill([runner.admit(sequence, bert, prompts.prompt_tokens(prompt, job.prompt_segment))])
    for _ in range(20):
        assert runner.step([sequence], 2).broken == []
    stream = decoder.open(sequence, prompt)
    stream.feed(sequence.tokens, is_final=True)
    samples = decoder.advance([stream])[0]
    return sequence, samples


def test_every_stage_stays_on_the_device_in_half_precision(fake_device: Any) -> None:
    runner, features, prompts, decoder = half_pipeline()
    assert runner.slots.cache.keys.dtype == torch.float16
    sequence, samples = run_all(runner, features, prompts, decoder)
    assert len(sequence.tokens) == 21
    assert len(samples) == 21 * 2 * VITS.hop_length
    # One read per voice, one per token, one per piece of speech: the device is not waited for more often.
    assert len(fake_device) == 1 + 21 + 1


def test_flow_matching_stays_on_the_device_in_half_precision(fake_device: Any) -> None:
    runner, features, prompts, decoder = half_cfm_pipeline()
    _, samples = run_all(runner, features, prompts, decoder, cfm_steps=4)
    assert len(samples) == 21 * test_cfm.SAMPLES_PER_TOKEN


class RunsOnce(device_queue.HostQueue):
    """Captures nothing, and runs what would be captured."""

    lag, captures = 0, True

    def capture(self, step: Any, pool: Any) -> Any:
        self.shapes.append(step().shape)
        return step

    def capture_shared(self, run: Any, inputs: Any, pool: Any) -> Any:
        made = run(*inputs)
        assert made.device == CUDA
        assert made.dtype == torch.float16
        self.shapes.append(made.shape)
        return run

    shapes: list[torch.Size]


def test_what_is_captured_stays_on_the_device_in_half_precision(fake_device: Any) -> None:
    queue = RunsOnce(CUDA)
    queue.shapes = []
    SemanticRunner(on_device(lambda: TextToSemantic(GPT)), 4, 400, queue=queue)
    assert set(queue.shapes) == {(4, 3)}
    VitsWaveDecoder(on_device(lambda: Vits(VITS, weight_norm=False)), VITS.sampling_rate, max_batch=2, queue=queue)
    assert (2, 1, 160 * VITS.hop_length) in queue.shapes, "the generator"
    assert (1, VITS.inter_channels, 512) in queue.shapes, "the flow"
    model, vocoder = on_device(lambda: CfmSynthesizer(CFM)), on_device(lambda: Hifigan(VOCODER))
    CfmWaveDecoder(model, vocoder, max_batch=2, queue=queue)
    assert (2, 1, 768 * 480) in queue.shapes, "the vocoder"
    assert (2, 1000, 100) in queue.shapes, "a step"
    assert not fake_device, "nothing is read back"


@pytest.mark.parametrize("part", ["bert", "bert on the CPU", "style", "weights"])
def test_the_test_sees_a_tensor_that_is_left_behind(fake_device: Any, part: Any) -> None:
    runner, features, prompts, decoder = half_pipeline()
    if part == "bert":
        features.features = lambda segments: torch.zeros(24, 1024)
        runner.slots.dtype = torch.float32
    elif part == "bert on the CPU":
        features.features = lambda segments: torch.zeros(24, 1024)
        runner.device = torch.device("cpu")
    elif part == "style":
        decoder._dtype = torch.float32
    else:
        layer = prompts._vits.dec.conv_pre
        layer._parameters["bias"] = torch.nn.Parameter(torch.zeros_like(layer.bias, device="cpu"))
    with pytest.raises((RuntimeError, AssertionError)):
        run_all(runner, features, prompts, decoder)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_stays_near_float32(gpt: TextToSemantic, vits: Vits, dtype: torch.dtype, bound: Any) -> None:
    """Logits and waveform, relative to the largest value: 2 % in fp16, 10 % in bf16, which has 8 bits."""
    ids, prompt = torch.arange(20), torch.arange(10)
    bert = torch.zeros(20, 1024)
    style = torch.randn(1, VITS.gin_channels, 1, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, VITS.inter_channels, 20, generator=torch.Generator().manual_seed(2))

    def outputs(gpt: TextToSemantic, vits: Vits, dtype: torch.dtype) -> Any:
        cache = gpt.new_cache(1, 64)
        logits = gpt.prefill(ids, bert.to(dtype), prompt, cache, 0)
        prior = vits.encode(prompt[None], ids[None], style.to(dtype))
        wave = vits.vocode(vits.latents(prior, style.to(dtype), noise.to(dtype)), style.to(dtype))
        return logits.float(), wave.float()

    import copy

    expected = outputs(gpt, vits, torch.float32)
    actual = outputs(copy.deepcopy(gpt).to(dtype), copy.deepcopy(vits).to(dtype), dtype)
    for half, full in zip(actual, expected, strict=True):
        assert (half - full).abs().max() / full.abs().max() < bound
