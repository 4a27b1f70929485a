"""HiFi-GAN (Kong et al. 2020): latents or a mel spectrogram in, a waveform out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.models.sovits.conv import convolve, from_planes, mute_tail, to_planes

_SLOPE = 0.1


@dataclass(frozen=True, slots=True)
class HifiganConfig:
    """Sizes of the network.

    Attributes:
        in_channels: of the latents or the mel.
        gin_channels: of the style; 0 for none.
        post_bias: whether the last convolution has a bias.
    """

    in_channels: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    upsample_initial_channel: int
    resblock: Literal["1", "2"]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    gin_channels: int = 0
    post_bias: bool = False


# The vocoder of v4: mel frames of 10 ms to 48 kHz.
V4_VOCODER = HifiganConfig(
    in_channels=100,
    upsample_rates=(10, 6, 2, 2, 2),
    upsample_kernel_sizes=(20, 12, 4, 4, 4),
    upsample_initial_channel=512,
    resblock="1",
    resblock_kernel_sizes=(3, 7, 11),
    resblock_dilation_sizes=((1, 3, 5), (1, 3, 5), (1, 3, 5)),
    post_bias=True,
)


def _dilated(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    padding = (kernel_size - 1) * dilation // 2
    return nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding)


def _add(branch: Tensor, x: Tensor) -> Tensor:
    """The sum, in the wider dtype of the two; the branch may be overwritten."""
    return branch.add_(x) if branch.dtype == x.dtype else branch + x


def _activate(x: Tensor, tail: int | Tensor | None) -> Tensor:
    return mute_tail(F.leaky_relu(x, _SLOPE), tail)


class ResBlock1(nn.Module):
    """Pairs of a dilated and a plain convolution, over (B, C, 1, T)."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_dilated(channels, kernel_size, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_dilated(channels, kernel_size, 1) for _ in dilations)
        self.context = (kernel_size - 1) // 2 * sum(dilation + 1 for dilation in dilations)

    def normed_layers(self) -> Iterator[nn.Module]:
        return chain(self.convs1, self.convs2)

    def forward(self, x: Tensor, tail: int | Tensor | None = None) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            hidden = convolve(conv1, _activate(x, tail))
            x = _add(convolve(conv2, _activate(hidden, tail)), x)
        return x


class ResBlock2(nn.Module):
    """Single dilated convolutions over (B, C, 1, T), of which there are two."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        # parity: configs list three dilations for this kind too; the checkpoints hold the first two.
        self.convs = nn.ModuleList(_dilated(channels, kernel_size, dilation) for dilation in dilations[:2])
        self.context = (kernel_size - 1) // 2 * sum(dilations[:2])

    def normed_layers(self) -> Iterator[nn.Module]:
        return iter(self.convs)

    def forward(self, x: Tensor, tail: int | Tensor | None = None) -> Tensor:
        for conv in self.convs:
            x = _add(convolve(conv, _activate(x, tail)), x)
        return x


class Hifigan(nn.Module):
    """The generator `dec`.

    Attributes:
        hop_samples: samples per input frame.
        context_frames: input frames to each side on which a frame's samples depend.
    """

    def __init__(self, config: HifiganConfig) -> None:
        super().__init__()
        self.config = config
        rates, kernels = config.upsample_rates, config.upsample_kernel_sizes
        if any((kernel - rate) % 2 or kernel < rate for rate, kernel in zip(rates, kernels, strict=True)):
            raise ValueError("each upsampling kernel must exceed its rate by an even number")
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.in_channels, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        self.n_kernels = len(config.resblock_kernel_sizes)
        block = ResBlock1 if config.resblock == "1" else ResBlock2
        for rate, kernel in zip(rates, kernels, strict=True):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2))
            channels //= 2
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(block(channels, size, dilations))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=config.post_bias)
        if config.gin_channels:
            self.cond = nn.Conv1d(config.gin_channels, config.upsample_initial_channel, 1)
        for layer in self.normed_layers():
            assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
            nn.init.normal_(layer.weight, 0.0, 0.01)
        self.rates = rates
        self.hop_samples = math.prod(rates)
        self.context_frames = _context_frames(config, max(_context(b) for b in self.resblocks[-self.n_kernels :]))

    def normed_layers(self) -> Iterator[nn.Module]:
        """The layers that carry weight norm in a checkpoint."""
        for block in self.resblocks:
            assert isinstance(block, ResBlock1 | ResBlock2)
            yield from block.normed_layers()
        yield from self.ups

    def use_bfloat16(self) -> None:
        """Round the weights and inputs of nearly all convolutions to bfloat16; sums stay in float32.

        For inference alone, on processors with instructions for it. First and last layer, which cost next to nothing,
        stay as they are: the last would round the samples.
        """
        self.ups.to(torch.bfloat16)
        self.resblocks.to(torch.bfloat16)

    def forward(self, x: Tensor, style: Tensor | None = None, length: int | Tensor | None = None) -> Tensor:
        """Turn frames into samples.

        Args:
            x: (B, in_channels, T).
            style: (B or 1, gin_channels, 1), where the network takes one.
            length: frames that count, for inference alone: those after them are zero and change nothing before. One
                number, (B,) int64, or None for all.

        Returns:
            (B, 1, T * hop_samples) in [-1, 1].
        """
        x = self.conv_pre(x)
        if style is not None:
            x += self.cond(style)
        x = to_planes(x)
        tail = _tail(length, 1, x)
        factor = 1
        for stage, up in enumerate(self.ups):
            x = convolve(up, _activate(x, tail)).to(x.dtype)
            factor *= self.rates[stage]
            tail = _tail(length, factor, x)
            blocks = self.resblocks[stage * self.n_kernels : (stage + 1) * self.n_kernels]
            total = blocks[0](x, tail)
            for block in blocks[1:]:
                total += block(x, tail)
            x = total.div_(self.n_kernels)
        # parity: the last activation has PyTorch's default slope of 0.01, not 0.1.
        return torch.tanh(self.conv_post(from_planes(mute_tail(F.leaky_relu(x), tail))))


def _tail(length: int | Tensor | None, factor: int, x: Tensor) -> int | Tensor | None:
    """What of (B, C, 1, T) lies beyond so many frames of `factor` samples."""
    if isinstance(length, Tensor):
        return torch.arange(x.shape[-1], device=x.device) >= (factor * length).view(-1, 1, 1, 1)
    return None if length is None else factor * length


def _context(block: nn.Module) -> int:
    assert isinstance(block, ResBlock1 | ResBlock2)
    return block.context


def _context_frames(config: HifiganConfig, block_context: int) -> int:
    """Frames to each side that a frame's samples depend on, counted back from the last layer to the first."""
    samples = 3  # conv_post
    for rate, kernel in zip(reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True):
        samples += block_context
        padding = (kernel - rate) // 2
        # Output sample o hears the inputs from (o + padding - kernel + 1) / rate to (o + padding) / rate.
        samples = max((samples + kernel - 1 - padding) // rate, (samples + padding + rate - 1) // rate)
    return samples + 3  # conv_pre
