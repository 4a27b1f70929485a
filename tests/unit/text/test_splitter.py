"""Splitting equals the original's, fails on no text, and never cuts within a number, a link or an abbreviation."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.text import splitter
from sovits_service.text.splitter import FRAGMENT_LIMIT_CHARACTERS
from sovits_service.text.spoken import Spoken
from sovits_service.types import SplitMethod

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "text" / "public.jsonl"
METHODS = get_args(SplitMethod)


def cut(text: str, method: SplitMethod) -> list[str]:
    return [piece.text for piece in splitter.cut(Spoken.of(text), method)]


def presegment(text: str, language: str, method: SplitMethod) -> list[str]:
    return [piece.text for piece in splitter.presegment(Spoken.of(text), language, method)]


def protect(text: str) -> str:
    return splitter.protect(Spoken.of(text)).text


def reveal(text: str) -> str:
    return splitter.reveal(Spoken.of(text)).text


def _rows(kind: str) -> list[dict[str, str]]:
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == kind]


def test_cut_equals_the_original() -> None:
    rows = [row for row in _rows("cut") if "error" not in row]
    assert len(rows) > 150
    assert [cut(row["text"], row["method"]) for row in rows] == [row["segments"] for row in rows]


def test_presegment_equals_the_original() -> None:
    rows = [row for row in _rows("preseg") if "error" not in row]
    assert len(rows) > 150
    got = [presegment(row["text"], row["lang"], row["method"]) for row in rows]
    assert got == [row["segments"] for row in rows]


def test_where_the_original_fails_there_is_nothing_to_read() -> None:
    rows = [row for row in _rows("preseg") if "error" in row]
    assert rows
    assert [presegment(row["text"], row["lang"], row["method"]) for row in rows] == [[]] * len(rows)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", ["", "\n", " ", "。", "....", "😀", "\n\n。\n"])
def test_a_text_without_words_has_no_fragments(text: str, method: SplitMethod) -> None:
    assert presegment(text, "zh", method) == []


def test_eight_sentences_make_two_groups_of_four_or_more() -> None:
    sentences = [f"这是第{n}个比较长的句子。" for n in "一二三四五六七八九"]
    assert cut("".join(sentences), "cut1") == ["".join(sentences[:4]), "".join(sentences[4:])]


@pytest.mark.parametrize("method", METHODS)
def test_no_fragment_is_longer_than_bert_reads(method: SplitMethod) -> None:
    fragments = presegment("没有任何标点的一个句子" * 500, "zh", method)
    assert max(map(len, fragments)) <= FRAGMENT_LIMIT_CHARACTERS
    assert "".join(fragments).rstrip("。") == "没有任何标点的一个句子" * 500


@pytest.mark.parametrize(
    "text",
    [
        "一共1,234,567元没错吧",
        "现在是12:30整没错吧",
        "请打开https://example.com/a?b=1,c继续吧",
        "Please ask Dr. Smith about it",
        "He left at 5 p.m. and went home",
        "邮箱是some.body@example.com没错吧",
        "版本是2.10.3没错吧",
        "The U.S. economy grew fast",
        "Open Mon.–Fri. 9–5 all year",
        "Sept.-Nov. sales and Thurs. nights were good",
    ],
)
def test_protected_marks_do_not_cut(text: str) -> None:
    for method in METHODS:
        fragments = [reveal(fragment) for fragment in presegment(protect(text), "en", method)]
        assert len(fragments) == 1
        assert fragments[0].startswith((text, "." + text))


def test_a_full_stop_after_a_number_still_cuts() -> None:
    assert len(presegment(protect("It was 1990. Then it ended there."), "en", "cut5")) == 2


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("你好，。！？,.;:…—~ \nab1" + string.punctuation)), st.sampled_from(METHODS))
def test_every_fragment_has_words_and_an_end(text: str, method: SplitMethod) -> None:
    for fragment in presegment(protect(text), "zh", method):
        assert any(character.isalnum() or character == "_" for character in reveal(fragment))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_protecting_and_revealing_gives_the_text_back(text: str) -> None:
    plain = "".join(character for character in text if not "\ue000" <= character <= "\ue00f")
    assert reveal(protect(plain)) == plain
