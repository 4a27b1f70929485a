"""Mandarin: the conventions of the weights, numbers and units in words, polyphones by context, every character read."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypinyin import Style, pinyin

from sovits_service.errors import InvalidRequestError
from sovits_service.text.frontend import Frontend
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.zh.g2p import is_reading_mark, split_syllable
from sovits_service.text.zh.numbers import read_cardinal, read_number
from sovits_service.text.zh.reader import ChineseReader
from sovits_service.types import Segment
from tests.unit.text.golden_rows import is_read_better, readings

HERE = Path(__file__).parent

# Rows of the hard table that are still misread, each a strict known failure.
KNOWN_FAILURES: dict[str, str] = {}
# Least share of the polyphone table that is read rightly without a polyphone model.
POLYPHONE_SHARE = 0.97


def _sentence_pypinyin(clause: str) -> list[str | None]:
    """What stood for the polyphone model when the rows of that engine were recorded."""
    return [item[0] for item in pinyin(clause, style=Style.TONE3, neutral_tone_with_five=True)]


@lru_cache(maxsize=2)
def _reader(engine: str) -> ChineseReader:
    return ChineseReader({}, _sentence_pypinyin if engine == "model" else None)


@pytest.fixture(scope="module")
def reader() -> ChineseReader:
    return _reader("dictionary")


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


@pytest.mark.parametrize("row", readings("zh"), ids=lambda row: f"{row['version']} {row['text'][:20]}")
def test_reads_as_the_original_does(row: dict[str, Any]) -> None:
    engine = "model" if "stubbed" in row.get("engine", "") else "dictionary"
    reading = _reader(engine).read(Spoken.of(row["text"]), row["version"])
    assert reading.word2ph is not None
    same = (list(reading.phonemes), list(reading.word2ph)) == (row["phones"], row["word2ph"])
    # with the model, polyphones are the model's affair; only the words of such a row are read better
    assert same or is_read_better(row)
    assert engine == "model" or same != is_read_better(row)


def _table(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (HERE / name).read_text(encoding="utf-8").splitlines()[1:]]


def _audible(text: str) -> str:
    return re.sub(r"[.,!?… ]", "", text).lower()


def _syllables(segments: list[Segment]) -> dict[str, list[tuple[str, ...]]]:
    """Every reading of each character."""
    names = {i: name for name, i in symbol_ids("v2").items()}
    said: dict[str, list[tuple[str, ...]]] = {}
    for run in (run for segment in segments for run in segment.runs):
        position = 0
        for character, count in zip(run.norm_text, run.word2ph or (), strict=run.word2ph is not None):
            phones = tuple(names[i] for i in run.phoneme_ids[position : position + count])
            said.setdefault(character, []).append(phones)
            position += count
    return said


def _spoken_forms(syllable: str) -> set[tuple[str, str]]:
    """A third tone may be said as a second one before another."""
    return {split_syllable(syllable), split_syllable(syllable[:-1] + ("2" if syllable[-1] == "3" else syllable[-1]))}


@pytest.mark.parametrize(
    ("text", "mode", "reading"),
    [
        pytest.param(*row, marks=pytest.mark.xfail(strict=True) if row[0] in KNOWN_FAILURES else ())
        for row in _table("hard_zh.tsv")
    ],
)
def test_hard_row_is_read_as_people_read_it(frontend: Frontend, text: str, mode: str, reading: str) -> None:
    """`字{pinyin}` in the text asks for that reading of the character."""
    segments = frontend.segments(re.sub(r"\{[a-z]+\d\}", "", text), mode, "v2", "cut0")
    assert _audible("".join(segment.norm_text for segment in segments)) == _audible(reading)
    said = _syllables(segments)
    for character, syllable in re.findall(r"(.)\{([a-z]+\d)\}", text):
        assert _spoken_forms(syllable) & set(said[character])


# Sentences that were misread, with the syllables of the misread characters; those that still are, with the reason.
STILL_MISREAD = {
    "远上寒山石径斜,白云生处有人家。": "人家 and 上 are neutral in ordinary sentences, and nothing marks a poem",
    "大夫说我没事,士大夫阶层。": "大夫 is in the original's list of neutral words, which counts within a word too",
}


def _cases() -> list[Any]:
    rows = [line.split("\t") for line in (HERE / "cases_zh_en.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    marked = [
        (text, re.findall(r"([\u4e00-\u9fff])\(([a-z]+\d)\)", right)) for lang, text, right, _ in rows if lang == "zh"
    ]
    return [
        pytest.param(text, right, marks=pytest.mark.xfail(strict=True) if text in STILL_MISREAD else ())
        for text, right in marked
        if right
    ]


@pytest.mark.parametrize(("text", "right"), _cases())
def test_a_sentence_that_was_misread_is_read_right(frontend: Frontend, text: str, right: list[tuple[str, str]]) -> None:
    said = _syllables(frontend.segments(text, "zh", "v2", "cut5"))
    assert all(_spoken_forms(syllable) & set(said[character]) for character, syllable in right)


def test_known_failures_stay_few() -> None:
    rows = _table("hard_zh.tsv")
    assert len(rows) >= 150
    assert len(KNOWN_FAILURES) <= 0.03 * len(rows)


def test_polyphones_are_settled_by_context(reader: ChineseReader) -> None:
    """The share of right readings on the labelled sentences; the dictionary alone has 86 % of them."""
    rows = _table("polyphones_zh.tsv")
    assert len(rows) >= 200
    wrong: list[str] = []
    for text, expected in rows:
        position = text.index("【")
        plain = text.replace("【", "").replace("】", "")
        reading = reader.read(Spoken.of(plain), "v2")
        assert reading.norm_text == plain
        assert reading.word2ph is not None
        start = sum(reading.word2ph[:position])
        said = reading.phonemes[start : start + reading.word2ph[position]]
        # a third tone may have become a second one, and every tone a neutral one
        syllables = {form for syllable in expected.split("|") for form in _spoken_forms(syllable)}
        neutral = {split_syllable(syllable[:-1] + "5") for syllable in expected.split("|")}
        if said not in syllables | neutral:
            wrong.append(text)
    assert len(wrong) <= (1 - POLYPHONE_SHARE) * len(rows), wrong


@pytest.mark.parametrize("symbols", ["v1", "v2"])
def test_every_basic_han_character_is_read(reader: ChineseReader, symbols: Any) -> None:
    known = symbol_ids(symbols)
    characters = [chr(code) for code in range(0x4E00, 0x9FA6)]
    assert len(characters) == 20_902
    unread: list[str] = []
    for start in range(0, len(characters), 200):
        block = characters[start : start + 200]
        reading = reader.read(Spoken.of(",".join(block)), symbols)
        assert reading.dropped_characters == 0
        assert all(phoneme in known for phoneme in reading.phonemes)
        assert reading.word2ph is not None
        unread += [c for c, count in zip(reading.norm_text, reading.word2ph, strict=True) if c != "," and count != 2]
        assert sum(character == "," for character in reading.norm_text) == len(block) - 1
    assert not unread


@pytest.mark.parametrize(
    ("text", "norm_text"),
    [("𠮷野家", "吉野家"), ("㐀", "㐀"), ("囍字", "囍字"), ("兙", "兙"), ("氵字旁", "氵字旁")],
)
def test_rare_characters_are_read_where_they_have_a_reading(reader: ChineseReader, text: str, norm_text: str) -> None:
    reading = reader.read(Spoken.of(text), "v2")
    assert reading.norm_text == norm_text or reading.dropped_characters == 1


@pytest.mark.parametrize("text", ["嗯", "呣", "哼", "欸", "噷", "哏", "嘸", "呒", "姆", "唔", "嗐", "兿"])
def test_interjections_without_a_vowel_do_not_fail(reader: ChineseReader, text: str) -> None:
    reading = reader.read(Spoken.of(f"{text},好的"), "v2")
    assert len(reading.phonemes) == 7


def test_word2ph_covers_the_text(reader: ChineseReader) -> None:
    reading = reader.read(Spoken.of("今天是2024年3月15日，气温-5℃，涨了3.5%！"), "v2")
    assert reading.word2ph is not None
    assert len(reading.word2ph) == len(reading.norm_text)
    assert sum(reading.word2ph) == len(reading.phonemes)


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "零"),
        ("10", "十"),
        ("110", "一百一十"),
        ("1001", "一千零一"),
        ("100010", "十万零一十"),
        ("100000001", "一亿零一"),
        ("1000000000000", "一万亿"),
        ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
    ],
)
def test_cardinals(digits: str, words: str) -> None:
    assert read_cardinal(digits) == words


@pytest.mark.parametrize(("number", "words"), [("3.20", "三点二零"), (".5", "零点五"), ("3.00", "三点零"), ("7", "七")])
def test_decimals(number: str, words: str) -> None:
    assert read_number(number) == words


def test_erhua_follows_the_syllable_before_in_v2_alone(reader: ChineseReader) -> None:
    assert reader.read(Spoken.of("这儿"), "v2").phonemes == ("zh", "e4", "EE", "er4")
    assert reader.read(Spoken.of("这儿"), "v1").phonemes == ("zh", "e4", "EE", "er2")


# parity: a currency sign without a number, or a caret, turns commas into pauses that the weights know by these signs
@pytest.mark.parametrize(("text", "pause"), [("你好￥", "SP2"), ("你好^", "SP3")])
def test_special_pauses(reader: ChineseReader, text: str, pause: str) -> None:
    assert reader.read(Spoken.of(text), "v2").phonemes[-1] == pause


def test_a_written_reading_is_spoken_as_it_stands(reader: ChineseReader) -> None:
    assert reader.read(Spoken.of("长(zhang3)长(chang2)了"), "v2").phonemes[:4] == ("zh", "ang3", "ch", "ang2")
    assert reader.read(Spoken.of("角（jiao3）色"), "v2").phonemes[:2] == ("j", "iao3")


@pytest.mark.parametrize("text", ["平方(m2)", "角(foo9)色", "他(kg1)"])
def test_what_is_no_syllable_is_no_reading(reader: ChineseReader, text: str) -> None:
    assert not any(is_reading_mark(character) for character in reader.normalize(Spoken.of(text)).text.text)


@pytest.mark.parametrize("tone", "12345")
def test_every_syllable_can_be_written(reader: ChineseReader, tone: str) -> None:
    table = json.loads((files("sovits_service.text.zh") / "data" / "syllables.json").read_text(encoding="utf-8"))
    bases = [base for base in table if any(vowel in base for vowel in "aeiouv")]
    assert len(bases) > 400
    for base in bases:
        assert reader.read(Spoken.of(f"角({base}{tone})"), "v2").phonemes == split_syllable(base + tone)


def test_latin_words_are_counted_as_dropped(reader: ChineseReader) -> None:
    assert reader.read(Spoken.of("这个API的文档"), "v2").dropped_characters == 3


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_no_text_fails(text: str) -> None:
    reading = _reader("dictionary").read(Spoken.of(text), "v2")
    known = symbol_ids("v2")
    assert reading.word2ph is not None
    assert len(reading.word2ph) == len(reading.norm_text)
    assert sum(reading.word2ph) == len(reading.phonemes)
    assert all(phoneme in known for phoneme in reading.phonemes)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("0123456789.,:/-~%℃￥$€+×=^²年月日点元个万亿kgm第一二(（零百度 至")))
def test_no_number_fails(text: str) -> None:
    reading = _reader("dictionary").read(Spoken.of(text), "v1")
    assert not any(character.isdigit() and character.isascii() for character in reading.norm_text)


def test_a_text_without_words_is_refused(frontend: Frontend) -> None:
    with pytest.raises(InvalidRequestError, match="nothing to read"):
        frontend.segments("。。。", "zh", "v2", "cut5")
