"""Japanese: phonemes and pitch marks as the weights know them, read as people read it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.errors import MissingExtraError
from sovits_service.text.ja.reader import JapaneseReader
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from tests.unit.text.golden_rows import is_read_better, readings
from tests.unit.text.hard_rows import audible, hard_rows, sounds

# Rows of the hard table that are still misread, each a strict known failure.
KNOWN_FAILURES: dict[str, str] = {}

_CONSONANTS = {
    "k": "カキクケコ", "s": "サシスセソ", "t": "タチツテト", "n": "ナニヌネノ", "h": "ハヒフヘホ", "m": "マミムメモ",
    "r": "ラリルレロ", "g": "ガギグゲゴ", "z": "ザジズゼゾ", "d": "ダヂヅデド", "b": "バビブベボ", "p": "パピプペポ",
}  # fmt: skip
_MORAE: dict[str, tuple[str, ...]] = {
    **{kana: (vowel,) for kana, vowel in zip("アイウエオ", "aiueo", strict=True)},
    **{kana: (first, vowel) for first, row in _CONSONANTS.items() for kana, vowel in zip(row, "aiueo", strict=True)},
    "シ": ("sh", "i"), "チ": ("ch", "i"), "ツ": ("ts", "u"), "フ": ("f", "u"), "ジ": ("j", "i"), "ヂ": ("j", "i"),
    "ヅ": ("z", "u"), "ヤ": ("y", "a"), "ユ": ("y", "u"), "ヨ": ("y", "o"), "ワ": ("w", "a"), "ン": ("N",),
    "ッ": ("cl",),
}  # fmt: skip
_PALATAL = {
    "k": "ky",
    "n": "ny",
    "h": "hy",
    "m": "my",
    "r": "ry",
    "g": "gy",
    "b": "by",
    "p": "py",
    "d": "dy",
    "t": "ty",
}


def phonemes_of_kana(kana: str) -> list[str]:
    """Katakana as OpenJTalk's phonemes, by a table of its own."""
    phonemes: list[str] = []
    for letter in kana:
        if letter == "ー":
            phonemes.append(phonemes[-1])
        elif letter in "ャュョ":
            phonemes.pop()
            phonemes[-1] = _PALATAL.get(phonemes[-1], phonemes[-1])
            phonemes.append(dict(zip("ャュョ", "auo", strict=True))[letter])
        elif letter in "ァィゥェォ":
            phonemes[-1] = dict(zip("ァィゥェォ", "aiueo", strict=True))[letter]
        else:
            phonemes += _MORAE[letter]
    return phonemes


@pytest.fixture(scope="module")
def reader() -> JapaneseReader:
    return JapaneseReader()


@pytest.mark.parametrize("row", readings("ja"), ids=lambda row: f"{row['version']}-{row['text'][:20]}")
def test_reads_as_the_original_does(reader: JapaneseReader, row: dict[str, Any]) -> None:
    reading = reader.read(Spoken.of(row["text"]), row["version"])
    if is_read_better(row):
        assert list(reading.phonemes) != row["phones"]
    else:
        assert list(reading.phonemes) == row["phones"]
    assert reading.word2ph is None


@pytest.mark.parametrize(
    ("text", "mode", "reading"),
    [
        pytest.param(*row, marks=pytest.mark.xfail(strict=True) if row[0] in KNOWN_FAILURES else ())
        for row in hard_rows("ja")
    ],
)
def test_hard_row_is_read_as_people_read_it(text: str, mode: str, reading: str) -> None:
    assert sounds(text, mode) == phonemes_of_kana(reading)


def test_known_failures_stay_few() -> None:
    assert len(hard_rows("ja")) >= 60
    assert len(KNOWN_FAILURES) <= 0.03 * len(hard_rows("ja"))


def test_accent_is_marked_for_v2_and_unknown_to_v1(reader: JapaneseReader) -> None:
    assert reader.read(Spoken.of("箸を"), "v2").phonemes == ("h", "a", "]", "sh", "i", "o")
    assert reader.read(Spoken.of("箸を"), "v1").phonemes == ("h", "a", "UNK", "sh", "i", "o")


def test_phrases_are_parted_by_the_unknown_symbol(reader: JapaneseReader) -> None:
    """parity: the mark `#` between accent phrases is in no symbol set, so the weights learnt UNK for it."""
    assert "UNK" in reader.read(Spoken.of("猫が窓のそばで眠る"), "v2").phonemes


def test_repeated_punctuation_counts_once(reader: JapaneseReader) -> None:
    assert reader.read(Spoken.of("え!!!"), "v2").phonemes == ("e", "!")


def test_lexicon_wins_over_the_dictionary() -> None:
    words = {"日本": ("にほん",), "小鳥遊": ("たかなし",)}
    read = JapaneseReader(words).read
    assert audible(read(Spoken.of("日本"), "v2").phonemes) == ["n", "i", "h", "o", "N"]
    assert audible(read(Spoken.of("小鳥遊"), "v2").phonemes) == phonemes_of_kana("タカナシ")


@pytest.mark.parametrize(("text", "dropped"), [("龘", 1), ("你好", 2), ("猫안녕", 2), ("猫😀", 0), ("猫。", 0)])
def test_letters_without_a_reading_are_counted(reader: JapaneseReader, text: str, dropped: int) -> None:
    assert reader.read(Spoken.of(text), "v2").dropped_characters == dropped


def test_threads_read_the_same(reader: JapaneseReader) -> None:
    texts = [f"今日は{n}時に{n}本の傘を買った" for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: reader.read(Spoken.of(text), "v2"), texts)) == [
            reader.read(Spoken.of(t), "v2") for t in texts
        ]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyopenjtalk", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sovits-service\[ja\]'"):
        JapaneseReader()


def test_a_text_beyond_the_buffer_of_openjtalk_is_read_whole(reader: JapaneseReader) -> None:
    once = reader.read(Spoken.of("今日はいい天気ですね"), "v2")
    many = reader.read(Spoken.of("今日はいい天気ですね" * 500), "v2")
    assert len(audible(many.phonemes)) == 500 * len(audible(once.phonemes))


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    _check(text)


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789.,:/-~〜%$￥€℃分時日月年個人本万億kgmLゔヷヸゝ々ーっんあ漢字龘ｶﾞABz　 「」(😀", max_size=80))
def test_any_mixture_of_numbers_and_signs_has_an_answer(text: str) -> None:
    _check(text)


def _check(text: str) -> None:
    reading = JapaneseReader().read(Spoken.of(text), "v2")
    assert set(reading.phonemes) <= set(symbol_ids("v2"))
    assert reading.dropped_characters >= 0
    reading.norm_text.encode()
