"""The diffusion transformer of v3 and v4 (F5-TTS, Chen et al. 2024): a noisy mel and conditions in, its velocity out.

What does not change over the steps of a sampling is computed once: `condition` for the utterance, `modulations` for all
steps together. Padding in a batch is kept from the frames beside it, so a window's result does not depend on the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.models.linear import Linear, linear

_TIME_CHANNELS = 256
_TIME_SCALE = 1000.0
_MAX_PERIOD = 10_000.0
_MAX_TEXT_POSITIONS = 4096
_POSITION_KERNEL, _POSITION_GROUPS = 31, 16
_TEXT_KERNEL = 7
_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class DitConfig:
    """Sizes of the transformer, all read from the tensors of a checkpoint."""

    channels: int = 1024
    n_layers: int = 22
    head_channels: int = 64
    ff_channels: int = 2048
    n_mels: int = 100
    text_channels: int = 512
    text_layers: int = 4
    text_ff_channels: int = 1024

    @property
    def n_heads(self) -> int:
        return self.channels // self.head_channels


@dataclass(frozen=True, slots=True, eq=False)
class Modulations:
    """Scales, shifts and gates of every layer, for one step or for all of them.

    Attributes:
        blocks: (layers, 6 * channels), with the steps in front where they are for all of them.
        out: (2 * channels,), likewise.
    """

    blocks: Tensor
    out: Tensor

    def __getitem__(self, step: int) -> Modulations:
        return Modulations(self.blocks[step], self.out[step])


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What a window is drawn under; the same in every step.

    Attributes:
        projected: (B, T, channels) features and prompt, through their part of the input projection, with its bias.
        rotation: (cos, sin), each (T, head_channels) float32.
        mask: (B, T, 1), zero where an item is padding; None where none is.
    """

    projected: Tensor
    rotation: tuple[Tensor, Tensor]
    mask: Tensor | None


class TimeEmbedding(nn.Module):
    """A number between 0 and 1 to a vector."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(Linear(_TIME_CHANNELS, channels), nn.SiLU(), Linear(channels, channels))

    def forward(self, times: Tensor) -> Tensor:
        """(S,) float32 -> (S, channels) in the model's dtype."""
        half = _TIME_CHANNELS // 2
        rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(_MAX_PERIOD) / (half - 1)))
        angles = _TIME_SCALE * times[:, None] * rates
        waves = torch.cat((angles.sin(), angles.cos()), dim=-1)
        first = self.time_mlp[0]
        assert isinstance(first, nn.Linear)
        out: Tensor = self.time_mlp(waves.to(first.weight.dtype))
        return out


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, Woo et al. 2023)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        # The norm over all frames in float32: half precision overflows in the squares.
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        share = (norms / (norms.mean(dim=-1, keepdim=True) + _NORM_EPS)).to(x.dtype)
        out: Tensor = self.gamma * (x * share) + self.beta + x
        return out


class TextBlock(nn.Module):
    """A ConvNeXt V2 block over (B, T, C)."""

    def __init__(self, channels: int, ff_channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, _TEXT_KERNEL, padding=_TEXT_KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.pwconv1 = Linear(channels, ff_channels)
        self.grn = ResponseNorm(ff_channels)
        self.pwconv2 = Linear(ff_channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        hidden = self.norm(self.dwconv(_masked(x, mask).transpose(1, 2)).transpose(1, 2))
        hidden = self.grn(_masked(F.gelu(self.pwconv1(hidden)), mask))
        out: Tensor = x + self.pwconv2(hidden)
        return out


def text_positions(channels: int) -> Tensor:
    """(4096, channels) float32, a row for each frame.

    On the CPU whatever the default device: a model built on "meta" is assigned its parameters, but not this.
    """
    half = torch.arange(0, channels, 2, device="cpu")[: channels // 2]
    rates = 1.0 / _MAX_PERIOD ** (half.float() / channels)
    angles = torch.outer(torch.arange(_MAX_TEXT_POSITIONS, device="cpu").float(), rates)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class TextEmbedding(nn.Module):
    """The encoder's features with positions, through ConvNeXt blocks."""

    positions: Tensor

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.register_buffer("positions", text_positions(config.text_channels), persistent=False)
        self.text_blocks = nn.ModuleList(
            TextBlock(config.text_channels, config.text_ff_channels) for _ in range(config.text_layers)
        )

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, text_channels) -> (B, T, text_channels)."""
        places = torch.arange(features.shape[1], device=features.device).clamp(max=_MAX_TEXT_POSITIONS - 1)
        x = features + self.positions[places].to(features.dtype)
        for block in self.text_blocks:
            x = block(x, mask)
        return x


class ConvPositionEmbedding(nn.Module):
    """Positions from two grouped convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1d = nn.Sequential(
            nn.Conv1d(channels, channels, _POSITION_KERNEL, padding=_POSITION_KERNEL // 2, groups=_POSITION_GROUPS),
            nn.Mish(),
            nn.Conv1d(channels, channels, _POSITION_KERNEL, padding=_POSITION_KERNEL // 2, groups=_POSITION_GROUPS),
            nn.Mish(),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        first, activation, second, _ = self.conv1d
        hidden = activation(first(_masked(x, mask).transpose(1, 2)))
        if mask is not None:
            hidden = hidden * mask.transpose(1, 2)
        out: Tensor = activation(second(hidden)).transpose(1, 2)
        return out


class InputEmbedding(nn.Module):
    """Noisy mel, prompt mel and features, side by side, to the width of the transformer."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.n_mels = config.n_mels
        self.proj = Linear(2 * config.n_mels + config.text_channels, config.channels)
        self.conv_pos_embed = ConvPositionEmbedding(config.channels)

    def project_condition(self, prompt: Tensor, text: Tensor) -> Tensor:
        """(B, T, n_mels) and (B, T, text_channels) -> (B, T, channels): all of the projection but the noisy mel's."""
        return linear(torch.cat((prompt, text), dim=-1), self.proj.weight[:, self.n_mels :], self.proj.bias)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """(B, T, n_mels) -> (B, T, channels)."""
        projected = linear(x, self.proj.weight[:, : self.n_mels]) + condition.projected
        out: Tensor = projected + self.conv_pos_embed(projected, condition.mask)
        return out


class Rotary(nn.Module):
    """Angles of the rotary positions (Su et al. 2021); their rates are in the checkpoint."""

    inv_freq: Tensor

    def __init__(self, head_channels: int) -> None:
        super().__init__()
        # On the CPU whatever the default device: raising to a power on "meta" imports PyTorch's compiler, 2 s.
        rates = 1.0 / _MAX_PERIOD ** (torch.arange(0, head_channels, 2, device="cpu").float() / head_channels)
        self.register_buffer("inv_freq", rates)

    def forward(self, n_frames: int) -> tuple[Tensor, Tensor]:
        """-> (cos, sin), each (T, head_channels) float32, a pair of equal angles for each rate."""
        places = torch.arange(n_frames, device=self.inv_freq.device, dtype=torch.float32)
        angles = torch.outer(places, self.inv_freq.float()).repeat_interleave(2, dim=-1)
        return angles.cos(), angles.sin()


def _rotate_first_head(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, T, head_channels) -> the same.

    # parity: the original rotates before it splits the heads, so that positions reach the first head alone.
    """
    cos, sin = rotation
    first = x[:, :1].float()
    even, odd = first[..., 0::2], first[..., 1::2]
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return torch.cat(((first * cos + turned * sin).to(x.dtype), x[:, 1:]), dim=1)


class Attention(nn.Module):
    """Self-attention over (B, T, C)."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.to_q = Linear(config.channels, config.channels)
        self.to_k = Linear(config.channels, config.channels)
        self.to_v = Linear(config.channels, config.channels)
        self.to_out = nn.ModuleList([Linear(config.channels, config.channels)])

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        query, key, value = (
            linear(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2) for linear in (self.to_q, self.to_k, self.to_v)
        )
        query = _rotate_first_head(query, condition.rotation)
        key = _rotate_first_head(key, condition.rotation)
        mask = None if condition.mask is None else condition.mask.transpose(1, 2).unsqueeze(1) > 0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


class AdaptiveNorm(nn.Module):
    """Holds the layer that turns a step into scales, shifts and gates."""

    def __init__(self, channels: int, n_parts: int) -> None:
        super().__init__()
        self.linear = Linear(channels, channels * n_parts)


class FeedForward(nn.Module):
    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        project_in = nn.Sequential(Linear(config.channels, config.ff_channels), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(project_in, nn.Identity(), Linear(config.ff_channels, config.channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ff(x)
        return out


class DitBlock(nn.Module):
    """Attention and feed-forward, each scaled, shifted and gated by the step (Peebles and Xie 2023)."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.attn_norm = AdaptiveNorm(config.channels, 6)
        self.attn = Attention(config)
        self.ff = FeedForward(config)

    def forward(self, x: Tensor, modulation: Tensor, condition: Condition) -> Tensor:
        """(B, T, C) with the (6 * C,) of this step."""
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = modulation.chunk(6)
        x = x + gate_attn * self.attn(_normed(x) * (1 + scale_attn) + shift_attn, condition)
        out: Tensor = x + gate_ff * self.ff(_normed(x) * (1 + scale_ff) + shift_ff)
        return out


class Dit(nn.Module):
    """The `estimator`: predicts how the mel moves at a time of its flow."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbedding(config.channels)
        self.d_embed = TimeEmbedding(config.channels)
        self.text_embed = TextEmbedding(config)
        self.input_embed = InputEmbedding(config)
        self.rotary_embed = Rotary(config.head_channels)
        self.transformer_blocks = nn.ModuleList(DitBlock(config) for _ in range(config.n_layers))
        self.norm_out = AdaptiveNorm(config.channels, 2)
        self.proj_out = Linear(config.channels, config.n_mels)

    def modulations(self, times: Tensor, step_sizes: Tensor) -> Modulations:
        """Everything that depends on the step alone; times and step_sizes (S,) float32 in 0..1."""
        step = F.silu(self.time_embed(times) + self.d_embed(step_sizes))
        blocks = torch.stack([_linear_of(block)(step) for block in self.transformer_blocks], dim=1)
        return Modulations(blocks, self.norm_out.linear(step))

    def condition(self, features: Tensor, prompt: Tensor, mask: Tensor | None) -> Condition:
        """Everything that depends on the utterance alone.

        Args:
            features: (B, T, text_channels), those of the prompt at the front.
            prompt: (B, T, n_mels) normalised mel of the prompt, zero behind it.
            mask: (B, T, 1), zero where an item is padding; None where none is.
        """
        text = self.text_embed(features, mask)
        return Condition(self.input_embed.project_condition(prompt, text), self.rotary_embed(features.shape[1]), mask)

    def forward(self, x: Tensor, condition: Condition, modulations: Modulations) -> Tensor:
        """(B, T, n_mels) in the model's dtype, and those of one step -> (B, T, n_mels) velocity."""
        x = self.input_embed(x, condition)
        for block, modulation in zip(self.transformer_blocks, modulations.blocks, strict=True):
            x = block(x, modulation, condition)
        scale, shift = modulations.out.chunk(2)
        out: Tensor = self.proj_out(_normed(x) * (1 + scale) + shift)
        return out


def _linear_of(block: nn.Module) -> nn.Linear:
    assert isinstance(block, DitBlock)
    return block.attn_norm.linear


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=_NORM_EPS)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
