"""Half precision and placement of each model by itself, without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sovits_service.audio import dsp
from sovits_service.models.bert import Bert
from sovits_service.models.checkpoint_models import fill, load_sovits
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.bigvgan import BigVgan, BigVganConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan, HifiganConfig
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import ModelVersion
from tests.unit.models import tiny

DEVICE = torch.device("meta")  # stands for CUDA: the CPU build cannot place even fake tensors there
# Float32 on purpose: positions and filters that half precision would blur. They are cast where they are used.
FLOAT32_BUFFERS = ("inv_freq", "positions", "low_pass")
VOCABULARY = {token: i for i, token in enumerate("[PAD] [UNK] [CLS] [SEP] 今 天 气 很 好 ， 。".split())}  # noqa: SIM905


def vits(version: ModelVersion) -> Callable[[], nn.Module]:
    return lambda: Vits(tiny.sovits_config(version), weight_norm=False)


def hubert() -> nn.Module:
    return Hubert(
        {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
            "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16,
            # 16 channels in each group: oneDNN's bf16 convolution on AMX is wrong for 8. The published model has 48.
            "num_conv_pos_embedding_groups": 2,
        }
    )  # fmt: skip


def bert() -> nn.Module:
    tokenizer = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    return Bert({**sizes, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32}, tokenizer)


def speaker() -> nn.Module:
    return ERes2NetV2(channels=16, base_width=24, scale=4, expansion=2, n_blocks=(1, 1, 2, 1))


def bigvgan() -> nn.Module:
    return BigVgan(BigVganConfig(8, (4, 2), (8, 4), 16, "1", (3,), ((1, 2),), use_tanh_at_final=False))


def hifigan() -> nn.Module:
    return Hifigan(HifiganConfig(8, (4, 2), (8, 4), 16, "1", (3,), ((1, 2, 3),), post_bias=True))


def cfm() -> nn.Module:
    return CfmSynthesizer(tiny.cfm_config("v4"))


def run_vits(model: nn.Module, make: Callable[..., Tensor], ids: Tensor) -> Tensor:
    assert isinstance(model, Vits)
    pro = model.config.speaker_embedding_channels
    style = model.style_embedding([make(1, 1025, 30).abs()], [make(1, pro)] if pro else None)
    prior = model.encode(ids, ids, style, lengths=[12, 7], phoneme_lengths=[5, 12], speed=[1.0, 1.3])
    noise = make(*prior.mean.shape)
    return model.vocode(model.latents(prior, style, noise, 0.5), style)


def run_cfm(model: nn.Module, make: Callable[..., Tensor], ids: Tensor) -> Tensor:
    assert isinstance(model, CfmSynthesizer)
    style = model.style_embedding([make(1, 1025, 30).abs()])
    features, lengths = model.encode(ids, ids, style, lengths=[12, 7], speed=1.2)
    prompt = make(2, 100, 10)
    noise = make(2, 100, features.shape[-1])
    return model.sample(features, prompt, noise, 4, lengths, [10, 6])


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Callable[..., Tensor], Tensor], Tensor]]] = {
    "vits_v1": (vits("v1"), run_vits),
    "vits_v2": (vits("v2"), run_vits),
    "vits_v2Pro": (vits("v2Pro"), run_vits),
    "cfm": (cfm, run_cfm),
    "hubert": (hubert, lambda model, make, _: model(make(1, 8000) * 0.1)),
    "bert": (bert, lambda model, _make, _: torch.cat(model(["今天天气很好，", "。好"]))),
    "speaker": (speaker, lambda model, make, _: model(make(2, 60, 80))),
    "bigvgan": (bigvgan, lambda model, make, _: model(make(1, 8, 20))),
    "hifigan": (hifigan, lambda model, make, _: model(make(1, 8, 20))),
}
# Outputs that are float32 whatever the weights: sums of many small steps.
FLOAT32_OUTPUTS = ("cfm",)


def load(build: Callable[[], nn.Module], dtype: torch.dtype, device: torch.device) -> nn.Module:
    """As the loader does: built on the meta device, filled with seeded weights."""
    with torch.device("cpu"):
        state = tiny.seed(build())
    with torch.device("meta"):
        model = build()
    rates = "cfm.estimator.rotary_embed.inv_freq"
    return fill(model, state, "test", device, dtype, float32=(rates,))


def check_tensors(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
    """Fake tensors forgive some mixtures that a GPU does not, so each module is asked what it holds and makes."""
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            assert tensor.device == DEVICE, f"{type(module).__name__}.{name} is on the CPU"
            if tensor.is_floating_point() and name not in FLOAT32_BUFFERS:
                assert tensor.dtype == torch.float16, f"{type(module).__name__}.{name} is {tensor.dtype}"
    for value in (*inputs, output):
        if isinstance(value, Tensor):
            assert value.device == DEVICE, f"{type(module).__name__} has a tensor on the CPU"


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_is_left_on_the_cpu_or_in_float32(name: str) -> None:
    build, run = MODELS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = load(build, torch.float16, DEVICE)
        for module in model.modules():
            module.register_forward_hook(check_tensors)
        out = run(
            model,
            lambda *shape: torch.empty(shape, dtype=torch.float16, device=DEVICE),
            torch.ones(2, 12, dtype=torch.int64, device=DEVICE),
        )
        assert out.device == DEVICE
        assert out.dtype == (torch.float32 if name in FLOAT32_OUTPUTS else torch.float16)


@pytest.mark.parametrize("name", ["vits_v2", "cfm", "bigvgan"])
def test_the_placement_check_sees_a_tensor_left_behind(name: str) -> None:
    build, run = MODELS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = load(build, torch.float16, DEVICE)
        for module in model.modules():
            module.register_forward_hook(check_tensors)
        first = next(module for module in model.modules() if isinstance(module, nn.Conv1d))
        assert first.bias is not None
        first.bias = nn.Parameter(first.bias.to("cpu"), requires_grad=False)
        with pytest.raises((AssertionError, RuntimeError)):
            run(
                model,
                lambda *shape: torch.empty(shape, dtype=torch.float16, device=DEVICE),
                torch.ones(2, 12, dtype=torch.int64, device=DEVICE),
            )


# The difference from float32, as a part of the signal, both as root mean squares. Fp16 has 11 bits, bf16 has 8; the
# seeded weights are random and enlarge an error more than trained ones.
BOUNDS = {torch.float16: 0.005, torch.bfloat16: 0.03}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_close_to_float32(name: str, dtype: torch.dtype) -> None:
    build, run = MODELS[name]
    ids = torch.arange(24).view(2, 12)

    def output(precision: torch.dtype) -> Tensor:
        generator = torch.Generator().manual_seed(0)

        def make(*shape: int) -> Tensor:
            # Rounded to the coarsest of the formats first, so that all hear the same.
            return torch.randn(shape, generator=generator).to(dtype).to(precision)

        model = load(build, precision, torch.device("cpu"))
        with torch.inference_mode():
            return run(model, make, ids).float()

    exact, half = output(torch.float32), output(dtype)
    assert half.shape == exact.shape
    assert half.isfinite().all()
    error = float((half - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert error < BOUNDS[dtype]


def test_codes_of_half_precision_features_are_mostly_those_of_float32(tmp_path: Path) -> None:
    path = tiny.save(tiny.sovits_content("v2", torch.float32), tmp_path / "a.pth", b"01")
    full, half = load_sovits(path), load_sovits(path, dtype=torch.float16)
    features = torch.randn(1, 32, 200)
    agree = full.extract_codes(features) == half.extract_codes(features.half())
    assert agree.float().mean() > 0.95


def test_spectra_are_float32_whatever_the_models_are() -> None:
    samples = torch.randn(1, 4000)
    assert dsp.linear_spectrogram(samples, 512, 128).dtype == torch.float32
    assert dsp.mel_spectrogram(samples, 24_000, 1024, 256, 100).dtype == torch.float32
