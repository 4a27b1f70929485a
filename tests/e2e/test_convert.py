"""`sovits-service convert` with the shipped model, in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import run_command
from tests.e2e.test_say import duration_s


def convert(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(folder, "convert", *arguments)


def test_a_recording_is_said_in_another_voice_and_is_as_long(checkout: Path) -> None:
    recording = checkout / "voices/male_narrator.wav"
    result = convert(checkout, str(recording), "--voice", "female_calm", "-o", "other.wav")
    assert result.returncode == 0, result.stderr
    assert duration_s(checkout / "other.wav") == pytest.approx(duration_s(recording), abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voices/male_narrator.wav", "--voice", "female_clam"], "did you mean 'female_calm'?"),
        (["voices/male_narrator.wav", "-o", "other.xyz"], "there is no format 'xyz'"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_model_is_loaded(
    checkout: Path, arguments: list[str], message: str
) -> None:
    result = convert(checkout, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
