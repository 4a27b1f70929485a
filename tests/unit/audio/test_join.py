"""Pauses and cross-fades keep length, level and phase."""

from __future__ import annotations

import numpy as np
import pytest

from sovits_service.audio.join import cross_fade, silence
from tests.unit.audio.conftest import MakeVoice


@pytest.mark.parametrize(("duration_s", "rate", "expected"), [(0.3, 32000, 9600), (0.3, 24000, 7200), (0.0, 48000, 0)])
def test_silence_is_counted_at_the_models_rate(duration_s: float, rate: int, expected: int) -> None:
    gap = silence(duration_s, rate)
    assert gap.dtype == np.float32
    assert len(gap) == expected
    assert not gap.any()


def test_a_negative_pause_is_no_pause() -> None:
    assert len(silence(-1.0, 32000)) == 0


def test_a_cross_fade_of_equal_takes_changes_nothing(make_voice: MakeVoice) -> None:
    take = make_voice(0.1, 32000)
    assert np.allclose(cross_fade(take, take), take, atol=1e-6)


def test_a_cross_fade_starts_as_the_tail_and_ends_as_the_head() -> None:
    blended = cross_fade(np.ones(400, dtype=np.float32), -np.ones(400, dtype=np.float32))
    assert blended[0] == pytest.approx(1.0, abs=1e-3)
    assert blended[-1] == pytest.approx(-1.0, abs=1e-3)
    assert np.all(np.diff(blended) <= 0)


def test_a_cross_fade_of_nothing_is_nothing() -> None:
    assert len(cross_fade(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))) == 0


def test_a_cross_fade_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        cross_fade(np.zeros(3, dtype=np.float32), np.zeros(4, dtype=np.float32))
