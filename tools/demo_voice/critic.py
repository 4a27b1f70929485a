"""Latents of recordings and of the prior in; how to tell them apart, and what is said in them, out.

What regression leaves of a sentence is the mean of all the ways to say it: smeared harmonics, soft consonants. Both
networks work on latents, where a second of speech is 50 frames, so that whole sentences can be judged at each step.
"""

from __future__ import annotations

from typing import Any

import codes as c
import torch
import torch.nn.functional as F
from sizes import SOVITS, SSL_CHANNELS
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from training import descend

WIDTH = 160
DITHER = 0.1  # on the recordings' latents, for the reader


def _conv(before: int, after: int, size: int, dilation: int = 1) -> nn.Module:
    return parametrizations.weight_norm(nn.Conv1d(before, after, size, padding=size // 2 * dilation, dilation=dilation))


class Critic(nn.Module):
    """Scores each frame: does it belong to a recording of these tokens by this voice?"""

    def __init__(self) -> None:
        super().__init__()
        self.said = _conv(SSL_CHANNELS + SOVITS.gin_channels, WIDTH, 3)
        self.heard = _conv(SOVITS.inter_channels, WIDTH, 5)
        self.layers = nn.ModuleList(_conv(WIDTH, WIDTH, 5, dilation) for dilation in (1, 2, 4))
        self.post = _conv(WIDTH, 1, 3)

    def forward(self, z: Tensor, said: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 96, T) latents and (B, 384, T) codebook vectors and style to (B, 1, T) scores and the layers' outputs."""
        x = F.leaky_relu(self.heard(z) + self.said(said), 0.2)
        maps = [x]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            maps.append(x)
        return self.post(x), maps


class Reader(nn.Module):
    """(B, 96, T) latents to (B, codes, T / 2) logits of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.ModuleList((_conv(SOVITS.inter_channels, WIDTH, 5), _conv(WIDTH, WIDTH, 5, 2)))
        self.tokens = nn.ModuleList((nn.Conv1d(WIDTH, WIDTH, 4, 2, 1), _conv(WIDTH, WIDTH, 3)))
        self.codes = nn.Conv1d(WIDTH, c.N_USED_CODES, 1)

    def forward(self, z: Tensor) -> Tensor:
        for layer in (*self.frames, *self.tokens):
            z = F.leaky_relu(layer(z), 0.1)
        logits: Tensor = self.codes(z)
        return logits


class Listeners:
    """Both with their optimizer; what they say counts where `mask` is one."""

    def __init__(self) -> None:
        self.nets = nn.ModuleDict({"critic": Critic(), "reader": Reader()})
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), lr=5e-4, betas=(0.8, 0.99))

    def learn(self, z: Tensor, said: Tensor, batch: dict[str, Any], mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """One step on predicted latents and those of the recordings, which the first items of the batch have.

        Returns:
            Its loss, and what the critic's layers make of the recordings.
        """
        n, z = batch["recorded"], z.detach()
        real, kept = batch["z"][:n], mask[:n]
        with torch.autocast("cpu", torch.bfloat16):
            score, maps = self.nets["critic"](torch.cat([real, z]), torch.cat([said[:n], said]))
            logits = self.nets["reader"](real + DITHER * torch.randn_like(real))
        unlike = _mean((1 - score[:n].float()).square(), kept) + _mean(score[n:].float().square(), mask)
        descend(unlike + _misread(logits, batch["codes"][:n], kept), self.optimizer, 5.0)
        return unlike.detach(), [m[:n].detach() for m in maps]

    def judge(
        self, z: Tensor, said: Tensor, batch: dict[str, Any], mask: Tensor, wanted: list[Tensor]
    ) -> dict[str, Tensor]:
        """The prior's losses: what the critic finds wrong, how far its layers are from the recordings', errors."""
        with torch.autocast("cpu", torch.bfloat16):
            score, maps = self.nets["critic"](z, said)
            logits = self.nets["reader"](z)
        gaps = ((a[: len(b)].float() - b.float()).abs() for a, b in zip(maps, wanted, strict=True))
        matching = sum(_mean(gap, mask[: len(gap)]) for gap in gaps)
        return {
            "critical": _mean((1 - score.float()).square(), mask),
            "matching": matching / len(maps),
            "misread": _misread(logits, batch["codes"], mask),
        }  # type: ignore[dict-item]


def said_by(quantized: Tensor, style: Tensor) -> Tensor:
    """What the critic knows: (B, 256, T) codebook vectors and a (B, 128, 1) style."""
    return torch.cat([quantized, style.detach().expand(-1, -1, quantized.shape[-1])], dim=1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum() / values.shape[1]


def _misread(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy per token of (B, codes, T) logits."""
    each = F.cross_entropy(logits.float(), codes, reduction="none", label_smoothing=0.02)
    told = mask[:, 0, ::2]
    return (each * told).sum() / told.sum()
