"""The front end as the service uses it: modes, pauses, short texts, errors, and any text at all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sovits_service.errors import InvalidRequestError, MissingExtraError
from sovits_service.text import frontend as frontend_module
from sovits_service.text.frontend import SUPPORTED_LANGUAGES, Frontend
from sovits_service.text.symbols import phoneme_ids, symbol_ids
from sovits_service.types import Segment, SplitMethod
from tests.unit.text.golden_rows import is_read_better

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "text" / "public.jsonl"
PIPELINE = [
    row for line in GOLDEN.read_text(encoding="utf-8").splitlines() if (row := json.loads(line))["kind"] == "pipeline"
]


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _names(segment: Segment) -> list[str]:
    names = {i: name for name, i in symbol_ids("v2").items()}
    return [names[i] for i in segment.phoneme_ids]


def test_symbol_sets_are_those_of_the_weights() -> None:
    assert (len(symbol_ids("v1")), len(symbol_ids("v2"))) == (322, 732)
    assert symbol_ids("v1")["!"] == symbol_ids("v2")["!"] == 0


def test_an_unknown_phoneme_is_unk() -> None:
    assert phoneme_ids(["nonsense"], "v1") == (symbol_ids("v1")["UNK"],)


@pytest.mark.parametrize("row", PIPELINE, ids=lambda row: f"{row['mode']} {row['text'][:20]}")
def test_whole_texts_are_read_as_the_original_does(frontend: Frontend, row: dict[str, Any]) -> None:
    try:
        segments = frontend.segments(row["text"], row["mode"], row["version"], row["method"])
    except InvalidRequestError:
        segments = []
    same = [list(segment.phoneme_ids) for segment in segments] == [item["phone_ids"] for item in row["items"]]
    assert same or is_read_better(row)


def test_better_rows_are_tens_not_hundreds() -> None:
    lines = (Path(__file__).parent / "better_readings.tsv").read_text(encoding="utf-8").splitlines()[1:]
    clean = [line for line in lines if line.startswith(("clean\t", "pipeline\t", "preseg\t"))]
    assert len(clean) < 100
    assert all(len(line.split("\t")) == 4 and line.split("\t")[3] for line in lines)


@pytest.mark.parametrize("language", ["ZH", "Zh", "zh", "ALL_ZH", "Auto"])
def test_languages_are_accepted_in_any_case(frontend: Frontend, language: str) -> None:
    assert frontend.segments("今天天气很好", language, "v2", "cut0")[0].norm_text == "今天天气很好."


@pytest.mark.parametrize(
    ("language", "symbols"), [("yue", "v1"), ("ko", "v1"), ("auto_yue", "v1"), ("fr", "v2"), ("", "v2")]
)
def test_an_unknown_language_is_refused(frontend: Frontend, language: str, symbols: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not supported in version"):
        frontend.segments("你好", language, symbols, "cut5")


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "。", "😀😀", "(≧▽≦)/", "、、、", "\u200b\u00ad", "[pause:1]", "\ud800", "ⵣ"]
)
@pytest.mark.parametrize("language", ["auto", "zh", "en", "ja"])
def test_nothing_to_read_is_an_error(frontend: Frontend, text: str, language: str) -> None:
    with pytest.raises(InvalidRequestError, match="nothing to read"):
        frontend.segments(text, language, "v2", "cut5")
    with pytest.raises(InvalidRequestError, match="nothing to read"):
        frontend.transcript(text, language, "v2")


def test_very_short_texts_get_a_dot_in_front(frontend: Frontend) -> None:
    (segment,) = frontend.segments("好", "zh", "v2", "cut5")
    assert _names(segment) == [".", "h", "ao3", "."]


def test_words_of_other_languages_keep_their_language(frontend: Frontend) -> None:
    (segment,) = frontend.segments("我在GitHub上写ありがとう和감사합니다", "auto", "v2", "cut0")
    assert [run.language for run in segment.runs] == ["zh", "en", "zh", "ja", "zh", "ko"]


def test_only_chinese_runs_have_word2ph(frontend: Frontend) -> None:
    (segment,) = frontend.segments("今天的API很好用", "zh", "v2", "cut0")
    for run in segment.runs:
        if run.language == "zh":
            assert run.word2ph is not None
            assert (len(run.word2ph), sum(run.word2ph)) == (len(run.norm_text), len(run.phoneme_ids))
        else:
            assert run.word2ph is None


def test_letters_of_a_formula_are_read_in_english(frontend: Frontend) -> None:
    (segment,) = frontend.segments("公式x²+y²=z²", "zh", "v2", "cut0")
    assert [(run.language, run.norm_text.strip()) for run in segment.runs][:3] == [
        ("zh", "公式"),
        ("en", "x"),
        ("zh", "的二次方加"),
    ]


def test_v1_drops_korean_and_counts_it(frontend: Frontend) -> None:
    (segment,) = frontend.segments("她的名字是김민지", "auto", "v1", "cut0")
    assert segment.norm_text == "她的名字是"
    assert segment.dropped_characters == 3


def test_what_cannot_be_read_is_counted(frontend: Frontend) -> None:
    (segment,) = frontend.segments("Привет，你好啊朋友", "zh", "v2", "cut0")
    assert segment.dropped_characters == 6


def test_letters_of_fragments_that_say_nothing_are_counted(frontend: Frontend) -> None:
    segments = frontend.segments("Привет друзья。今天天气很好。Пока друзья。", "zh", "v2", "cut5")
    assert [segment.norm_text for segment in segments] == ["今天天气很好."]
    assert sum(segment.dropped_characters for segment in segments) == 22


def test_a_written_reading_in_cantonese(frontend: Frontend) -> None:
    plain = frontend.segments("呢個角色好好", "yue", "v2", "cut0")
    marked = frontend.segments("呢個角(gok3)色好好", "yue", "v2", "cut0")
    other = frontend.segments("呢個角(luk6)色好好", "yue", "v2", "cut0")
    assert [segment.phoneme_ids for segment in marked] == [segment.phoneme_ids for segment in plain]
    assert other[0].phoneme_ids != plain[0].phoneme_ids
    assert len(other[0].phoneme_ids) == len(plain[0].phoneme_ids)


@pytest.mark.parametrize(
    ("text", "pauses"),
    [
        ("今天天气很好[pause:0.5]我们去公园", [0.5, None]),
        ("今天天气很好[PAUSE: 2s]我们去公园", [2.0, None]),
        ("今天天气很好[pause:0.5][pause:0.7]我们去公园", [1.2, None]),
        ("[pause:1]今天天气很好", [None]),
        ("今天天气很好[pause:1]", [1.0]),
        ("今天天气很好[pause:9999]我们去公园", [10.0, None]),
        ("今天天气很好[pause:x]", [None]),
    ],
)
def test_written_pauses(frontend: Frontend, text: str, pauses: list[float | None]) -> None:
    segments = frontend.segments(text, "zh", "v2", "cut0")
    assert [segment.pause_s for segment in segments] == [pytest.approx(pause) for pause in pauses]


def test_a_transcript_is_one_segment(frontend: Frontend) -> None:
    segment = frontend.transcript("今天天气很好。我们去公园吧", "zh", "v2")
    assert segment.norm_text == "今天天气很好.我们去公园吧."


def test_a_long_text_without_marks_is_cut_for_bert(frontend: Frontend) -> None:
    segments = frontend.segments("3" * 400 + "一个很长的句子" * 200, "zh", "v2", "cut0")
    assert all(len(run.norm_text) <= 510 for segment in segments for run in segment.runs)


def test_a_missing_extra_is_told_in_auto_and_dropped_in_zh(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(language: str, lexicon: object) -> object:
        raise MissingExtraError(f"install the extra {language}")

    monkeypatch.setattr(frontend_module, "make_reader", missing)
    frontend = Frontend()
    with pytest.raises(MissingExtraError, match="extra ja"):
        frontend.segments("老师说ありがとう", "auto", "v2", "cut0")
    (segment,) = frontend.segments("老师说ありがとう", "zh", "v2", "cut0")
    assert (segment.norm_text, segment.dropped_characters) == ("老师说", 5)


def test_threads_get_the_same_readings() -> None:
    frontend = Frontend()
    texts = ["今天天气很好，我们去公园玩。", "The quick brown fox jumps.", "银行行长在重庆长大。"] * 4

    def read(text: str) -> list[Segment]:
        return frontend.segments(text, "auto", "v2", "cut5")

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, texts))
    assert together == [read(text) for text in texts]


SCRIPTS = st.one_of(
    st.text(st.characters(), max_size=60),
    st.text(
        st.sampled_from(
            "你好，。ABCabc 123ひらカタ漢字한국어€￥$%.:-/()[]{}<>\n\t😀\u200d\ufe0f\u00ad\ud83d角(jue2)色[pause:1]"
        ),
        max_size=60,
    ),
    st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=40),
    st.text(st.characters(min_codepoint=0x3040, max_codepoint=0x30FF), max_size=40),
    st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=40),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SCRIPTS, st.sampled_from(SUPPORTED_LANGUAGES["v2"]), st.sampled_from(get_args(SplitMethod)))
def test_any_text_is_read_or_refused(frontend: Frontend, text: str, language: str, split: SplitMethod) -> None:
    try:
        segments = frontend.segments(text, language, "v2", split)
    except InvalidRequestError:
        return
    assert segments
    assert all(segment.phoneme_ids for segment in segments)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SCRIPTS, st.sampled_from(SUPPORTED_LANGUAGES["v1"]))
def test_any_text_is_read_or_refused_in_v1(frontend: Frontend, text: str, language: str) -> None:
    try:
        segments = frontend.segments(text, language, "v1", "cut5")
    except InvalidRequestError:
        return
    assert all(i < 322 for segment in segments for i in segment.phoneme_ids)


@pytest.mark.parametrize(
    "unit", ["好", "a", "1", "あ", "한", "。", " ", "(", "1,", "ab.", "!?", "角(jue2)", "[pause:1]x", "http://a"]
)
def test_a_long_repetition_is_read_or_refused(frontend: Frontend, unit: str) -> None:
    try:
        segments = frontend.segments(unit * (5000 // len(unit)), "auto", "v2", "cut5")
    except InvalidRequestError:
        return
    assert segments
