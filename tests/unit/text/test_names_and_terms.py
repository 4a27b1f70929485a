"""Names of places and terms of trades in Mandarin, read in a sentence.

The places are 300 administrative divisions: the 193 whose reading is not what their characters are read as alone, and
107 others. The terms are 200 of medicine, the sciences, computing, law and music. Readings are CC-CEDICT's, but for 17
divisions that it reads otherwise than is usual, in our judgment.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.zh.g2p import split_syllable

_TABLE = Path(__file__).parent / "names_and_terms_zh.tsv"
_ROWS = [line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _said(frontend: Frontend, word: str) -> list[tuple[str, str]]:
    """The initial and final of each character of a word in a sentence, with the default cut."""
    names = {number: name for name, number in symbol_ids("v2").items()}
    (segment,) = frontend.segments(f"我们说的是{word}。", "zh", "v2", "cut5")
    (run,) = segment.runs
    assert run.word2ph is not None
    start = run.norm_text.index(word)
    ends = [sum(run.word2ph[: start + i]) for i in range(len(word) + 1)]
    syllables = [[names[number] for number in run.phoneme_ids[a:b]] for a, b in pairwise(ends)]
    return [(initial, final) for initial, final in syllables]


def _is_heard_as(character: str, said: tuple[str, str], right: tuple[str, str]) -> bool:
    """Tones of neighbours change a third tone, 一 and 不; a syllable may lose its tone."""
    same = said[0] == right[0] and said[1][:-1] == right[1][:-1]
    changed = (
        character in "一不" or said[1][-1] == "5" or right[1][-1] == "5" or (said[1][-1], right[1][-1]) == ("2", "3")
    )
    return same and (said == right or changed)


@pytest.mark.parametrize(("kind", "count"), [("place", 300), ("term", 200)])
def test_names_and_terms_are_read_right(frontend: Frontend, kind: str, count: int) -> None:
    rows = [(word, right.split()) for row_kind, word, right in _ROWS if row_kind == kind]
    assert len(rows) == count
    wrong = [
        word
        for word, right in rows
        if not all(map(_is_heard_as, word, _said(frontend, word), map(split_syllable, right)))
    ]
    assert not wrong
