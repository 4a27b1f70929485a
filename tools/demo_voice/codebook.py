"""The fixed vectors of the 1,024 codes: kin (same base, tone or part) lie near each other, so a near miss is a kin."""

from __future__ import annotations

import codes as c
import torch
from sizes import SSL_CHANNELS
from torch import Tensor


def codebook() -> Tensor:
    """(1024, 256) float32; the codes without a meaning lie far out, where no feature is nearest to them."""
    generator = torch.Generator().manual_seed(20240607)

    def directions(keys: list[str]) -> dict[str, Tensor]:
        return {k: torch.randn(SSL_CHANNELS, generator=generator) for k in sorted(set(keys))}

    bases, tones = directions([c.base_of(p) for p in c.PHONES]), directions([c.tone_of(p) for p in c.PHONES])
    parts = torch.randn(c.PARTS, SSL_CHANNELS, generator=generator)
    own = torch.randn(c.N_CODES, SSL_CHANNELS, generator=generator)
    rows = [bases[c.base_of(p)] + 0.6 * tones[c.tone_of(p)] + 0.6 * parts[k] for p in c.PHONES for k in range(c.PARTS)]
    vectors = torch.stack(rows) + 0.25 * own[: len(rows)]
    return torch.cat([vectors, 30.0 * own[len(rows) :]]).half().float()  # as exact as the pack stores them
