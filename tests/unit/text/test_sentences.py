"""Japanese, Korean and Cantonese sentences, and texts of several languages, read as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovits_service.text.frontend import Frontend
from tests.unit.text.hard_rows import sounds
from tests.unit.text.heard import comparable, heard

_HERE = Path(__file__).parent


def _rows(name: str) -> list[list[str]]:
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _stands_in(part: list[str], phonemes: list[str], start: int) -> int:
    """Where a part ends behind `start`; -1 where it does not occur."""
    places = range(start, len(phonemes) - len(part) + 1)
    return next((place + len(part) for place in places if phonemes[place : place + len(part)] == part), -1)


@pytest.mark.parametrize(
    ("language", "text", "right", "kind"),
    [row for row in _rows("cases_ja_ko_yue.tsv") if not row[0].startswith("auto")],
)
def test_a_sentence_that_was_misread_is_read_right(language: str, text: str, right: str, kind: str) -> None:
    phonemes = sounds(text, language)
    end = 0
    for part in right.split():
        forms = [heard(language, form.replace(".", " ")) for form in part.split("|")]
        end = max(_stands_in(form, phonemes, end) for form in forms)
        assert end > 0, (part, phonemes)


@pytest.mark.parametrize(
    ("mode", "text", "right", "kind"), [row for row in _rows("cases_ja_ko_yue.tsv") if row[0].startswith("auto")]
)
def test_quoted_words_do_not_change_the_language_around_them(
    frontend: Frontend, mode: str, text: str, right: str, kind: str
) -> None:
    runs = [
        (run.language, run.norm_text) for segment in frontend.segments(text, mode, "v2", "cut0") for run in segment.runs
    ]
    for part in right.split():
        language, _, words = part.partition("=")
        assert any(words in said for spoken_in, said in runs if spoken_in == language), (part, runs)


@pytest.mark.parametrize("language", ["ja", "ko", "yue"])
def test_sentences_are_read_as_people_read_them(language: str) -> None:
    rows = _rows(f"sentences_{language}.tsv")
    assert len(rows) >= 180
    wrong = [
        text
        for text, right in rows
        if comparable(language, sounds(text, language)) != comparable(language, heard(language, right))
    ]
    assert not wrong
