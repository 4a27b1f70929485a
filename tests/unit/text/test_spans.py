"""Every sound knows its place in the request's text: through splitting, normalising, numbers, readings of one's own."""

from __future__ import annotations

import re
import unicodedata
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sovits_service.errors import InvalidRequestError
from sovits_service.text.frontend import SUPPORTED_LANGUAGES, Frontend
from sovits_service.text.lexicon import Lexicon
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import PUNCTUATION, symbol_ids
from sovits_service.types import Segment, SplitMethod

_PAUSE = re.compile(r"\[pause:[^\]]*\]")


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _sounds(segments: list[Segment], text: str) -> list[tuple[str, str]]:
    """Phonemes that are no pauses, joined for each place, with what stands there."""
    names = {i: name for name, i in symbol_ids("v2").items()}
    said: list[tuple[tuple[int, int], str]] = []
    for segment in segments:
        for i, span in zip(segment.phoneme_ids, segment.spans, strict=True):
            if names[i] in PUNCTUATION or names[i] in "空[]#_":
                continue
            if said and said[-1][0] == span:
                said[-1] = (span, said[-1][1] + names[i])
            else:
                said.append((span, names[i]))
    return [(text[start:end], sounds) for (start, end), sounds in said]


@pytest.mark.parametrize(
    ("text", "language", "sounds"),
    [
        ("你好。再见", "zh", [("你", "ni2"), ("好", "hao3"), ("再", "zai4"), ("见", "jian4")]),
        ("涨了3%啊", "zh", [("涨", "zhang3"), ("了", "le5"), ("3%", "bai3fen1zhir1san1"), ("啊", "AAa5")]),
        ("这儿", "zh", [("这", "zhe4"), ("儿", "EEer4")]),
        ("角(jue2)色", "zh", [("角(jue2)", "jve2"), ("色", "se4")]),
        ("他說漢語", "zh", [("他", "ta1"), ("說", "shuo1"), ("漢", "han4"), ("語", "yv3")]),
        ("用GPU算", "zh", [("用", "yong4"), ("G", "JHIY1"), ("P", "PIY1"), ("U", "YUW1"), ("算", "suan4")]),
        ("It costs $5 now", "en", [("It", "IH1T"), ("costs", "KAA1STS"), ("$5", "FAY1VDAA1LER0Z"), ("now", "NAW1")]),
        ("a &amp; b", "en", [("a", "AH0"), ("&amp;", "AH0ND"), ("b", "BIY1")]),
        ("café", "en", [("café", "KAH0FEY1")]),
        ("東京で3本", "ja", [("東京", "tookyoo"), ("で", "deUNK"), ("3", "saN"), ("本", "boN")]),
        ("ﾃﾞﾝﾜと", "ja", [("ﾃﾞﾝﾜ", "deNwa"), ("と", "to")]),
        ("한국에 3명", "ko", [("한", "ㅎㅏㄴ"), ("국", "ㄱㅜ"), ("에", "ㄱㅔ"), ("3", "ㅅㅔ"), ("명", "ㅁㅣㅓㅇ")]),
        ("我有3蚊", "yue", [("我", "YngYo5"), ("有", "YjYau5"), ("3", "YsYaam1"), ("蚊", "YmYan1")]),
        ("角(gok3)色", "yue", [("角(gok3)", "YgYok3"), ("色", "YsYik1")]),
    ],
)
def test_sounds_have_the_place_of_what_they_say(
    frontend: Frontend, text: str, language: str, sounds: list[tuple[str, str]]
) -> None:
    assert _sounds(frontend.segments(text, language, "v2", "cut0"), text) == sounds


def test_places_count_from_the_start_of_the_request(frontend: Frontend) -> None:
    text = "今天天气很好。\n[pause:1]我们去公园。Let's go！"
    segments = frontend.segments(text, "zh", "v2", "cut5")
    assert [text[segment.spans[0][0] : segment.spans[-1][1]] for segment in segments] == [
        "今天天气很好。",
        "我们去公园。",
        "Let's go！",
    ]


def test_a_word_of_the_lexicon_has_its_place() -> None:
    frontend = Frontend(lexicon=Lexicon({"en": {"gpt": ("JH", "IY1")}, "zh": {"重重": ("chong2", "chong2")}}))
    assert ("GPT", "JHIY1") in _sounds(frontend.segments("ask GPT now", "en", "v2", "cut0"), "ask GPT now")
    assert _sounds(frontend.segments("重重的", "zh", "v2", "cut0"), "重重的")[0][0] == "重"


@pytest.mark.parametrize(
    ("text", "language", "dropped"),
    [
        ("Привет，你好啊朋友", "zh", ["П", "р", "и", "в", "е", "т"]),
        ("今日はПいい", "ja", ["П"]),
        ("안녕ก하세요", "ko", ["ก"]),
        ("hello 한", "en", ["한"]),
        ("今日係Пя", "yue", ["П", "я"]),
    ],
)
def test_what_is_dropped_is_named_by_its_place(
    frontend: Frontend, text: str, language: str, dropped: list[str]
) -> None:
    segments = frontend.segments(text, language, "v2", "cut0")
    assert [text[start:end] for segment in segments for start, end in segment.dropped] == dropped
    assert sum(segment.dropped_characters for segment in segments) == len(dropped)


WORDS = (
    "你好", "重庆", "银行行长", "一个", "慢慢地", "花儿", "角(jue2)色", "角(gok3)色",
    "hello", "iPhone", "15", "don't", "GPT-4", "café", "naïve", "東京",
    "です", "ありがとう", "3本", "カタカナ", "ﾃﾞﾝﾜ", "っ", "ー", "한국어", "값이", "8시",
    "안녕", "$5", "¥100", "€1.234,56", "3.5%", "-5℃", "2024-01-31",
    "12:30", "1/2", "½", "²", "№5", "Ⅳ", "①", "10km/h", "5kg",
    "1,234", "13812345678", "192.168.1.1", "www.a.com", "a@b.c",
    "(b)", "[c]", "《书》", "…", "—", "-", ",", "。", "!", "\n\n", "-",
    "\t", "[pause:1]", "**x**", "😀", "\u0301", "e\u0301",
    "が", "が", "１２", "ＡＢ", "Привет", "ก", "喺", "嘅", "𠮷", "々", "〇",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).flatmap(
    lambda words: st.sampled_from(["", " ", "，"]).map(lambda between: between.join(words))
)


def _must_be_heard(character: str) -> bool:
    """Letters and figures that some reader of ours knows; others may be dropped without a word."""
    name = unicodedata.name(character, "")
    return character.isalnum() and name.startswith(
        ("CJK UNIFIED", "DIGIT", "LATIN SMALL", "LATIN CAPITAL", "HANGUL S", "HIRAGANA", "KATAKANA LETTER")
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.sampled_from(SUPPORTED_LANGUAGES["v2"]), st.sampled_from(get_args(SplitMethod)))
def test_every_spoken_character_is_covered_in_order(
    frontend: Frontend, text: str, language: str, split: SplitMethod
) -> None:
    try:
        segments = frontend.segments(text, language, "v2", split)
    except InvalidRequestError:
        return
    check_spans(text, segments)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.sampled_from(SUPPORTED_LANGUAGES["v2"]))
def test_spans_are_in_order_in_any_text(frontend: Frontend, text: str, language: str) -> None:
    try:
        segments = frontend.segments(text, language, "v2", "cut5")
    except InvalidRequestError:
        return
    check_spans(text, segments, covered=False)


def check_spans(text: str, segments: list[Segment], *, covered: bool = True) -> None:
    heard: set[int] = set()
    for segment in segments:
        assert len(segment.spans) == len(segment.phoneme_ids)
        assert all(0 <= start <= end <= len(text) for start, end in segment.spans)
        assert list(segment.spans) == sorted(segment.spans)
        for start, end in (*segment.spans, *segment.dropped):
            heard.update(range(start, end))
    if covered:
        written = _PAUSE.sub(lambda mark: " " * len(mark[0]), text)
        lost = [(i, c) for i, c in enumerate(written) if _must_be_heard(c) and i not in heard]
        assert not lost, (text, lost)


@pytest.mark.parametrize(
    ("text", "language"), [("0ⁿ", "zh"), ("0ⁿ", "auto"), ("€1.234,56a@b.c", "all_ko"), ("€1.234,56a@b.c", "ko")]
)
def test_places_never_go_back(frontend: Frontend, text: str, language: str) -> None:
    check_spans(text, frontend.segments(text, language, "v2", "cut0"))


def test_a_replacement_keeps_what_it_shares() -> None:
    text = Spoken.of("约3kg的").sub(re.compile("3kg"), "3千克")
    assert (text.text, text.spans) == ("约3千克的", ((0, 1), (1, 2), (2, 4), (2, 4), (4, 5)))
    shorter = Spoken.of("a1b").sub(re.compile("1b"), "b")
    assert shorter.spans == ((0, 1), (1, 3))
    put_in = Spoken.of("ab").sub(re.compile("(?=b)"), "-")
    assert (put_in.text, put_in.spans) == ("a-b", ((0, 1), (1, 1), (1, 2)))


@given(st.text(max_size=30), st.sampled_from(["NFC", "NFKC"]))
def test_composed_letters_keep_their_place(text: str, form: str) -> None:
    composed = Spoken.of(text).normalized(form)  # type: ignore[arg-type]
    assert composed.text == unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert list(composed.spans) == sorted(composed.spans)


@given(st.text(max_size=30), st.sampled_from([r"\d+", "a*", r"(?<=b)", "[^a]"]), st.sampled_from(["", "x", r"\g<0>y"]))
def test_substitution_is_that_of_re(text: str, pattern: str, words: str) -> None:
    compiled = re.compile(pattern)
    assert Spoken.of(text).sub(compiled, words).text == compiled.sub(words, text)
