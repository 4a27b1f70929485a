"""Cantonese: jyutping as the weights know it, in traditional and simplified characters."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.errors import MissingExtraError
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.yue.reader import CantoneseReader, syllable_phonemes
from tests.unit.text.golden_rows import is_read_better, readings
from tests.unit.text.hard_rows import hard_rows, sounds

# Rows of the hard table that are still misread, each a strict known failure.
KNOWN_FAILURES: dict[str, str] = {}


@pytest.fixture(scope="module")
def reader() -> CantoneseReader:
    return CantoneseReader()


def phonemes_of(jyutping: str) -> list[str]:
    return [phoneme for syllable in jyutping.split() for phoneme in syllable_phonemes(syllable)]


@pytest.mark.parametrize("row", readings("yue"), ids=lambda row: row["text"][:20])
def test_reads_as_the_original_does(reader: CantoneseReader, row: dict[str, Any]) -> None:
    reading = reader.read(Spoken.of(row["text"]), row["version"])
    assert reading.word2ph is not None
    if is_read_better(row):
        assert list(reading.phonemes) != row["phones"]
    else:
        assert (list(reading.phonemes), list(reading.word2ph)) == (row["phones"], row["word2ph"])


@pytest.mark.parametrize(
    ("text", "mode", "reading"),
    [
        pytest.param(*row, marks=pytest.mark.xfail(strict=True) if row[0] in KNOWN_FAILURES else ())
        for row in hard_rows("yue")
    ],
)
def test_hard_row_is_read_as_people_read_it(text: str, mode: str, reading: str) -> None:
    assert sounds(text, mode) == phonemes_of(reading)


def test_known_failures_stay_few() -> None:
    assert len(hard_rows("yue")) >= 60
    assert len(KNOWN_FAILURES) <= 0.03 * len(hard_rows("yue"))


@pytest.mark.parametrize(
    ("jyutping", "phonemes"),
    [
        ("gwong2", ("Ygw", "Yong2")),
        ("ngo5", ("Yng", "Yo5")),
        ("ngaam1", ("Yng", "Yaam1")),
        ("m4", ("Ym", "Ym4")),
        ("ng5", ("Yng", "Yg5")),
        ("aa3", ("Yaa", "Ya3")),
        ("uk1", ("Yuk", "Yk1")),
        ("oi3", ("Yoi", "Yi3")),
        ("jyut6", ("Yj", "Yyut6")),
    ],
)
def test_syllables_are_parted_as_in_training(jyutping: str, phonemes: tuple[str, ...]) -> None:
    """parity: bare vowels and nasals repeat their last letter."""
    assert syllable_phonemes(jyutping) == phonemes


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [("講價", "讲价"), ("醫生", "医生"), ("工廠", "工厂"), ("幾多錢", "几多钱"), ("我們去飲茶", "我们去饮茶")],
)
def test_simplified_text_sounds_like_traditional(reader: CantoneseReader, traditional: str, simplified: str) -> None:
    assert reader.read(Spoken.of(traditional), "v2").phonemes == reader.read(Spoken.of(simplified), "v2").phonemes


def test_word2ph_covers_each_character_of_the_text_as_read(reader: CantoneseReader) -> None:
    reading = reader.read(Spoken.of("我有2部5瓩嘅機，好嘢！"), "v2")
    assert reading.norm_text == "我有兩部五瓩嘅機,好嘢!"
    assert reading.word2ph == (2, 2, 2, 2, 2, 4, 2, 2, 1, 2, 2, 1)


def test_lexicon_wins_over_the_dictionary() -> None:
    reading = CantoneseReader({"銀行": ("ngan4", "hong2"), "行": ("hong4",)}).read(Spoken.of("銀行第一行"), "v2")
    assert list(reading.phonemes) == phonemes_of("ngan4 hong2 dai6 jat1 hong4")


@pytest.mark.parametrize(
    ("text", "dropped"),
    [("ok啦", 0), ("Ωδ啦", 1), ("好😀", 0), ("好。", 0), ("가나", 2), ("あ好", 1), ("", 0), ("㗎", 0)],
)
def test_letters_without_a_reading_are_counted(reader: CantoneseReader, text: str, dropped: int) -> None:
    assert reader.read(Spoken.of(text), "v2").dropped_characters == dropped


def test_latin_letters_are_spelt(reader: CantoneseReader) -> None:
    reading = reader.read(Spoken.of("ok啦"), "v2")
    assert (reading.norm_text, reading.word2ph) == ("OK啦", (1, 2, 2))
    assert reading.phonemes == ("OW1", "K", "EY1", "Yl", "Yaa1")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ToJyutping", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sovits-service\[yue\]'"):
        CantoneseReader()


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    _check(text)


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789.,:/-~%$€℃個年月日點分號樓萬億kgmL我唔係㗎𠝹龘吓讲价あ가ABz  「」(😀", max_size=80))
def test_any_mixture_of_numbers_and_signs_has_an_answer(text: str) -> None:
    _check(text)


def _check(text: str) -> None:
    reading = CantoneseReader().read(Spoken.of(text), "v2")
    assert set(reading.phonemes) <= set(symbol_ids("v2"))
    assert reading.word2ph is not None
    assert len(reading.word2ph) == len(reading.norm_text)
    assert sum(reading.word2ph) == len(reading.phonemes)
    reading.norm_text.encode()
