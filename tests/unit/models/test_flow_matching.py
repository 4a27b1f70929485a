"""The v3 and v4 decoders: batches of windows, steps, lengths; their vocoders; LoRA files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import Checkpoint, read_sovits
from sovits_service.models.checkpoint_lora import merge_lora
from sovits_service.models.checkpoint_models import (
    build_bigvgan,
    build_v4_vocoder,
    load_bigvgan,
    load_sovits,
    load_super_sampler,
)
from sovits_service.models.sovits.bigvgan import BigVgan, BigVganConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import V4_VOCODER, Hifigan
from sovits_service.models.super_sampling import SuperSampler, SuperSamplerConfig
from sovits_service.types import ModelVersion
from tests.unit.models import tiny


def _windows(lengths: list[int], prompt_lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    n, longest = len(lengths), max(lengths)
    features = torch.randn(n, 24, longest, generator=generator)
    prompt = torch.randn(n, 100, max(prompt_lengths), generator=generator)
    return features, prompt, torch.randn(n, 100, longest, generator=generator)


@pytest.mark.parametrize("n_steps", [4, 8])
def test_a_window_comes_out_of_a_padded_batch_as_it_does_alone(n_steps: int) -> None:
    model = tiny.cfm_synthesizer()
    lengths, prompt_lengths = [40, 25, 61], [10, 20, 7]
    features, prompt, noise = _windows(lengths, prompt_lengths)
    batch = model.sample(features, prompt, noise, n_steps, lengths, prompt_lengths)
    for i, (length, prompt_length) in enumerate(zip(lengths, prompt_lengths, strict=True)):
        alone = model.sample(
            features[i : i + 1, :, :length], prompt[i : i + 1, :, :prompt_length], noise[i : i + 1, :, :length], n_steps
        )
        torch.testing.assert_close(batch[i : i + 1, :, :length], alone, atol=1e-5, rtol=1e-5)
        assert not alone[..., :prompt_length].any()
        assert alone[..., prompt_length:].abs().min() > 0


def test_steps_prompt_and_noise_all_count() -> None:
    model = tiny.cfm_synthesizer()
    features, prompt, noise = _windows([30], [8])
    base = model.sample(features, prompt, noise, 4)
    assert torch.equal(base, model.sample(features, prompt, noise, 4))
    for other in (
        model.sample(features, prompt, noise, 8),
        model.sample(features, prompt + 1.0, noise, 4),
        model.sample(features, prompt, noise + 0.1, 4),
        model.sample(features + 0.1, prompt, noise, 4),
    ):
        assert not torch.allclose(base, other, atol=1e-3)


def test_a_window_beyond_the_table_of_positions_is_drawn() -> None:
    model = tiny.cfm_synthesizer()
    features, prompt, noise = _windows([4200], [8])
    assert model.sample(features, prompt, noise, 1).isfinite().all()


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize("speed", [1.0, 1.25, 0.8])
def test_features_of_a_padded_batch_equal_those_alone(version: ModelVersion, speed: float) -> None:
    model = tiny.cfm_synthesizer(version)
    generator = torch.Generator().manual_seed(0)
    lengths, phoneme_lengths = [12, 5], [4, 9]
    tokens = torch.randint(0, 64, (2, 12), generator=generator)
    phonemes = torch.randint(0, 700, (2, 9), generator=generator)
    styles = torch.randn(2, 24, 1, generator=generator)
    batch, n_frames = model.encode(
        tokens, phonemes, styles, lengths=lengths, phoneme_lengths=phoneme_lengths, speed=speed
    )
    ratio = {"v3": 1.875, "v4": 2.0}[version]
    for i in range(2):
        alone, own = model.encode(
            tokens[i : i + 1, : lengths[i]], phonemes[i : i + 1, : phoneme_lengths[i]], styles[i : i + 1], speed=speed
        )
        latent_frames = 2 * lengths[i] if speed == 1.0 else int(2 * lengths[i] / speed) + 1
        assert own[0] == n_frames[i] == alone.shape[-1] == int(latent_frames * ratio)
        torch.testing.assert_close(batch[i : i + 1, :, : own[0]], alone, atol=1e-5, rtol=1e-5)


def test_frames_beyond_the_originals_count_are_silent() -> None:
    # parity: at speed 1.25 the v4 encoder makes 66 frames of 20 tokens, and the original counts 65.
    model = tiny.cfm_synthesizer("v4")
    features, _ = model.encode(torch.zeros(1, 20, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64),
                               torch.randn(1, 24, 1), speed=1.25)  # fmt: skip
    assert features.shape[-1] == 66
    assert not features[..., 65].any()
    assert features[..., 64].any()


def test_further_references_do_not_reach_the_style() -> None:
    # parity: only the first reference does.
    model = tiny.cfm_synthesizer()
    specs = [torch.rand(1, 1025, 20), torch.rand(1, 1025, 20)]
    assert torch.equal(model.style_embedding(specs), model.style_embedding(specs[:1]))


# ---- vocoders ----

_TINY_BIGVGAN = BigVganConfig(
    num_mels=8, upsample_rates=(4, 2), upsample_kernel_sizes=(8, 4), upsample_initial_channel=16,
    resblock_kernel_sizes=(3, 5), resblock_dilation_sizes=((1, 2), (1, 3)), use_tanh_at_final=False,
    use_bias_at_final=False,
)  # fmt: skip


def _bigvgan(config: BigVganConfig = _TINY_BIGVGAN) -> BigVgan:
    model = BigVgan(config)
    tiny.seed(model)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("activation", ["snake", "snakebeta"])
def test_bigvgan_decodes_windows_as_the_whole(resblock: Any, activation: Any) -> None:
    from dataclasses import replace

    model = _bigvgan(replace(_TINY_BIGVGAN, resblock=resblock, activation=activation))
    n_frames, context, hop = 2 * model.context_frames + 40, model.context_frames, model.hop_samples
    mel = torch.randn(1, 8, n_frames, generator=torch.Generator().manual_seed(0))
    whole = model(mel)
    assert whole.shape == (1, 1, n_frames * hop)
    assert whole.abs().max() <= 1.0
    start, end = context + 5, context + 25
    window = model(mel[..., start - context : end + context])
    torch.testing.assert_close(
        window[..., context * hop : (context + 20) * hop], whole[..., start * hop : end * hop], atol=1e-5, rtol=0
    )


def test_bigvgan_loads_the_published_folder(tmp_path: Path) -> None:
    model = _bigvgan()
    state = {f"{key}": value for key, value in model.state_dict().items()}
    # As published: computed filters in the file, everything under "generator", fields that training needs.
    state["activation_post.upsample.filter"] = torch.zeros(1, 1, 12)
    torch.save({"generator": state}, tmp_path / "bigvgan_generator.pt")
    import json
    from dataclasses import asdict

    config = {**asdict(_TINY_BIGVGAN), "discriminator_channel_mult": 1, "segment_size": 65536}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mel = torch.randn(1, 8, 30)
    torch.testing.assert_close(load_bigvgan(tmp_path)(mel), model(mel))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_bigvgan(tmp_path)
    (tmp_path / "bigvgan_generator.pt").unlink()
    with pytest.raises(CheckpointError, match="none of"):
        load_bigvgan(tmp_path)


def test_the_v4_vocoder_takes_its_width_from_the_file() -> None:
    from dataclasses import replace

    model = Hifigan(replace(V4_VOCODER, upsample_initial_channel=32))
    state = tiny.seed(model)
    mel = torch.randn(1, 100, 12)
    loaded = build_v4_vocoder(state)
    torch.testing.assert_close(loaded(mel), model(mel))
    assert loaded(mel).shape[-1] == 12 * 480
    with pytest.raises(CheckpointError, match="conv_pre"):
        build_v4_vocoder({})
    with pytest.raises(CheckpointError, match="lacks"):
        build_bigvgan(_TINY_BIGVGAN, {"conv_pre.bias": torch.zeros(16)})


# ---- LoRA ----


def _lora(version: ModelVersion, rank: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A LoRA file's content as peft names its keys, and the factors' products by the names of their weights."""
    generator = torch.Generator().manual_seed(rank)
    weight, products = {}, {}
    for block in range(2):
        for target in ("to_q", "to_k", "to_v", "to_out.0"):
            name = f"estimator.transformer_blocks.{block}.attn.{target}"
            down, up = (torch.randn(size, generator=generator) * 0.1 for size in ((rank, 32), (32, rank)))
            weight[f"cfm.base_model.model.{name}.lora_A.default.weight"] = down
            weight[f"cfm.base_model.model.{name}.lora_B.default.weight"] = up
            products[f"cfm.{name}.weight"] = up @ down
    weight["cfm.base_model.model.estimator.rotary_embed.inv_freq"] = torch.full((8,), 0.25)
    weight["bridge.0.bias"] = torch.full((24,), 0.5)
    content = {"weight": weight, "config": tiny.checkpoint_config(tiny.sovits_config(version)), "lora_rank": rank}
    return content, products


@pytest.mark.parametrize("rank", [16, 32, 64, 128])
@pytest.mark.parametrize(("version", "header"), [("v3", b"03"), ("v4", b"04")])
def test_a_lora_file_becomes_base_plus_product(tmp_path: Path, rank: int, version: ModelVersion, header: bytes) -> None:
    base_content = tiny.sovits_content(version, torch.float32)
    base_content["config"]["model"]["version"] = version
    base_state = dict(base_content["weight"])
    base_path = tiny.save(base_content, tmp_path / "base.pth")
    content, products = _lora(version, rank)
    lora_path = tiny.save(content, tmp_path / "a_e2_s20_l16.pth", header)
    lora = read_sovits(lora_path)
    assert (lora.version, lora.lora_rank) == (version, rank)
    model = load_sovits(lora_path, base=read_sovits(base_path))
    assert isinstance(model, CfmSynthesizer)
    state = model.state_dict()
    for key, product in products.items():
        torch.testing.assert_close(state[key], base_state[key] + product, atol=1e-5, rtol=0)
    # What the file holds whole replaces the base's; the rest is the base's.
    assert torch.equal(state["bridge.0.bias"], torch.full((24,), 0.5))
    assert torch.equal(state["cfm.estimator.rotary_embed.inv_freq"], torch.full((8,), 0.25))
    assert torch.equal(state["cfm.estimator.proj_out.weight"], base_state["cfm.estimator.proj_out.weight"])


def test_the_rank_of_a_lora_file_without_one_is_read_from_its_factors(tmp_path: Path) -> None:
    content, _ = _lora("v4", 16)
    del content["lora_rank"]
    assert read_sovits(tiny.save(content, tmp_path / "a.pth", b"04")).lora_rank == 16


def test_a_lora_file_without_its_base_names_the_file(tmp_path: Path) -> None:
    content, _ = _lora("v4", 16)
    path = tiny.save(content, tmp_path / "a.pth", b"04")
    with pytest.raises(CheckpointError, match=r"gsv-v4-pretrained/s2Gv4\.pth"):
        load_sovits(path)
    with pytest.raises(CheckpointError, match="full v4 weights"):
        load_sovits(path, base=read_sovits(path))
    base = tiny.sovits_content("v3")
    with pytest.raises(CheckpointError, match="full v4 weights"):
        load_sovits(path, base=read_sovits(tiny.save(base, tmp_path / "b.pth", b"02")))


def test_factors_that_do_not_fit_are_refused() -> None:
    def merge(change: Any) -> None:
        content, _ = _lora("v4", 16)
        change(content["weight"])
        base = Checkpoint(tiny.sovits_content("v4")["weight"], {}, "v4")
        merge_lora(base, Checkpoint(content["weight"], {}, "v4", 16))

    first = "cfm.base_model.model.estimator.transformer_blocks.0.attn.to_q.lora_"
    with pytest.raises(CheckpointError, match="no counterpart"):
        merge(lambda weight: weight.pop(f"{first}B.default.weight"))
    with pytest.raises(CheckpointError, match="no counterpart"):
        merge(lambda weight: weight.pop(f"{first}A.default.weight"))
    with pytest.raises(CheckpointError, match="another shape"):
        merge(lambda weight: weight.update({f"{first}B.default.weight": torch.zeros(40, 16)}))


# ---- super-sampling ----


def test_super_sampling_keeps_the_length_and_windows_agree(tmp_path: Path) -> None:
    config = SuperSamplerConfig(fft_samples=128, hop_samples=20, window_samples=80, channels=16, n_layers=2)
    model = SuperSampler(config)
    tiny.seed(model)
    torch.save({"generator": model.state_dict()}, tmp_path / "g_24kto48k.zip")
    (tmp_path / "config.json").write_text(
        '{"n_fft": 128, "hop_size": 20, "win_size": 80, "hr_sampling_rate": 48000, "ConvNeXt_channels": 16}'
    )
    loaded = load_super_sampler(tmp_path / "g_24kto48k.zip")
    samples = torch.randn(1, 3001, generator=torch.Generator().manual_seed(0)) * 0.1
    whole = loaded(samples)
    assert whole.shape == samples.shape
    assert whole.isfinite().all()
    context = -(-loaded.context_samples // 20) * 20
    window = loaded(samples[:, 1000 - context : 1200 + context])
    torch.testing.assert_close(window[:, context : context + 200], whole[:, 1000:1200], atol=1e-5, rtol=1e-4)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="sizes"):
        load_super_sampler(tmp_path / "g_24kto48k.zip")
