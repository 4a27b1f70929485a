"""`Vits` in stages: batches, windows, speeds, versions; what the engine relies on beyond parity."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from sovits_service.models.sovits.attention import MultiHeadAttention, _band_to_square, _square_to_band
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.hifigan import V4_VOCODER, Hifigan, HifiganConfig
from sovits_service.models.sovits.quantizer import Quantizer
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.style import StyleEncoder
from sovits_service.models.sovits.vits import WINDOW_FRAMES, Vits
from tests.unit.models import tiny


def _inputs(lengths: list[int], phoneme_lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 64, (len(lengths), max(lengths)), generator=generator)
    phonemes = torch.randint(0, 300, (len(lengths), max(phoneme_lengths)), generator=generator)
    return tokens, phonemes


def _styles(n: int) -> torch.Tensor:
    return torch.randn(n, 24, 1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("speed", [1.0, 1.25, [0.8, 1.0, 2.0]])
def test_an_utterance_comes_out_of_a_padded_batch_as_it_does_alone(speed: float | list[float]) -> None:
    model = tiny.vits()
    lengths, phoneme_lengths = [11, 4, 7], [5, 9, 2]
    tokens, phonemes = _inputs(lengths, phoneme_lengths)
    styles = _styles(3)
    batch = model.encode(tokens, phonemes, styles, lengths=lengths, phoneme_lengths=phoneme_lengths, speed=speed)
    noise = torch.randn(batch.mean.shape, generator=torch.Generator().manual_seed(2))
    waves = model.vocode(model.latents(batch, styles, noise, 0.5), styles)
    for i, (length, phoneme_length) in enumerate(zip(lengths, phoneme_lengths, strict=True)):
        own = speed[i] if isinstance(speed, list) else speed
        style = styles[i : i + 1]
        alone = model.encode(tokens[i : i + 1, :length], phonemes[i : i + 1, :phoneme_length], style, speed=own)
        n_frames = alone.lengths[0]
        assert batch.lengths[i] == n_frames == (2 * length if own == 1.0 else int(2 * length / own) + 1)
        latents = model.latents(alone, style, noise[i : i + 1, :, :n_frames], 0.5)
        wave = model.vocode(latents, style)
        inside = (n_frames - model.vocode_context_frames) * model.hop_samples
        torch.testing.assert_close(batch.mean[i : i + 1, :, :n_frames], alone.mean, atol=1e-5, rtol=1e-5)
        if inside > 0:
            torch.testing.assert_close(waves[i : i + 1, :, :inside], wave[..., :inside], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("window_frames", [1, 3, 20])
def test_windows_of_the_latents_decode_as_the_whole_does(resblock: str, window_frames: int) -> None:
    model = tiny.vits(resblock=resblock)
    latents = torch.randn(1, 16, 50, generator=torch.Generator().manual_seed(3))
    style = _styles(1)
    whole = model.vocode(latents, style)
    starts = range(0, 50, window_frames)
    windows = [model.vocode_window(latents, style, start, min(start + window_frames, 50)) for start in starts]
    torch.testing.assert_close(torch.cat(windows, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize(
    "frames", [1, WINDOW_FRAMES[0] - 1, WINDOW_FRAMES[0], WINDOW_FRAMES[0] + 1, WINDOW_FRAMES[-1] + 1]
)
def test_a_window_that_is_padded_keeps_its_samples(resblock: str, frames: int) -> None:
    model = tiny.vits(resblock=resblock)
    latents = torch.randn(1, 16, frames, generator=torch.Generator().manual_seed(3))
    window = model.vocode_window(latents, _styles(1), 0, frames)
    torch.testing.assert_close(window, model.vocode(latents, _styles(1)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("resblock", ["1", "2"])
def test_windows_of_several_lengths_keep_their_samples_in_one_padded_batch(resblock: str) -> None:
    model, lengths = tiny.vits(resblock=resblock), (40, 7, 25)
    latents = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(3))
    frames = latents * (torch.arange(40) < torch.tensor(lengths)[:, None, None])
    together = model.dec(frames, _styles(3), torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = model.dec(latents[row : row + 1, :, :length], _styles(3)[row : row + 1])
        made = together[row : row + 1, :, : length * model.hop_samples]
        torch.testing.assert_close(made, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("resblock", ["1", "2"])
def test_a_generator_in_bfloat16_is_close_whole_and_in_windows(resblock: str) -> None:
    model = tiny.vits(resblock=resblock)
    latents = torch.randn(1, 16, 50, generator=torch.Generator().manual_seed(3))
    exact = model.vocode(latents, _styles(1))
    model.dec.use_bfloat16()
    windows = [model.vocode_window(latents, _styles(1), start, start + 25) for start in (0, 25)]
    for rounded in (model.vocode(latents, _styles(1)), torch.cat(windows, dim=-1)):
        assert rounded.dtype == torch.float32
        noise = (rounded - exact).square().mean() / exact.square().mean()
        assert 0 < noise < 1e-4  # 40 dB below the signal


@pytest.mark.parametrize("speed", [1.0, 1.3])
@pytest.mark.parametrize(("n_tokens", "n_phonemes"), [(1, 1), (31, 33), (32, 32), (70, 3)])
def test_latents_are_those_of_the_lengths_as_they_are(n_tokens: int, n_phonemes: int, speed: float) -> None:
    model = tiny.vits()
    tokens, phonemes = _inputs([n_tokens], [n_phonemes])
    padded = model.encode(tokens, phonemes, _styles(1), speed=speed)
    exact = model.encode(tokens, phonemes, _styles(1), lengths=[n_tokens], phoneme_lengths=[n_phonemes], speed=speed)
    assert padded.lengths == exact.lengths
    torch.testing.assert_close(padded.mean, exact.mean, atol=1e-5, rtol=0)
    noise = torch.randn(exact.mean.shape, generator=torch.Generator().manual_seed(2))
    drawn = exact.mean + noise * exact.log_std.exp() * 0.5
    latents = model.flow(drawn, exact.mask, _styles(1), reverse=True)
    torch.testing.assert_close(model.latents(padded, _styles(1), noise, 0.5), latents, atol=1e-5, rtol=0)


def test_all_lengths_of_speech_make_few_lengths_of_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN keeps megabytes for each length that a convolution had, so memory would grow with every new sentence."""
    model, lengths = tiny.vits(), set()
    for convolution in ("conv1d", "conv2d", "conv_transpose2d"):
        original = getattr(torch.nn.functional, convolution)

        def counted(x: torch.Tensor, *args: object, original: Callable[..., torch.Tensor] = original) -> torch.Tensor:
            lengths.add(x.shape[-1])
            return original(x, *args)

        monkeypatch.setattr(torch.nn.functional, convolution, counted)
    for n_tokens in range(1, 33):
        tokens, phonemes = _inputs([n_tokens], [2 * n_tokens])
        prior = model.encode(tokens, phonemes, _styles(1))
        latents = model.latents(prior, _styles(1), torch.zeros_like(prior.mean))
        model.vocode_window(latents, _styles(1), 0, 2 * n_tokens)
    assert len(lengths) < 20


def test_the_context_is_no_larger_than_it_must_be() -> None:
    # A change at the edge of the context is heard: with one frame less the window would differ.
    model = tiny.vits()
    latents = torch.randn(1, 16, 60, generator=torch.Generator().manual_seed(3)).double()
    style = _styles(1).double()
    model = model.double()
    context = model.vocode_context_frames
    moved = latents.clone()
    moved[..., 30 - context] += 10.0
    moved[..., 30 + context] += 10.0
    frame = slice(30 * model.hop_samples, 31 * model.hop_samples)
    assert not torch.equal(model.vocode(latents, style)[..., frame], model.vocode(moved, style)[..., frame])
    moved = latents.clone()
    moved[..., 30 - context - 1] += 10.0
    moved[..., 30 + context + 1] += 10.0
    assert torch.equal(model.vocode(latents, style)[..., frame], model.vocode(moved, style)[..., frame])


@pytest.mark.parametrize(("config", "frames"), [(SovitsConfig(), 11), (None, None)])
def test_full_size_vocoders_know_their_context(config: SovitsConfig | None, frames: int | None) -> None:
    with torch.device("meta"):
        if config is None:
            assert Hifigan(V4_VOCODER).hop_samples == 480
        else:
            model = Vits(config)
            assert (model.vocode_context_frames, model.hop_samples) == (frames, 640)


def test_upsampling_kernels_that_would_shift_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Hifigan(HifiganConfig(8, (4,), (7,), 8, "1", (3,), ((1, 3, 5),)))


def test_the_second_kind_of_resblock_has_two_convolutions() -> None:
    # parity: the published configs list three dilations.
    keys = tiny.vits(resblock="2").state_dict()
    assert "dec.resblocks.0.convs.1.weight" in keys
    assert "dec.resblocks.0.convs.2.weight" not in keys


def test_relative_positions_equal_their_definition() -> None:
    n_frames, window = 7, 4
    band = torch.randn(2, 3, n_frames, 2 * window + 1)
    square = _band_to_square(band)
    for i in range(n_frames):
        for j in range(n_frames):
            expected = band[..., i, j - i + window] if abs(j - i) <= window else torch.zeros(2, 3)
            assert torch.equal(square[..., i, j], expected)
    back = _square_to_band(square, 2 * window + 1)
    assert torch.equal(_band_to_square(back), square)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 30])
def test_attention_over_any_number_of_frames_is_finite(n_frames: int) -> None:
    attention = MultiHeadAttention(16, 2, window=4)
    x = torch.randn(1, 16, n_frames)
    assert attention(x, x, torch.ones(1, 1, n_frames)).isfinite().all()


def test_the_style_is_the_mean_over_the_references() -> None:
    model = tiny.vits()
    specs = [torch.rand(1, 1025, n) for n in (20, 33)]
    both = model.style_embedding(specs)
    torch.testing.assert_close(both, (model.style_embedding(specs[:1]) + model.style_embedding(specs[1:])) / 2)
    assert both.shape == (1, 24, 1)


def test_v1_hears_all_bins_and_later_versions_the_lower_ones() -> None:
    spec = torch.rand(1, 1025, 20)
    changed = spec.clone()
    changed[:, 704:] += 1.0
    v1, v2 = tiny.vits("v1"), tiny.vits("v2")
    assert not torch.equal(v1.style_embedding([spec]), v1.style_embedding([changed]))
    assert torch.equal(v2.style_embedding([spec]), v2.style_embedding([changed]))


def test_pro_versions_ask_for_a_speaker_embedding_of_each_reference() -> None:
    model = tiny.vits("v2Pro")
    spec, speaker = torch.rand(1, 1025, 20), torch.randn(1, 40)
    a = model.style_embedding([spec], [speaker])
    assert not torch.allclose(a, model.style_embedding([spec], [-speaker]))
    for speakers in (None, [], [speaker, speaker]):
        with pytest.raises(ValueError, match="one speaker embedding per reference"):
            model.style_embedding([spec], speakers)


def test_a_padded_reference_has_the_style_of_its_own_frames() -> None:
    encoder = StyleEncoder(32, 16, 24, kernel_size=5).eval()
    spec = torch.rand(1, 32, 20)
    # The convolutions reach over the edge, so the tail of the valid part may differ a little; the mean must not move.
    padded = F.pad(spec, (0, 300))
    mask = torch.zeros(1, 1, 320)
    mask[..., :20] = 1
    assert (encoder(padded, mask) - encoder(spec)).abs().max() < 0.3 * encoder(spec).abs().max()
    torch.testing.assert_close(encoder(spec, torch.ones(1, 1, 20)), encoder(spec))


def test_codes_are_the_nearest_vectors_in_any_precision() -> None:
    quantizer = Quantizer(64, 32)
    quantizer.codebook.embed.copy_(torch.randn(64, 32))
    tokens = torch.randint(0, 64, (2, 9))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        half = Quantizer(64, 32).to(dtype)
        half.load_state_dict(quantizer.state_dict())
        assert torch.equal(half.encode(half.decode(tokens)), tokens)


def test_two_features_of_hubert_make_one_token() -> None:
    model = tiny.vits()
    assert model.extract_codes(torch.randn(1, 32, 45)).shape == (1, 22)
    assert model.frames_per_token == 2


def test_noise_is_the_callers_and_scales() -> None:
    model = tiny.vits()
    tokens, phonemes = _inputs([6], [4])
    style = _styles(1)
    prior = model.encode(tokens, phonemes, style)
    noise = torch.randn_like(prior.mean)
    a, b = (model.latents(prior, style, noise, scale) for scale in (0.5, 0.5))
    assert torch.equal(a, b)
    still = model.latents(prior, style, noise, 0.0)
    assert torch.equal(still, model.latents(prior, style, torch.zeros_like(noise), 0.5))


def test_training_reaches_every_weight_that_inference_uses() -> None:
    model = Vits(tiny.sovits_config()).train()
    tokens, phonemes = _inputs([6, 4], [4, 5])
    style = model.style_embedding([torch.rand(1, 1025, 30)])
    prior = model.encode(tokens, phonemes, style, lengths=[6, 4])
    latents = model.latents(prior, style, torch.randn_like(prior.mean))
    model.vocode(latents, style).square().mean().backward()  # type: ignore[no-untyped-call]
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"ssl_proj.weight", "ssl_proj.bias"}
    assert {key for key in model.state_dict() if key.endswith(("weight_g", "weight_v"))}
    back = model.flow(model.flow(latents, prior.mask, style), prior.mask, style, reverse=True)
    torch.testing.assert_close(back, latents, atol=1e-5, rtol=1e-4)


def test_the_table_has_a_row_for_every_version() -> None:
    assert list(VERSIONS) == ["v1", "v2", "v2Pro", "v2ProPlus", "v3", "v4"]
    for version, spec in VERSIONS.items():
        assert spec.version == version
        if spec.flow_matching is not None:
            mel, frames_a_second = spec.flow_matching.mel, 50 * spec.flow_matching.frames_per_latent
            assert mel.sample_rate_hz / mel.hop_samples == frames_a_second
            assert spec.output_rate_hz == frames_a_second * spec.flow_matching.vocoder_hop_samples
            assert spec.flow_matching.prompt_frames < spec.flow_matching.window_frames
    assert math.prod(V4_VOCODER.upsample_rates) == 480
