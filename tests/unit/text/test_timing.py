"""Times of phonemes in, words of the text out; and subtitle files."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.subtitles import write_subtitles
from sovits_service.text.timing import TextClock, parts
from sovits_service.types import AudioChunk, PhonemeTimes, Segment, TimedText, Timestamps

RATE_HZ = 1000
FRONTEND = Frontend()


def chunk(seconds: float, segment: Segment | None = None, fragment: int = 0) -> AudioChunk:
    """A chunk whose fragment's phonemes take a token each, where a segment ends with it."""
    samples = np.zeros(round(seconds * RATE_HZ), np.float32)
    if segment is None:
        return AudioChunk(samples, RATE_HZ, is_fragment_end=False, fragment=fragment)
    count = len(segment.phoneme_ids)
    times = PhonemeTimes(tuple(range(count)), tuple(range(1, count + 1)), (0.5,) * count, count)
    return AudioChunk(samples, RATE_HZ, is_fragment_end=True, times=times, fragment=fragment)


def words_of(text: str, language: str, unit: Timestamps) -> list[str]:
    segments = FRONTEND.segments(text, language, "v2", "cut0")
    return [text[part.start : part.end] for segment in segments for part in parts(text, segment, unit)]


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("2024年3月，我们走。", "zh", ["2024年", "3月", "我", "们", "走"]),
        ("I didn't go; well-known, isn't it?", "en", ["I", "didn't", "go", "well-known", "isn't", "it"]),
        ("他用computer写字。", "zh", ["他", "用", "computer", "写", "字"]),
    ],
)
def test_words_are_those_of_the_text(text: str, language: str, words: Sequence[str]) -> None:
    assert words_of(text, language, "word") == words


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今日は、東京へ行きます。", "ja"),
        ("오늘은 날씨가 좋네요.", "ko"),
        ("今日天氣好好。", "yue"),
        ("我买了3本book，共$5。", "auto"),
    ],
)
@pytest.mark.parametrize("unit", ["word", "char", "phoneme"])
def test_every_language_has_parts_in_the_order_of_the_text(text: str, language: str, unit: Timestamps) -> None:
    segments = FRONTEND.segments(text, language, "v2", "cut5")
    found = [part for segment in segments for part in parts(text, segment, unit)]
    assert found
    assert [part.start for part in found] == sorted(part.start for part in found)
    said = {i for part in found for i in range(part.start, part.end)}
    assert {i for i, character in enumerate(text) if character.isalnum()} <= said


def test_words_of_a_script_with_spaces_are_whole() -> None:
    assert words_of("오늘은 날씨가 좋네요.", "ko", "word") == ["오늘은", "날씨가", "좋네요"]


def test_times_start_with_the_answer_and_pass_over_pauses_and_chunks() -> None:
    text = "今天天气很好。我们走吧。"
    segments = FRONTEND.segments(text, "zh", "v2", "cut5")
    assert len(segments) == 2
    clock = TextClock(text, segments, [0.5, 0.0], "char", "v2")
    assert clock.add(chunk(0.4)).words == ()
    first = clock.add(chunk(1.1, segments[0]))
    second = clock.add(chunk(0.9, segments[1], 1))
    assert "".join(word.text for word in (*first.words, *second.words)) == "今天天气很好我们走吧"
    step_s = 1.0 / len(segments[0].phoneme_ids)
    assert first.words[1].start_s == pytest.approx(2 * step_s, abs=0.001)
    assert first.words[-1].end_s <= 1.0
    assert second.words[0].start_s == pytest.approx(1.5)
    assert second.cue is not None
    assert second.cue.text == "我们走吧。"
    assert second.cue.start_s == pytest.approx(1.5)


def test_where_nothing_is_sure_there_are_no_words_but_the_fragment_is_known() -> None:
    text = "今天天气很好。"
    (segment,) = FRONTEND.segments(text, "zh", "v2", "cut0")
    clock = TextClock(text, [segment], [0.2], "word", "v2")
    said = clock.add(AudioChunk(np.zeros(1200, np.float32), RATE_HZ))
    assert said.words == ()
    assert said.cue == TimedText(text, 0, 7, 0.0, 1.0, 0.0)


def test_nothing_is_told_that_was_not_asked_for() -> None:
    (segment,) = FRONTEND.segments("今天天气很好。", "zh", "v2", "cut0")
    given = chunk(1.0, segment)
    assert TextClock("今天天气很好。", [segment], [0.0], "none", "v2").add(given) is given


def test_subtitle_files() -> None:
    cues = [TimedText("你好，\n世界。", 0, 6, 0.5, 61.25, 1.0), TimedText("a {b} <c>", 6, 9, 3661.0, 3662.0, 1.0)]
    srt = write_subtitles(cues, "srt")
    assert "00:00:00,500 --> 00:01:01,250\n你好， 世界。" in srt
    assert "01:01:01,000 --> 01:01:02,000" in srt
    assert write_subtitles(cues, "vtt").startswith("WEBVTT")
    assert write_subtitles(cues, "lrc").splitlines() == ["[00:00.50]你好， 世界。", "[61:01.00]a {b} <c>"]
    assert write_subtitles([], "srt").strip() == ""


@pytest.mark.parametrize(
    "text", ["use {braces}", "{\\an8}top", "C:\\Nice\\hello", "a --> b", "1 < 2 & 3 > 2", "<i>x</i>"]
)
def test_subtitles_keep_every_character(text: str) -> None:
    cues = [TimedText(text, 0, len(text), 0.0, 1.0, 1.0)]
    assert write_subtitles(cues, "srt") == f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n"
    header, block = write_subtitles(cues, "vtt").split("\n\n")
    shown = block.splitlines()[2]
    assert header == "WEBVTT"
    assert not {"<", ">"} & set(shown)  # both mean something in WebVTT
    assert html.unescape(shown) == text
