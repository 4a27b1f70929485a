"""Self-attention with relative positions, cross-attention and the encoder stack: (B, C, T) in, (B, C, T) out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sequence_mask(lengths: Tensor | Sequence[int] | None, like: Tensor) -> Tensor:
    """Marks the frames that belong to each item of a padded batch.

    Args:
        lengths: valid frames of each item, or None where the whole of `like` is valid.
        like: (B, ..., T), gives shape, device and dtype.

    Returns:
        (B, 1, T) ones and zeros in the dtype of `like`.
    """
    n_batch, n_frames = like.shape[0], like.shape[-1]
    if lengths is None:
        return like.new_ones((n_batch, 1, n_frames))
    ends = torch.as_tensor(lengths, device=like.device).view(n_batch, 1, 1)
    return (torch.arange(n_frames, device=like.device).view(1, 1, n_frames) < ends).to(like.dtype)


class LayerNorm(nn.Module):
    """Layer norm over the channels of (B, C, T)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, self.eps).transpose(1, 2)


class MultiHeadAttention(nn.Module):
    """Attention with 1x1 convolutions; relative positions within a window (Shaw et al. 2018) where one is given."""

    def __init__(self, channels: int, n_heads: int, p_dropout: float = 0.0, window: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head_channels = channels // n_heads
        self.window = window
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        self.drop = nn.Dropout(p_dropout)
        if window is not None:
            shape = (1, 2 * window + 1, self.head_channels)
            self.emb_rel_k, self.emb_rel_v = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))
            for positions in (self.emb_rel_k, self.emb_rel_v):
                nn.init.normal_(positions, std=self.head_channels**-0.5)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Let the frames of `x` attend to those of `context`.

        Args:
            x: (B, C, T).
            context: (B, C, T_context), `x` itself for self-attention.
            context_mask: (B, 1, T_context), zero where `context` is padding.

        Returns:
            (B, C, T).
        """
        query, key, value = (
            conv(source).unflatten(1, (self.n_heads, self.head_channels)).transpose(2, 3)
            for conv, source in ((self.conv_q, x), (self.conv_k, context), (self.conv_v, context))
        )
        mask = context_mask.unsqueeze(1) > 0
        if self.window is None:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            mixed = self._attend_relative(query / math.sqrt(self.head_channels), key, value, mask)
        out: Tensor = self.conv_o(mixed.transpose(2, 3).flatten(1, 2))
        return out

    def _attend_relative(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Query, key and value (B, heads, T, head_channels), the query scaled; mask (B, 1, 1, T) bool."""
        band = query @ self.emb_rel_k.to(query.dtype).transpose(1, 2)
        scores = (query @ key.transpose(2, 3)).add_(_band_to_square(band))
        scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        weights: Tensor = self.drop(scores.softmax(-1))
        out: Tensor = weights @ value + _square_to_band(weights, self.emb_rel_v.shape[1]) @ self.emb_rel_v.to(
            value.dtype
        )
        return out


def _band_to_square(band: Tensor) -> Tensor:
    """(..., T, 2w + 1) values at offsets -w..w -> (..., T, T), zero outside the band."""
    n_frames, width = band.shape[-2:]
    window = (width - 1) // 2
    padded = band.new_zeros(*band.shape[:-1], n_frames + width - 1)
    _band_of(padded, width).copy_(band)
    return padded[..., window : window + n_frames]


def _square_to_band(square: Tensor, width: int) -> Tensor:
    """(..., T, T) -> (..., T, 2w + 1): the inverse of `_band_to_square`, zero where the band leaves the square."""
    window = (width - 1) // 2
    return _band_of(F.pad(square, (window, window)), width)


def _band_of(padded: Tensor, width: int) -> Tensor:
    """The band of a square that is padded by w to each side, (..., T, T + 2w) contiguous, as a view (..., T, 2w + 1).

    Each row of the band begins one column further to the right: its stride is one longer than the square's.
    """
    row = padded.shape[-1]
    return padded.as_strided((*padded.shape[:-1], width), (*padded.stride()[:-2], row + 1, 1))


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between them."""

    def __init__(self, channels: int, filter_channels: int, kernel_size: int, p_dropout: float) -> None:
        super().__init__()
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)
        self.drop = nn.Dropout(p_dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = self.drop(torch.relu(self.conv_1(F.pad(x * mask, self.padding))))
        out: Tensor = self.conv_2(F.pad(hidden * mask, self.padding)) * mask
        return out


class Encoder(nn.Module):
    """A post-norm transformer encoder over (B, C, T), as in VITS (Kim et al. 2021)."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        p_dropout: float,
        window: int,
    ) -> None:
        super().__init__()
        layers = range(n_layers)
        self.drop = nn.Dropout(p_dropout)
        self.attn_layers = nn.ModuleList(MultiHeadAttention(channels, n_heads, p_dropout, window) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(LayerNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(channels, filter_channels, kernel_size, p_dropout) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(LayerNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) and (B, 1, T) -> (B, C, T), zero where the mask is."""
        x = x * mask
        for attention, norm_1, feed_forward, norm_2 in zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        ):
            x = norm_1(x + self.drop(attention(x, x, mask)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask
