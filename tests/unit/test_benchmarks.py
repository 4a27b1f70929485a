"""The table of `make bench`, the check that a ratio has not fallen, and what is called a faulty take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import check
from benchmarks.report import ratios, table
from benchmarks.takes import Said, auc, is_faulty, understood

TORCH = {"gpt_prefill_ms": 300.0, "gpt_decode_tokens_per_s_batch_1": 30.0, "sentence_audio_s": 5.0}
ONNX = {"gpt_prefill_ms": 100.0, "gpt_decode_tokens_per_s_batch_1": 120.0, "sentence_audio_s": 5.0}


def test_ratios_say_how_many_times_better_a_column_is_than_the_first() -> None:
    assert ratios({"torch": TORCH, "onnx": ONNX}) == {
        "onnx": {"gpt_prefill_ms": 3.0, "gpt_decode_tokens_per_s_batch_1": 4.0}
    }


def test_the_table_has_both_columns_the_ratio_and_the_original() -> None:
    lines = table("threads_1", {"torch": TORCH, "onnx": ONNX}).splitlines()
    decode = next(line for line in lines if line.startswith("gpt_decode_tokens_per_s_batch_1"))
    assert decode.split() == ["gpt_decode_tokens_per_s_batch_1", "30.00", "120.00", "(4.00x)", "31"]


@pytest.mark.parametrize(
    ("prefill_ms", "clock", "code", "told"),
    [
        (100.0, "wall", 0, "no ratio fell"),
        (120.0, "wall", 0, "no ratio fell"),
        (130.0, "wall", 1, "gpt_prefill_ms was 3.00 times as good as the first column, now 2.31"),
        (100.0, "processor", 2, ""),
    ],
)
def test_a_ratio_that_fell_by_more_than_a_fifth_fails_the_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prefill_ms: float,
    clock: str,
    code: int,
    told: str,
) -> None:
    def write(name: str, figures: dict[str, float], clock: str) -> str:
        report = {
            "machine": {"processor": "one"},
            "clock": clock,
            "runs": {"threads_1": {"torch": TORCH, "onnx": figures}},
        }
        (tmp_path / name).write_text(json.dumps(report), encoding="utf-8")
        return str(tmp_path / name)

    stored, new = write("a.json", ONNX, "wall"), write("b.json", {**ONNX, "gpt_prefill_ms": prefill_ms}, clock)
    monkeypatch.setattr("sys.argv", ["check", stored, new])
    assert check.main() == code
    assert told in capsys.readouterr().out


CODES: dict[str, Any] = {"parts": 3, "phones": ["n", "i3", "h", "ao3", "ao4", "m", "a5"]}
ASKED = ["n", "i3", "h", "ao3", "m", "a5", "."]


@pytest.mark.parametrize(
    ("phones", "expected"),
    [
        ("n i3 h ao3 m a5", Said()),
        ("n i3 m a5", Said(missing=2)),
        ("n i3 h ao3 m", Said()),
        ("n i3 h ao3 n i3 h ao3 m a5", Said(extra=4)),
        ("n i3 h ao3 ao4 ao3 m a5", Said()),
    ],
)
def test_what_tokens_say_is_compared_with_the_text(phones: str, expected: Said) -> None:
    """A single phone is a slip, and a tone that changes within a vowel no word."""
    tokens = [3 * CODES["phones"].index(phone) + third for phone in phones.split() for third in range(3)]
    assert Said.of(ASKED, tokens, CODES) == expected


def test_a_listener_blames_a_take_for_what_it_understands_in_all_other_takes() -> None:
    def take(heard: str) -> Any:
        return understood({"asked_units": ["we", "go", "to", "the", "sea"], "heard_units": heard.split(), "error": 0.0})

    whole, without, twice, other = map(
        take, ("we go to the sea", "we go the sea", "we go go to the sea", "we go to a c")
    )
    assert is_faulty(without, [whole, whole])
    assert is_faulty(twice, [whole, other])
    assert not is_faulty(without, [whole, without]), "the text may be hard to understand"
    assert not is_faulty(other, [whole, whole]), "other words are a matter of the ear"
    assert not is_faulty(whole, [without, twice])


def test_auc_counts_pairs_in_their_order_and_equals_half() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875
    assert auc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
