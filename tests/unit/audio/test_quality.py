"""Faults that are planted in a clip are found, with their place, and a clip without one has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soxr

from sovits_service.audio.quality import find_faults, measure_reference
from sovits_service.types import FloatArray, ReferenceAudio, ReferenceFinding
from tests.unit.audio.conftest import MakeVoice

RATE = 32000


def faults(samples: FloatArray, rate: int = RATE) -> dict[str, ReferenceFinding]:
    return {fault.code: fault for fault in find_faults(ReferenceAudio(samples.astype(np.float32), rate, ""))}


def test_a_clip_that_was_clipped_and_turned_down_is_still_clipped(make_voice: MakeVoice) -> None:
    samples = make_voice(5.0, RATE)
    samples[RATE : 2 * RATE] = 0.3 * np.clip(samples[RATE : 2 * RATE] * 8, -1.0, 1.0)
    samples[:RATE] *= 0.2
    samples[2 * RATE :] *= 0.2
    found = faults(samples)["clipping"]
    assert found.start_s == pytest.approx(1.0, abs=0.2)
    assert found.end_s == pytest.approx(2.0, abs=0.2)
    assert "clipping" not in faults(0.3 * make_voice(5.0, RATE))


def test_noise_is_told_from_speech_without_a_pause() -> None:
    def speech(noise: float) -> Any:
        """A gliding tone and bursts of hiss: no moment is quiet, and nothing is in all bands at all times."""
        time_s, rng = np.arange(RATE * 5) / RATE, np.random.default_rng(0)
        tone = np.sin(2 * np.pi * np.cumsum(900 + 600 * np.sin(2 * np.pi * 1.3 * time_s)) / RATE)
        hiss = rng.standard_normal(len(time_s)) * (np.sin(2 * np.pi * 2.1 * time_s) > 0.5)
        return 0.4 * tone + 0.1 * hiss + noise * rng.standard_normal(len(time_s))

    assert "noise" in faults(speech(0.03))
    assert "noise" not in faults(speech(1e-4))


@pytest.mark.parametrize(("rate_hz", "is_dull"), [(8000, True), (11025, True), (16000, False)])
def test_a_clip_that_was_brought_to_a_higher_rate_is_as_dull_as_before(
    make_voice: MakeVoice, rate_hz: int, is_dull: bool
) -> None:
    samples = soxr.resample(soxr.resample(make_voice(5.0, RATE), RATE, rate_hz), rate_hz, RATE)
    assert ("bandwidth" in faults(samples)) is is_dull
    reference = ReferenceAudio(samples.astype(np.float32), RATE, "")
    assert measure_reference(reference).bandwidth_hz == pytest.approx(rate_hz / 2, abs=300)


def test_a_long_pause_is_told_with_its_place(make_voice: MakeVoice) -> None:
    samples = make_voice(6.0, RATE)
    samples[2 * RATE : int(4.5 * RATE)] = 0
    found = faults(samples)["silence"]
    assert found.start_s == pytest.approx(2.0, abs=0.3)
    assert found.end_s == pytest.approx(4.5, abs=0.3)
    assert found.severity == "warning"


@pytest.mark.parametrize("duration_s", [2.0, 12.0])
def test_a_wrong_length_is_an_error_beside_the_other_findings(make_voice: MakeVoice, duration_s: float) -> None:
    found = faults(make_voice(duration_s, RATE) * 0.01)
    assert found["length"].severity == "error"
    assert found["level"].severity == "warning"


def test_silence_is_an_error() -> None:
    assert [fault.code for fault in find_faults(ReferenceAudio(np.zeros(RATE * 5, np.float32), RATE, ""))] == ["silent"]
    assert list(faults(np.zeros(10, np.float32))) == ["length", "silent"]
