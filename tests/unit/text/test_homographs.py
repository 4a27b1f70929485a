"""English words that are written alike and said otherwise, told apart by their sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids

_TABLE = Path(__file__).parent / "homographs_en.tsv"
_ROWS = [line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
_MISREAD = [row for row in _ROWS if len(row) == 4]


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _said(frontend: Frontend, sentence: str, word: str) -> str:
    """The phonemes of each occurrence of a word, by their places in the sentence, with the default cut."""
    names = {number: name for name, number in symbol_ids("v2").items()}
    runs = [run for segment in frontend.segments(sentence, "en", "v2", "cut5") for run in segment.runs]
    sounds = [(span, names[number]) for run in runs for span, number in zip(run.spans, run.phoneme_ids, strict=True)]
    return " | ".join(
        " ".join(name for (start, end), name in sounds if place.start() <= start < end <= place.end())
        for place in re.finditer(rf"(?<![\w'-]){word}(?![\w'-])", sentence, re.IGNORECASE)
    )


def test_homographs_are_told_apart(frontend: Frontend) -> None:
    wrong = [row[0] for row in _ROWS if row not in _MISREAD and _said(frontend, row[0], row[1]) != row[2]]
    assert not wrong
    assert len(_MISREAD) < 0.05 * len(_ROWS)


@pytest.mark.parametrize(
    ("sentence", "word", "right"),
    [pytest.param(*row[:3], marks=pytest.mark.xfail(strict=True, reason=row[3]), id=row[0][:50]) for row in _MISREAD],
)
def test_homograph_that_is_misread(frontend: Frontend, sentence: str, word: str, right: str) -> None:
    assert _said(frontend, sentence, word) == right
