"""BigVGAN (Lee et al. 2023), the vocoder of v3: a mel spectrogram in, a waveform of 24 kHz out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FILTER_TAPS = 12
_ACTIVATION_CONTEXT = 6  # samples to each side: 3 of the upsampling filter and 3 of the downsampling one, rounded up


@dataclass(frozen=True, slots=True)
class BigVganConfig:
    """Sizes, under the names of the published `config.json`. The defaults are those of v2 24 kHz 100 band 256x."""

    num_mels: int = 100
    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    upsample_initial_channel: int = 1536
    resblock: Literal["1", "2"] = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    snake_logscale: bool = True
    use_bias_at_final: bool = True
    use_tanh_at_final: bool = True

    @staticmethod
    def from_json(config: Mapping[str, Any]) -> BigVganConfig:
        """Read the published config; fields that only training needs are left out."""
        known: dict[str, Any] = {name: config[name] for name in BigVganConfig.__dataclass_fields__ if name in config}
        for name in ("upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes"):
            if name in known:
                known[name] = tuple(known[name])
        if "resblock_dilation_sizes" in known:
            known["resblock_dilation_sizes"] = tuple(tuple(sizes) for sizes in known["resblock_dilation_sizes"])
        return BigVganConfig(**known)


class Snake(nn.Module):
    """x + sin^2(a x) / b (Ziyin et al. 2020), b = a without a `beta` of its own."""

    def __init__(self, channels: int, *, has_beta: bool, log_scale: bool) -> None:
        super().__init__()
        self.log_scale = log_scale
        start = torch.zeros(channels) if log_scale else torch.ones(channels)
        self.alpha = nn.Parameter(start)
        if has_beta:
            self.beta = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        beta = self.beta[:, None] if hasattr(self, "beta") else alpha
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        # parity: times the inverse, not divided by; the network enlarges the last bit of a number to 1e-4 of the wave.
        return x + (1.0 / (beta + 1e-9)) * torch.sin(x * alpha).square()


class AntiAliased(nn.Module):
    """An activation at twice the rate, so that what it adds above half of it is filtered out (Karras et al. 2021)."""

    low_pass: Tensor

    def __init__(self, activation: Snake) -> None:
        super().__init__()
        self.act = activation
        self.register_buffer("low_pass", kaiser_low_pass(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        channels, taps = x.shape[1], self.low_pass.to(x.dtype).expand(x.shape[1], 1, _FILTER_TAPS)
        edge = _FILTER_TAPS // 2 - 1
        doubled = F.conv_transpose1d(F.pad(x, (edge, edge), mode="replicate"), 2.0 * taps, stride=2, groups=channels)
        cut = 2 * edge + _FILTER_TAPS // 2 - 1
        active = F.pad(self.act(doubled[..., cut:-cut]), (edge, edge + 1), mode="replicate")
        return F.conv1d(active, taps, stride=2, groups=channels)


def kaiser_low_pass() -> Tensor:
    """(1, 1, 12) taps that pass a quarter of the rate, a sinc under a Kaiser window, of sum 1.

    On the CPU whatever the default device: a model built on "meta" is assigned its parameters, but not this.
    """
    cutoff, half_width = 0.25, 0.3
    attenuation = 2.285 * (_FILTER_TAPS // 2 - 1) * math.pi * 4 * half_width + 7.95
    beta = 0.1102 * (attenuation - 8.7)  # Kaiser's rule for the window's shape, for 50 dB and more
    window = torch.kaiser_window(_FILTER_TAPS, periodic=False, beta=beta, device="cpu")
    time = torch.arange(_FILTER_TAPS, device="cpu") - (_FILTER_TAPS - 1) / 2
    taps = window * torch.sinc(2 * cutoff * time)
    return (taps / taps.sum()).view(1, 1, _FILTER_TAPS)


def _dilated(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=(kernel_size - 1) * dilation // 2)


class AmpBlock(nn.Module):
    """Residual convolutions with anti-aliased activations: pairs in kind 1, single ones in kind 2."""

    def __init__(self, config: BigVganConfig, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.is_paired = config.resblock == "1"
        convs = nn.ModuleList(_dilated(channels, kernel_size, dilation) for dilation in dilations)
        if self.is_paired:
            self.convs1 = convs
            self.convs2 = nn.ModuleList(_dilated(channels, kernel_size, 1) for _ in dilations)
        else:
            self.convs = convs
        n_activations = len(dilations) * (2 if self.is_paired else 1)
        self.activations = nn.ModuleList(_activation(config, channels) for _ in range(n_activations))
        spans = [dilation + 1 if self.is_paired else dilation for dilation in dilations]
        self.context = (kernel_size - 1) // 2 * sum(spans) + n_activations * _ACTIVATION_CONTEXT

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_paired:
            for conv, activation in zip(self.convs, self.activations, strict=True):
                x = x + conv(activation(x))
            return x
        for index, (conv1, conv2) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            hidden = conv1(self.activations[2 * index](x))
            x = x + conv2(self.activations[2 * index + 1](hidden))
        return x


def _activation(config: BigVganConfig, channels: int) -> AntiAliased:
    return AntiAliased(Snake(channels, has_beta=config.activation == "snakebeta", log_scale=config.snake_logscale))


class BigVgan(nn.Module):
    """The generator. For inference: weight norm is folded before weights are loaded.

    Attributes:
        hop_samples: samples per mel frame.
        context_frames: mel frames to each side on which a frame's samples depend.
    """

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        self.use_tanh = config.use_tanh_at_final
        self.n_kernels = len(config.resblock_kernel_sizes)
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.num_mels, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        contexts = []
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.ModuleList([up]))
            channels //= 2
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                block = AmpBlock(config, channels, size, dilations)
                self.resblocks.append(block)
                contexts.append(block.context)
        self.activation_post = _activation(config, channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=config.use_bias_at_final)
        self.hop_samples = math.prod(config.upsample_rates)
        self.context_frames = _context_frames(config, max(contexts))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, num_mels, T) log mel -> (B, 1, T * hop_samples) in [-1, 1]."""
        x = self.conv_pre(mel)
        for stage, up in enumerate(self.ups):
            assert isinstance(up, nn.ModuleList)
            x = up[0](x)
            blocks = self.resblocks[stage * self.n_kernels : (stage + 1) * self.n_kernels]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / self.n_kernels
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.use_tanh else x.clamp(-1.0, 1.0)


def _context_frames(config: BigVganConfig, block_context: int) -> int:
    """As in HiFi-GAN, counted back from the last layer to the first."""
    samples = 3 + _ACTIVATION_CONTEXT
    for rate, kernel in zip(reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True):
        samples += block_context
        padding = (kernel - rate) // 2
        samples = max((samples + kernel - 1 - padding) // rate, (samples + padding + rate - 1) // rate)
    return samples + 3
