"""Write subtitle files: SubRip, WebVTT or LRC."""

from __future__ import annotations

from collections.abc import Sequence

from sovits_service.types import TimedText

SUBTITLE_FORMATS = ("srt", "vtt", "lrc")


def write_subtitles(cues: Sequence[TimedText], form: str) -> str:
    """The text of a subtitle file, a cue for each fragment of the speech.

    Args:
        form: one of `SUBTITLE_FORMATS`.
    """
    if form == "lrc":  # of which no library that is kept up writes anything but what it has read
        return "".join(f"[{_lrc_time(cue.start_s)}]{' '.join(cue.text.split())}\n" for cue in cues)
    from pysubs2 import SSAEvent, SSAFile

    subtitles = SSAFile()
    for cue in cues:
        event = SSAEvent(round(cue.start_s * 1000), round(cue.end_s * 1000))
        event.plaintext = " ".join(cue.text.split())
        subtitles.append(event)
    return str(subtitles.to_string(form))


def _lrc_time(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
