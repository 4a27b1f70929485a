"""Write subtitle files: SubRip, WebVTT or LRC."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sovits_service.types import TimedText

SUBTITLE_FORMATS = ("srt", "vtt", "lrc")


def write_subtitles(cues: Sequence[TimedText], form: str) -> str:
    """The text of a subtitle file, a cue for each fragment of the speech.

    Args:
        form: one of `SUBTITLE_FORMATS`.
    """
    said = [(cue, " ".join(cue.text.split())) for cue in cues]
    if form == "lrc":
        return "".join(f"[{_lrc_time(cue.start_s)}]{text}\n" for cue, text in said)
    mark = "," if form == "srt" else "."
    times = [f"{_time(cue.start_s, mark)} --> {_time(cue.end_s, mark)}" for cue in cues]
    if form == "vtt":  # SubRip knows no escapes
        said = [(cue, html.escape(text, quote=False)) for cue, text in said]
    blocks = [f"{i}\n{time}\n{text}\n" for i, (time, (_, text)) in enumerate(zip(times, said, strict=True), start=1)]
    return "\n".join(["WEBVTT\n", *blocks] if form == "vtt" else blocks)


def _time(seconds: float, mark: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, thousandths = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{thousandths // 1000:02d}{mark}{thousandths % 1000:03d}"


def _lrc_time(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
