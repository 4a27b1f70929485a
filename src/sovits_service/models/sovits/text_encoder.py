"""Semantic tokens meet phonemes and voice: quantised features and phoneme ids in, the prior of the latents out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.models.sovits.attention import Encoder, MultiHeadAttention, sequence_mask
from sovits_service.models.sovits.config import SovitsConfig

_MRTE_HEADS = 4  # in no config and no shape


@dataclass(frozen=True, slots=True)
class Prior:
    """The distribution of the latents, 50 frames a second divided by the speed.

    Attributes:
        features: (B, hidden, T) encoder output that mean and log_std are projected from; v3 and v4 go on with it.
        mean: (B, inter, T).
        log_std: (B, inter, T).
        mask: (B, 1, T), zero where an item is padding.
        lengths: valid frames of each item.
    """

    features: Tensor
    mean: Tensor
    log_std: Tensor
    mask: Tensor
    lengths: tuple[int, ...]


class Mrte(nn.Module):
    """Multi-reference timbre encoder: semantic frames attend to phonemes, the style is added."""

    def __init__(self, channels: int, mrte_channels: int) -> None:
        super().__init__()
        self.cross_attention = MultiHeadAttention(mrte_channels, _MRTE_HEADS)
        self.c_pre = nn.Conv1d(channels, mrte_channels, 1)
        self.text_pre = nn.Conv1d(channels, mrte_channels, 1)
        self.c_post = nn.Conv1d(mrte_channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor, text: Tensor | None, text_mask: Tensor | None, style: Tensor) -> Tensor:
        """Without a text nothing attends: what the original's own test of the model without text does."""
        content = self.c_pre(x * mask)
        mixed = content + style
        if text is not None and text_mask is not None:
            phonemes = self.text_pre(text * text_mask)
            mixed = self.cross_attention(content * mask, phonemes * text_mask, text_mask) + mixed
        out: Tensor = self.c_post(mixed * mask)
        return out


class TextEncoder(nn.Module):
    """The prior encoder `enc_p`."""

    def __init__(self, config: SovitsConfig) -> None:
        super().__init__()
        channels = config.hidden_channels

        def encoder(n_layers: int) -> Encoder:
            return Encoder(
                channels,
                config.filter_channels,
                config.n_heads,
                n_layers,
                config.kernel_size,
                config.p_dropout,
                config.attention_window,
            )

        self.ssl_proj = nn.Conv1d(config.ssl_channels, channels, 1)
        self.encoder_ssl = encoder(config.n_layers // 2)
        self.encoder_text = encoder(config.n_layers)
        self.text_embedding = nn.Embedding(config.n_phonemes, channels)
        self.mrte = Mrte(channels, config.mrte_channels)
        self.encoder2 = encoder(config.n_layers // 2)
        self.proj = nn.Conv1d(channels, config.inter_channels * 2, 1)

    def forward(
        self,
        quantized: Tensor,
        phoneme_ids: Tensor | None,
        style: Tensor,
        lengths: Sequence[int] | Tensor | None = None,
        phoneme_lengths: Sequence[int] | Tensor | None = None,
        speed: float | Sequence[float] = 1.0,
    ) -> Prior:
        """Predict the latents' distribution.

        Args:
            quantized: (B, ssl_channels, T) codebook vectors, 50 frames a second.
            phoneme_ids: (B, T_text) int64; None where nothing tells what the tokens say.
            style: (B or 1, mrte_channels, 1).
            lengths: valid frames of each item; None for all.
            phoneme_lengths: valid phonemes of each item; None for all.
            speed: how much faster than the reference to speak, one value or one per item.

        Returns:
            The prior over `T`, or over `int(T / speed) + 1` frames at another speed than 1.
        """
        mask = sequence_mask(lengths, quantized)
        x = self.encoder_ssl(self.ssl_proj(quantized * mask), mask)
        text = text_mask = None
        if phoneme_ids is not None:
            embedded = self.text_embedding(phoneme_ids).transpose(1, 2)
            text_mask = sequence_mask(phoneme_lengths, embedded)
            text = self.encoder_text(embedded, text_mask)
        x = self.encoder2(self.mrte(x, mask, text, text_mask, style), mask)
        n_valid = (x.shape[-1],) * x.shape[0] if lengths is None else tuple(int(n) for n in lengths)
        speeds = (float(speed),) * len(n_valid) if isinstance(speed, int | float) else tuple(speed)
        if any(s != 1.0 for s in speeds):
            x, n_valid = _change_speed(x, n_valid, speeds)
            mask = sequence_mask(n_valid, x)
        mean, log_std = (self.proj(x) * mask).chunk(2, dim=1)
        return Prior(x, mean, log_std, mask, n_valid)


def frames_at_speed(frames: int, speed: float) -> int:
    """How many frames are left of so many."""
    # parity: the one frame more is the original's; it keeps durations equal to those that users know.
    return frames if speed == 1.0 else int(frames / speed) + 1


def _change_speed(x: Tensor, lengths: Sequence[int], speeds: Sequence[float]) -> tuple[Tensor, tuple[int, ...]]:
    """Stretch each item on its own, so that padding and company do not change it."""
    targets = tuple(map(frames_at_speed, lengths, speeds))
    longest = max(targets)
    items = []
    for item, (length, target) in zip(x, zip(lengths, targets, strict=True), strict=True):
        valid = item[None, :, :length]
        if target != length:
            valid = F.interpolate(valid, size=target, mode="linear")
        items.append(F.pad(valid, (0, longest - target)))
    return torch.cat(items), targets
