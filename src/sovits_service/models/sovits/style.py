"""The voice of a reference: its linear spectrum in, one style vector out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_N_HEADS = 2  # in no config and no shape


class LinearLayer(nn.Module):
    """A linear layer under the checkpoint's name `fc`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out


class ConvLayer(nn.Module):
    """A convolution under the checkpoint's name `conv`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=(kernel_size - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class GatedConv(nn.Module):
    """A gated convolution with a residual path (Dauphin et al. 2017)."""

    def __init__(self, channels: int, kernel_size: int, p_dropout: float) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, 2 * channels, kernel_size)
        self.dropout = nn.Dropout(p_dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.dropout(F.glu(self.conv1(x), dim=1))
        return out


class SelfAttention(nn.Module):
    """Self-attention over (B, T, C) with a residual path."""

    def __init__(self, channels: int, p_dropout: float) -> None:
        super().__init__()
        self.w_qs = nn.Linear(channels, channels)
        self.w_ks = nn.Linear(channels, channels)
        self.w_vs = nn.Linear(channels, channels)
        self.fc = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(p_dropout)
        # parity: scaled by the whole width, not by that of a head.
        self.scale = 1.0 / math.sqrt(channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            linear(x).unflatten(2, (_N_HEADS, -1)).transpose(1, 2) for linear in (self.w_qs, self.w_ks, self.w_vs)
        )
        keys = None if mask is None else mask[:, None, None, :]
        p_dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, keys, p_dropout, scale=self.scale)
        out: Tensor = self.dropout(self.fc(mixed.transpose(1, 2).flatten(2))) + x
        return out


class StyleEncoder(nn.Module):
    """The style encoder `ref_enc` (Meta-StyleSpeech, Min et al. 2021)."""

    def __init__(
        self, spec_bins: int, hidden_channels: int, out_channels: int, kernel_size: int, p_dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.spec_bins = spec_bins
        self.spectral = nn.Sequential(
            LinearLayer(spec_bins, hidden_channels),
            nn.Mish(),
            nn.Dropout(p_dropout),
            LinearLayer(hidden_channels, hidden_channels),
            nn.Mish(),
            nn.Dropout(p_dropout),
        )
        self.temporal = nn.Sequential(
            GatedConv(hidden_channels, kernel_size, p_dropout), GatedConv(hidden_channels, kernel_size, p_dropout)
        )
        self.slf_attn = SelfAttention(hidden_channels, p_dropout)
        self.fc = LinearLayer(hidden_channels, out_channels)

    def forward(self, spec: Tensor, mask: Tensor | None = None) -> Tensor:
        """Average a reference into a style.

        Args:
            spec: (B, bins, T) linear spectrum; bins above those that the model knows are cut off.
            mask: (B, 1, T), zero where an item is padding; None where there is none.

        Returns:
            (B, gin_channels, 1).
        """
        valid = None if mask is None else mask[:, 0] > 0
        spec = spec[:, : self.spec_bins]
        x = self.spectral((spec if mask is None else spec * mask).transpose(1, 2))
        x = self.temporal(x.transpose(1, 2)).transpose(1, 2)
        if valid is not None:
            x = x.masked_fill(~valid[:, :, None], 0.0)
        x = self.fc(self.slf_attn(x, valid))
        # The mean in float32: a sum over a clip is beyond what half precision holds.
        if valid is None:
            pooled = x.mean(dim=1, dtype=torch.float32)
        else:
            pooled = (x.float() * valid[:, :, None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)
        style: Tensor = pooled.to(x.dtype).unsqueeze(-1)
        return style
