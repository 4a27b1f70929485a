"""The normalising flow between prior and latents: (B, C, T) and a style in, (B, C, T) out, either way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from sovits_service.models.sovits.config import SovitsConfig


class WaveNet(nn.Module):
    """Gated convolutions with residual and skip paths, conditioned on a style."""

    def __init__(self, channels: int, kernel_size: int, n_layers: int, gin_channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.cond_layer = nn.Conv1d(gin_channels, 2 * channels * n_layers, 1)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, kernel_size, padding=(kernel_size - 1) // 2) for _ in range(n_layers)
        )
        # The last layer has nothing to hand on but its skip path.
        self.res_skip_layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels if layer < n_layers - 1 else channels, 1) for layer in range(n_layers)
        )

    def normed_layers(self) -> Iterator[nn.Module]:
        """The layers that carry weight norm in a checkpoint."""
        return chain([self.cond_layer], self.in_layers, self.res_skip_layers)

    def forward(self, x: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """(B, C, T), (B, 1, T) and (B or 1, gin, 1) -> (B, C, T)."""
        conditions = self.cond_layer(style).chunk(len(self.in_layers), dim=1)
        skip: Tensor | None = None
        for in_layer, res_skip_layer, condition in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            filters, gates = (in_layer(x) + condition).chunk(2, dim=1)
            out = res_skip_layer(torch.tanh(filters) * torch.sigmoid(gates))
            if out.shape[1] > self.channels:
                residual, out = out.chunk(2, dim=1)
                x = (x + residual) * mask
            skip = out if skip is None else skip + out
        assert skip is not None
        return skip * mask


class Coupling(nn.Module):
    """Shifts one half of the channels by what the other half says; no scaling (mean only)."""

    def __init__(self, config: SovitsConfig) -> None:
        super().__init__()
        half, hidden = config.inter_channels // 2, config.hidden_channels
        self.pre = nn.Conv1d(half, hidden, 1)
        self.enc = WaveNet(hidden, config.flow_kernel_size, config.flow_wavenet_layers, config.gin_channels)
        self.post = nn.Conv1d(hidden, half, 1)
        nn.init.zeros_(self.post.weight)  # a new flow starts as the identity
        assert self.post.bias is not None
        nn.init.zeros_(self.post.bias)

    def forward(self, x: Tensor, mask: Tensor, style: Tensor, *, reverse: bool = False) -> Tensor:
        kept, moved = x.chunk(2, dim=1)
        shift = self.post(self.enc(self.pre(kept) * mask, mask, style)) * mask
        moved = (moved - shift if reverse else moved + shift) * mask
        return torch.cat((kept, moved), dim=1)


class Flip(nn.Module):
    """Swaps the halves, so that the next coupling moves the other one. No weights; it has a number in the keys."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


class Flow(nn.Module):
    """Couplings and flips in turn."""

    def __init__(self, config: SovitsConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(layer for _ in range(config.n_flows) for layer in (Coupling(config), Flip()))
        self.context_frames = config.n_flows * config.flow_wavenet_layers * (config.flow_kernel_size - 1) // 2

    def forward(self, x: Tensor, mask: Tensor, style: Tensor, *, reverse: bool = False) -> Tensor:
        """Latents to prior, or back.

        Args:
            x: (B, inter, T).
            mask: (B, 1, T).
            style: (B or 1, gin, 1).
            reverse: from the prior to the latents, the way of synthesis.

        Returns:
            (B, inter, T).
        """
        for layer in reversed(self.flows) if reverse else self.flows:
            x = layer(x) if isinstance(layer, Flip) else layer(x, mask, style, reverse=reverse)
        return x
