"""Language runs: nothing is lost, kana decide for Japanese, Han alone never does."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits_service.text.frontend import SUPPORTED_LANGUAGES
from sovits_service.text.langid import is_japanese, language_runs
from tests.unit.text.golden_rows import is_read_better

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "text" / "public.jsonl"


def _runs(text: str, mode: str) -> list[tuple[str, str]]:
    return [(run.language, run.text) for run in language_runs(text, mode)]


def test_runs_equal_the_original_where_it_is_right() -> None:
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["kind"] == "langseg"]
    differing = [
        row
        for row in rows
        if _runs(row["text"], row["mode"]) != [(part["lang"], part["text"]) for part in row["segments"]]
    ]
    assert not [row["text"] for row in differing if not is_read_better(row)]
    assert len({row["text"] for row in differing}) < 40
    assert len(differing) < len(rows) / 4


@pytest.mark.parametrize(
    ("text", "mode", "runs"),
    [
        ("大江东去，浪淘尽", "auto", [("zh", "大江东去，浪淘尽")]),
        ("東京都の天気", "auto", [("ja", "東京都の天気")]),
        ("東京", "auto", [("zh", "東京")]),
        ("円滑化検討会", "auto", [("ja", "円滑化検討会")]),
        ("老师说ありがとう", "auto", [("zh", "老师说"), ("ja", "ありがとう")]),
        ("老师说ありがとう", "all_zh", [("zh", "老师说ありがとう")]),
        ("我买了25kg大米", "zh", [("zh", "我买了25kg大米")]),
        ("单价5元/kg", "auto", [("zh", "单价5元/kg")]),
        ("第IV章", "zh", [("zh", "第IV章")]),
        ("用3D打印", "auto", [("zh", "用3"), ("en", "D"), ("zh", "打印")]),
        ("MP3播放器", "auto", [("zh", "MP3播放器")]),
        ("发邮件到a.b@c.com吧", "auto", [("zh", "发邮件到"), ("en", "a.b@c.com"), ("zh", "吧")]),
        ("角(jue2)色", "zh", [("zh", "角(jue2)色")]),
        ("你好한국", "auto_yue", [("yue", "你好"), ("ko", "한국")]),
        ("Привет，你好", "auto", [("zh", "Привет，你好")]),
        ("3.14 is pi", "auto", [("en", "3.14 is pi")]),
        ("12345", "auto", [("zh", "12345")]),
        ("…", "ja", [("ja", "…")]),
        (
            "他喜欢看アニメ，尤其是ワンピース",
            "auto",
            [("zh", "他喜欢看"), ("ja", "アニメ，"), ("zh", "尤其是"), ("ja", "ワンピース")],
        ),
        ("买3送1，only 99元", "zh", [("zh", "买3送1，"), ("en", "only "), ("zh", "99元")]),
        ("我在上面写ありがとう", "auto", [("zh", "我在上面写"), ("ja", "ありがとう")]),
        ("国際的視野を広げることが目的です", "auto", [("ja", "国際的視野を広げることが目的です")]),
        ("我が国の都市", "auto", [("ja", "我が国の都市")]),
        ("她喜欢の这个字", "auto", [("zh", "她喜欢"), ("ja", "の"), ("zh", "这个字")]),
    ],
)
def test_runs(text: str, mode: str, runs: list[tuple[str, str]]) -> None:
    assert _runs(text, mode) == runs


def test_a_whole_japanese_text_makes_its_kanji_fragments_japanese() -> None:
    assert is_japanese("今日は雨です。明日晴天。")
    assert _runs("明日晴天。", "auto") == [("zh", "明日晴天。")]
    assert [(run.language, run.text) for run in language_runs("明日晴天。", "auto", japanese=True)] == [
        ("ja", "明日晴天。")
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(), st.sampled_from(SUPPORTED_LANGUAGES["v2"]))
def test_no_character_is_lost(text: str, mode: str) -> None:
    runs = language_runs(text, mode)
    assert "".join(run.text for run in runs) == text
    assert all(run.language in {"zh", "en", "ja", "ko", "yue"} for run in runs)
    assert all(before.language != after.language for before, after in pairwise(runs))
