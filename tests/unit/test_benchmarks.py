"""The table of `make bench`, and the check that a ratio has not fallen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import check
from benchmarks.report import ratios, table

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
