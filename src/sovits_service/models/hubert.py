"""HuBERT (Hsu et al. 2021), the source of the semantic tokens: 16 kHz samples to 50 feature frames a second.

Attribute names are the keys of transformers' `HubertModel`, whose folders are loaded as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.errors import CheckpointError
from sovits_service.models.linear import Linear
from sovits_service.models.transformer import attend, require_config

SAMPLE_RATE_HZ = 16_000
# parity: silence after the clip, "0.3 s" that the original counts at 32 kHz and appends at 16 kHz. It adds 15 tokens
# to the prompt, and the prompts that users tuned their voices with end like that.
TAIL_SILENCE_SAMPLES = 9_600
# Clips are padded to a few lengths on a CPU, where oneDNN keeps code and tables for each length that it has seen.
_STEP_SAMPLES = 2 * SAMPLE_RATE_HZ
# The base model's variant: a group norm in the first convolution, layer norms behind attention and feed-forward.
_SUPPORTED = {
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "do_stable_layer_norm": False,
    "conv_pos_batch_norm": False,
}


@dataclass(frozen=True, slots=True)
class HubertSizes:
    """The sizes in a folder's `config.json`, by its own names; the defaults are those of the base model."""

    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_proj_layer_norm: bool = True
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HubertSizes:
        """Raise CheckpointError for a variant of the model that is not supported."""
        require_config(config, "HuBERT", _SUPPORTED)
        known: dict[str, Any] = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        for name in ("conv_dim", "conv_kernel", "conv_stride"):
            if name in known:
                known[name] = tuple(known[name])
        sizes = cls(**known)
        if not len(sizes.conv_dim) == len(sizes.conv_kernel) == len(sizes.conv_stride) > 0:
            raise CheckpointError(
                "the HuBERT folder's config.json has conv_dim, conv_kernel and conv_stride of unequal lengths"
            )
        return sizes


class Hubert(nn.Module):
    """HuBERT without its training parts, its weight norm folded.

    Args:
        config: the folder's `config.json`.

    Raises:
        CheckpointError: the config asks for another variant than the base model's.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        sizes = self.sizes = HubertSizes.from_config(config)
        self.feature_extractor = _FeatureExtractor(sizes)
        self.feature_projection = _FeatureProjection(sizes)
        self.encoder = _Encoder(sizes)

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the features of clips.

        Args:
            samples: (B, T) mono at 16 kHz in [-1, 1], in the model's dtype; the silence is appended here.

        Returns:
            (B, channels, (T + 9600) // 320 or one less).
        """
        frames, length = self.feature_extractor(F.pad(samples, (0, TAIL_SILENCE_SAMPLES)))
        features: Tensor = self.encoder(self.feature_projection(frames.transpose(1, 2)), length)
        return features[:, :length].transpose(1, 2)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class _ConvLayer(nn.Module):
    def __init__(self, sizes: HubertSizes, index: int) -> None:
        super().__init__()
        channels = sizes.conv_dim[index]
        self.conv = nn.Conv1d(
            sizes.conv_dim[index - 1] if index else 1,
            channels,
            sizes.conv_kernel[index],
            stride=sizes.conv_stride[index],
            bias=sizes.conv_bias,
        )
        self.layer_norm = nn.GroupNorm(channels, channels) if index == 0 else nn.Identity()

    def forward(self, x: Tensor, length: int) -> tuple[Tensor, int]:
        """Frames, of which so many count, to frames; padding has no part in the norm, which is over all of a clip."""
        x = self.conv(x)
        length = (length - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
        if not isinstance(self.layer_norm, nn.Identity):
            x = F.pad(self.layer_norm(x[..., :length]), (0, x.shape[-1] - length))
        return F.gelu(x), length


class _FeatureExtractor(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList([_ConvLayer(sizes, index) for index in range(len(sizes.conv_dim))])

    def forward(self, samples: Tensor) -> tuple[Tensor, int]:
        """(B, T) samples -> (B, channels, frames), and how many frames count; those behind them are padding."""
        length = samples.shape[-1]
        padding = -length % _STEP_SAMPLES if samples.device.type == "cpu" else 0
        x = F.pad(samples, (0, padding))[:, None]
        for layer in self.conv_layers:
            x, length = layer(x, length)
        return x, length


class _FeatureProjection(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        width = sizes.conv_dim[-1]
        self.layer_norm = nn.LayerNorm(width, sizes.layer_norm_eps) if sizes.feat_proj_layer_norm else nn.Identity()
        self.projection = Linear(width, sizes.hidden_size)

    def forward(self, frames: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.layer_norm(frames))
        return projected


class _PositionalConv(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        kernel = sizes.num_conv_pos_embeddings
        groups = sizes.num_conv_pos_embedding_groups
        self.conv = nn.Conv1d(sizes.hidden_size, sizes.hidden_size, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        length = x.shape[1]  # an even kernel gives one frame more
        return F.gelu(self.conv(x.transpose(1, 2))[..., :length]).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.heads = sizes.num_attention_heads
        width = sizes.hidden_size
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, length: int) -> Tensor:
        query, key, value = (project(x)[:, :length] for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.pad(attend(query, key, value, self.heads), (0, 0, 0, x.shape[1] - length))
        projected: Tensor = self.out_proj(mixed)
        return projected


class _FeedForward(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.intermediate_dense = Linear(sizes.hidden_size, sizes.intermediate_size)
        self.output_dense = Linear(sizes.intermediate_size, sizes.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.output_dense(F.gelu(self.intermediate_dense(x)))
        return projected


class _Layer(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.attention = _Attention(sizes)
        self.layer_norm = nn.LayerNorm(sizes.hidden_size, sizes.layer_norm_eps)
        self.feed_forward = _FeedForward(sizes)
        self.final_layer_norm = nn.LayerNorm(sizes.hidden_size, sizes.layer_norm_eps)

    def forward(self, x: Tensor, length: int) -> Tensor:
        x = self.layer_norm(x + self.attention(x, length))
        normed: Tensor = self.final_layer_norm(x + self.feed_forward(x))
        return normed


class _Encoder(nn.Module):
    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.pos_conv_embed = _PositionalConv(sizes)
        self.layer_norm = nn.LayerNorm(sizes.hidden_size, sizes.layer_norm_eps)
        self.layers = nn.ModuleList([_Layer(sizes) for _ in range(sizes.num_hidden_layers)])

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(B, T, width), of which `length` frames count, to the same; the others are not heard."""
        x = F.pad(x[:, :length], (0, 0, 0, x.shape[1] - length))
        x = self.layer_norm(x + self.pos_conv_embed(x))
        for layer in self.layers:
            x = layer(x, length)
        return x
