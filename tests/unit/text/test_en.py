"""English: plain sentences as the weights know them, hard cases as people say them, and any text at all."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.text.emoji_names import without_faces
from sovits_service.text.en.homographs import homographs
from sovits_service.text.en.letters_to_sounds import letters_to_sounds
from sovits_service.text.en.reader import EnglishReader
from sovits_service.text.en.tables import DATA, SortedTable, load_table, modern_words
from sovits_service.text.en.word_splitter import split_word
from sovits_service.text.markup import without_markup
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from tests.unit.text.golden_rows import is_read_better, readings
from tests.unit.text.hard_rows import hard_rows

KNOWN_FAILURES: frozenset[str] = frozenset()
READER = EnglishReader()


def say(text: str) -> tuple[str, ...]:
    return READER.read(without_markup(without_faces(Spoken.of(text)), "."), "v2").phonemes


@pytest.mark.parametrize("row", readings("en"), ids=lambda row: f"{row['kind']}-{row['version']}-{row['text'][:40]}")
def test_sentence_has_the_phonemes_that_the_weights_heard(row: dict[str, Any]) -> None:
    reading = READER.read(Spoken.of(row["text"]), row["version"])
    if is_read_better(row):
        assert list(reading.phonemes) != row["phones"], "no longer read differently: take it off the list"
    else:
        assert list(reading.phonemes) == row["phones"]
    assert reading.word2ph is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            text, expected, marks=[pytest.mark.xfail(strict=True)] if text in KNOWN_FAILURES else [], id=text[:50]
        )
        for text, mode, expected in hard_rows("en")
        if mode == "en"
    ],
)
def test_hard_row_is_read_as_people_read_it(text: str, expected: str) -> None:
    wanted = tuple(expected.strip("/").split()) if expected.startswith("/") else say(expected)
    assert say(text) == wanted, READER.read(Spoken.of(text), "v2").norm_text


def test_hard_rows_are_many_and_nearly_all_pass() -> None:
    rows = hard_rows("en")
    assert len(rows) >= 150
    assert len(KNOWN_FAILURES) <= 0.03 * len(rows)


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("a", ", AH0"),
        ("A", ", EY1"),
        ("I", ", AY1"),
        ("the boss's dog's church's", "DH AH0 B AO1 S IH0 Z D AO1 G Z CH ER1 CH AH0 Z"),
        ("", ","),
    ],
)
def test_conventions_of_short_runs_and_endings(text: str, phonemes: str) -> None:
    assert " ".join(say(text)) == phonemes


def test_semicolons_colons_and_brackets_are_pauses() -> None:
    assert say("To be, or not to be: that is it.") == say("To be, or not to be, that is it.")
    assert say("He ordered tea; she had coffee.") == say("He ordered tea, she had coffee.")
    assert say("We went (by the way) home.") == say("We went, by the way, home.")
    assert say("He ordered tea;")[-1] == ","
    assert say("Age: 42") == say("Age, 42")


def test_straight_and_curly_apostrophes_read_alike() -> None:
    assert say("It's John's, isn't it? I’d've known.") == say("It’s John’s, isn’t it? I'd’ve known.")


def test_unknown_words_are_split_or_guessed() -> None:
    assert split_word("smartwatch") == ["smart", "watch"]
    assert split_word("") == []
    assert letters_to_sounds().guess("activationist") == tuple("AE2 K T IH0 V EY1 SH AH0 N IH0 S T".split())  # noqa: SIM905
    assert say("quokkabot") == tuple("K W OW1 K AH0 B AO1 T".split())  # noqa: SIM905


def test_foreign_letters_are_counted_and_emoji_are_not() -> None:
    reading = READER.read(Spoken.of("Hello 你好 привет 😀!"), "v2")
    assert reading.dropped_characters == 8
    assert reading.norm_text == "Hello!"


@pytest.mark.parametrize("text", ["pokémon", "POKÉMON", "Pokémon's"])
def test_lexicon_goes_first(text: str) -> None:
    reader = EnglishReader(
        {"pokémon": ("P", "OW1", "K", "AH0"), "c++": ("S", "IY1"), "gpt-sovits": ("JH", "IY1", "AA1", "N")}
    )
    said = reader.read(Spoken.of(text), "v2")
    assert said.phonemes[:4] == ("P", "OW1", "K", "AH0")
    assert said.norm_text == text
    assert reader.read(Spoken.of("GPT-SoVITS in C++ today"), "v2").phonemes[:7] == (
        "JH",
        "IY1",
        "AA1",
        "N",
        "IH0",
        "N",
        "S",
    )


def test_lexicon_leaves_longer_words_alone() -> None:
    reader = EnglishReader({"cat": ("K", "AA1")})
    assert reader.read(Spoken.of("cats and concatenation"), "v2").phonemes == say("cats and concatenation")


def test_table_finds_every_key_and_no_other() -> None:
    table = SortedTable(b"a\t1\na b\t2\nab\t3\n")
    assert [table.find(key) for key in ("a", "a b", "ab", "", "b", "aa", "\ud800")] == [
        "1",
        "2",
        "3",
        None,
        None,
        None,
        None,
    ]
    assert len(load_table("pronunciations.txt.gz")) > 120_000


@pytest.mark.parametrize("name", ["pronunciations.txt.gz", "names.txt.gz"])
def test_dictionaries_hold_known_phonemes_only(name: str) -> None:
    known = symbol_ids("v1")
    lines = gzip.decompress((DATA / name).read_bytes()).decode().splitlines()
    assert lines == sorted(lines, key=lambda line: line.encode())
    assert {phoneme for line in lines for phoneme in line.split("\t")[1].split(" ")} <= known.keys()


def test_every_homograph_and_modern_word_has_known_phonemes() -> None:
    known = symbol_ids("v1")
    homograph_sounds = {p for first, second, _ in homographs().values() for p in first + second}
    assert homograph_sounds | {p for said in modern_words().values() for p in said} <= known.keys()


ANY_TEXT = st.text(st.characters(), max_size=120)
PROSE = st.text(
    st.sampled_from("aAI eE1290.,:;/-+$€%°'’\"#@&*()[]<>=^_~`|\n\tmkgxXVs½²…—é中あ가я😀\u200d\xad\ud800"), max_size=60
)


@given(ANY_TEXT | PROSE)
@settings(max_examples=400, deadline=None)
def test_any_text_has_a_reading_in_known_symbols(text: str) -> None:
    known = symbol_ids("v1")
    reading = READER.read(Spoken.of(text), "v1")
    assert reading.phonemes
    assert all(phoneme in known for phoneme in reading.phonemes)
    assert not any("\ue000" <= c <= "\uf8ff" for c in reading.norm_text)
    assert 0 <= reading.dropped_characters <= len(text)


@pytest.mark.parametrize(
    "unit", ["word ", "a", "A", "1", "1.", "1-", "(", "*a", " ", "\n", "don't-", "http://", "&amp;"]
)
def test_long_texts_are_read_to_the_end(unit: str) -> None:
    goodbye = say("goodbye")
    assert say((unit * 20_000)[:20_000] + " goodbye")[-len(goodbye) :] == goodbye
