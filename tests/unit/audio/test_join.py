"""Pauses, cross-fades and splices keep length, level and phase."""

from __future__ import annotations

import numpy as np
import pytest

from sovits_service.audio.join import best_offset, cross_fade, silence, splice

from .conftest import MakeVoice


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


def test_a_splice_without_search_rebuilds_the_whole_exactly(make_voice: MakeVoice) -> None:
    whole = make_voice(1.0, 32000)
    overlap, cut = 640, 15000
    joined = np.concatenate((whole[: cut - overlap], splice(whole[cut - overlap : cut], whole[cut - overlap :])))
    assert len(joined) == len(whole)
    assert np.allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("shift", [0, 1, 57, 200])
def test_the_search_finds_a_shift(make_voice: MakeVoice, shift: int) -> None:
    whole = make_voice(1.0, 32000)
    tail, following = whole[9000:9640], whole[9000 - shift : 20000]
    assert best_offset(tail, following, 320) == shift
    assert np.allclose(splice(tail, following, 320), whole[9000:20000], atol=1e-6)


def test_the_search_does_not_shift_silence_or_run_over_the_end() -> None:
    quiet = np.zeros(1000, dtype=np.float32)
    assert best_offset(quiet[:640], quiet, 320) == 0
    assert best_offset(quiet, quiet, 320) == 0
    assert best_offset(quiet[:0], quiet, 320) == 0


def test_a_splice_needs_the_overlap() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        splice(np.zeros(10, dtype=np.float32), np.zeros(9, dtype=np.float32))
