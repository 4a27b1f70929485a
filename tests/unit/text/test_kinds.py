"""Every kind of thing in every language that has it: what is written, and what is said."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.kinds.find import Finder
from sovits_service.text.kinds.habits import Habits
from sovits_service.text.kinds.units import LANGUAGES, unit_names
from sovits_service.text.kinds.values import (
    Amount,
    Clock,
    Date,
    Formula,
    Fraction,
    Number,
    Place,
    Range,
    Telephone,
    Term,
    Value,
)
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from sovits_service.types import SplitMethod
from tools.text_kinds_table import kinds, table, update

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "text.md"

# Rows of cases.tsv that are still misread, each a strict known failure, with the reason.
STILL_MISREAD = {
    "Hermès, Louis Vuitton, Givenchy, Nike, Adidas, and IKEA.": "without its accent Hermes is the god, and accents go",
}


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _said(frontend: Frontend, text: str, language: str) -> tuple[str, str]:
    names = {i: name for name, i in symbol_ids("v2").items()}
    segments = frontend.segments(text, language, "v2", "cut0")
    words = " ".join(run.norm_text for segment in segments for run in segment.runs)
    return words, " ".join(names[i] for segment in segments for i in segment.phoneme_ids)


@pytest.mark.parametrize(("kind", "language", "written", "said"), kinds())
def test_kind_is_said(frontend: Frontend, kind: str, language: str, written: str, said: str) -> None:
    assert _said(frontend, written, language)[0].strip("。. ") == said


def test_the_table_of_the_documents_is_up_to_date() -> None:
    assert update(DOCS.read_text(encoding="utf-8"), table(kinds())) == DOCS.read_text(encoding="utf-8"), (
        "run python tools/text_kinds_table.py"
    )


def _cases() -> list[tuple[str, str, str, str]]:
    with (HERE / "cases.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row[0], row[1], row[2], row[3]) for row in rows if not row[0].startswith("#")]


@pytest.mark.parametrize(
    ("language", "text", "words", "sounds"),
    [
        pytest.param(*row, marks=pytest.mark.xfail(strict=True, reason=STILL_MISREAD.get(row[1], "")))
        if row[1] in STILL_MISREAD
        else row
        for row in _cases()
    ],
)
def test_case_that_was_misread_is_read_right(
    frontend: Frontend, language: str, text: str, words: str, sounds: str
) -> None:
    said, phonemes = _said(frontend, text, language)
    assert said == words
    assert all(sound in phonemes for sound in sounds.split(" | "))


# What stands before a comma tells what a word behind it is, and the default cut reads each by itself.
TOLD_BY_WHAT_IS_CUT_OFF = {"Job found a job in Mobile, Alabama, on his mobile phone."}


@pytest.mark.parametrize(("language", "text"), [row[:2] for row in _cases() if row[1] not in TOLD_BY_WHAT_IS_CUT_OFF])
def test_the_default_cut_changes_no_word(frontend: Frontend, language: str, text: str) -> None:
    """As most clients send it: the points of abbreviations, codes and measures end no fragment."""

    def words(method: SplitMethod) -> list[str]:
        segments = frontend.segments(text, language, "v2", method)
        return re.findall(r"\w+", " ".join(segment.norm_text for segment in segments))

    assert words("cut5") == words("cut0")


def test_nearly_all_cases_are_read_right() -> None:
    assert len(STILL_MISREAD) <= 0.05 * len(_cases())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-5~3℃", Range(Amount(Number("5", "-")), Amount(Number("3"), "℃"), "~")),
        ("-5℃~3℃", Range(Amount(Number("5", "-"), "℃"), Amount(Number("3"), "℃"), "~")),
        ("$1,234.50", Amount(Number("1234.50", grouped=True), "$", is_money=True)),
        ("$3.5B", Amount(Number("3500000000"), "$", is_money=True)),
        ("60km/h", Amount(Number("60"), "km", per="h")),
        ("2024-03-05", Date("2024", "03", "05")),
        ("5/3/2024", Date("2024", "3", "5", "dmy")),
        ("14:30", Clock("14", "30")),
        ("3 p.m.", Clock("3", half="p")),
        ("9:00-17:30", Range(Clock("9", "00"), Clock("17", "30"), "-")),
        ("1 1/2", Fraction("1", "2", whole="1")),
        (
            "-1,000%+x⁻²",
            Formula(
                (
                    Term("negative", "-"),
                    Term("number", "1000", "%"),
                    Term("sign", "+"),
                    Term("letter", "x"),
                    Term("power", "-2"),
                )
            ),
        ),
        ("+1 555 0199", Telephone(("1", "555", "0199"), plus=True)),
    ],
)
def test_a_text_gives_a_typed_value(text: str, value: Value) -> None:
    found: list[Value] = []

    def say(candidate: Value, place: Place) -> str:
        found.append(candidate)
        return ""

    habits = Habits(
        currencies=("$",),
        scales="(?!)",
        telephones=(re.compile(r"\+\d{1,3}(?: \d{3,4}){2}"),),
        per={"h": "h"},
        apart_units="km|℃",
    )
    assert Finder(habits, say).read(Spoken.of(text)).text == ""
    assert found == [value]


@pytest.mark.parametrize("language", LANGUAGES)
def test_units_have_names_and_powers_by_rule(language: str) -> None:
    names = unit_names(language)
    assert {"km", "mg", "kW", "m²", "cm3", "°C", "GB", "hPa"} <= names.keys()
    assert all(name and "\t" not in name for name in names.values())
