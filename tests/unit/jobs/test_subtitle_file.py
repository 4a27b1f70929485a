"""Subtitle files as input: what is said of a line, and what is only how it is shown."""

from __future__ import annotations

import pytest

from sovits_service.jobs.reading.subtitle_file import read_subtitles
from sovits_service.text.subtitles import write_subtitles
from sovits_service.types import TimedText


def said(text: str) -> list[str]:
    return [line.text for chapter in read_subtitles(text).chapters for line in chapter.lines]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("{\\an8}Hello", "Hello"),
        ("<i>Hello</i> <font color='#fff'>you</font>", "Hello you"),
        ("use {braces}", "use {braces}"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
        ("first\nsecond", "first second"),
    ],
)
def test_subrip(shown: str, expected: str) -> None:
    assert said(f"1\n00:00:01,000 --> 00:00:02,000\n{shown}\n") == [expected]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("Tom &amp; Jerry &lt;3", "Tom & Jerry <3"),
        ("<v Roger>Hi <c.loud>you</c>", "Hi you"),
        ("one <00:00:01.500>two", "one two"),
    ],
)
def test_webvtt(shown: str, expected: str) -> None:
    assert said(f"WEBVTT\n\nNOTE nothing\n\n00:01.000 --> 00:02.000 align:start\n{shown}\n") == [expected]


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_what_is_written_is_read_as_it_was(form: str) -> None:
    texts = ["Tom & Jerry", "a {b} c", "你好， 世界。"]
    cues = [TimedText(text, 0, len(text), i + 0.5, i + 1.0, 1.0) for i, text in enumerate(texts)]
    assert said(write_subtitles(cues, form)) == texts
