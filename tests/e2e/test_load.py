"""The load run of the benchmarks, short: it holds on the service, and it would tell where something did not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from benchmarks.load import PLACES, VOICES, Tally, is_own, report
from tests.api.fast_service import tone
from tests.e2e.conftest import ROOT, environment


def test_a_hundred_clients_lose_nothing_and_hear_nobody_else() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--clients", "100", "--requests", "600"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert (figures["lost"], figures["mixed"], figures["holds"]) == (0, 0, True)
    assert figures["requests"] >= 600
    assert 0 < figures["most_active"] <= figures["places"] == PLACES
    assert min(figures["cache"].get(state, 0) for state in ("hit", "miss", "bypass")) > 0
    assert figures["left"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"lost": 1},
        {"mixed": 1},
        {"statuses": Counter({200: 9, 500: 1})},
        {"active": [PLACES + 1]},
        {"resident_bytes": [1, 2, 40 * 2**20]},
        {"refused_without_advice": 1},
    ],
)
def test_a_broken_limit_is_told(change: dict[str, Any]) -> None:
    well = {"statuses": Counter({200: 10}), "times_s": [0.1] * 10, "active": [3], "resident_bytes": [1, 2, 3]}
    assert report(Tally(**well), 1, 1.0)["holds"] is True
    assert report(Tally(**{**well, **change}), 1, 1.0)["holds"] is False


def test_another_text_or_voice_or_a_shorter_answer_is_heard() -> None:
    spoken = (tone(VOICES[0], "hello") * 32767).astype("<i2").tobytes()
    assert is_own(spoken, VOICES[0], "hello")
    assert not is_own(spoken, VOICES[1], "hello")
    assert not is_own(spoken, VOICES[0], "hallo")
    assert not is_own(spoken[:-2], VOICES[0], "hello")
