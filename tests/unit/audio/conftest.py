"""Signals that the audio tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sovits_service.types import FloatArray

MakeVoice = Callable[..., FloatArray]


@pytest.fixture(scope="session")
def make_voice() -> MakeVoice:
    """Makes something like a voice: a gliding tone with breath in syllables over a quiet noise floor, peak 0.5."""

    def make(
        duration_s: float, sample_rate_hz: int, *, noise: float = 1e-4, peak: float = 0.5, breath: float = 0.3
    ) -> FloatArray:
        rng = np.random.default_rng(7)
        time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
        phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * time_s)) / sample_rate_hz
        hiss = rng.standard_normal(len(time_s))  # up to the highest frequencies, as voices have it
        tone = sum(np.sin(k * phase) / k for k in range(1, 8)) + breath * hiss
        syllables = np.clip(np.sin(2 * np.pi * 2.2 * time_s) * 2, 0.0, 1.0)
        edges = np.clip(np.minimum(time_s, duration_s - time_s) / 0.02, 0.0, 1.0)
        voiced = tone * syllables * edges
        return (peak * voiced / np.abs(voiced).max() + noise * rng.standard_normal(len(time_s))).astype(np.float32)

    return make
