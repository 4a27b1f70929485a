"""Texts made to take long: the work is in proportion to their length, and small for each character."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from types import FrameType
from typing import Any

import jieba.posseg
import pytest
from jieba.posseg.viterbi import viterbi

from sovits_service.errors import InvalidRequestError
from sovits_service.text.emoji_names import without_faces
from sovits_service.text.frontend import Frontend
from sovits_service.text.markup import without_markup
from sovits_service.text.splitter import FRAGMENT_LIMIT_CHARACTERS, presegment, protect
from sovits_service.text.spoken import Spoken
from sovits_service.text.zh.hidden_markov import HiddenMarkovModel

MADE_UP = (
    "\u0301", "e\u0301\u0302", "\u200b", "a\u200b", "([{<", "(・", "T_T", ":D ", "a>b", "f(x)=2x+", "πr²", "25-23、",
    "15k-20k", "中aかハ한1", "שלום ", "角(jue2)", "🙆\u200d♀\ufe0f", "138-0013-", "9秒83",
    "3室2厅1卫", "\\frac{1}{", "x**2",
)  # fmt: skip
CALLS_PER_CHARACTER = 300  # jieba's own model makes 4,500 for 年


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    frontend = Frontend()
    frontend.segments("你好 hello, こんにちは1, 안녕1, 1+1=2", "zh", "v2", "cut0")
    return frontend


def _calls(frontend: Frontend, text: str) -> int:
    """Calls of functions, built-in ones and steps of generators included."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with contextlib.suppress(InvalidRequestError):  # nothing to read
            frontend.segments(text, "zh", "v2", "cut0")
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("unit", ["儿", "年", "的", "地", "得", "了", "٣", "1-", "1+", "²", "一", "儿儿三", *MADE_UP])
def test_a_character_takes_few_steps_however_often_it_stands(frontend: Frontend, unit: str) -> None:
    text = unit * (1_000 // len(unit))
    assert _calls(frontend, text) < CALLS_PER_CHARACTER * 1_000


UNITS = (
    "a",
    "1",
    "1-",
    "1,",
    "1:",
    "a.",
    "a-",
    "a@",
    "(",
    "-",
    "~",
    "/",
    "12:30 ",
    "'",
    "$",
    " ",
    "[",
    "http://a",
    "好",
    "\t",
    "|",
    "T_",
    "(・",
    "^",
    "_",
    "<a",
    "&",
    "{",
    "\\frac{1}{",
    "\u0301",
    "\u200b",
    "שלום ",
)


@pytest.mark.parametrize("unit", UNITS)
def test_a_long_text_is_split_in_time_that_grows_as_it_does(unit: str) -> None:
    """Four times the text takes about four times the processor's time, where quadratic work takes sixteen.

    What reads a fragment need not be looked at: fragments are bounded.
    """

    def processor_time_s(text: str) -> float:
        start = time.thread_time()
        words = without_markup(without_faces(Spoken.of(text)), "。")
        fragments = presegment(protect(words), "zh", "cut0")
        taken = time.thread_time() - start
        assert all(len(fragment) <= FRAGMENT_LIMIT_CHARACTERS + 1 for fragment in fragments)
        return taken

    short = unit * (20_000 // len(unit))
    once = min(processor_time_s(short) for _ in range(3))
    assert min(processor_time_s(short * 4) for _ in range(3)) < 8 * max(once, 0.01)


def test_the_model_finds_what_jieba_finds() -> None:
    tables = (
        jieba.posseg.char_state_tab_P,
        jieba.posseg.start_P,
        jieba.posseg.trans_P,
        jieba.posseg.emit_P,
    )
    model = HiddenMarkovModel(*tables)
    draw = random.Random(1)
    common = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生儿㐀𠮷"
    characters = sorted(tables[0])
    for _ in range(150):
        text = "".join(draw.choice(draw.choice((common, characters))) for _ in range(draw.choice((1, 2, 5, 12))))
        assert model.states(text) == viterbi(text, *tables)[1], text
