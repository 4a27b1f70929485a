"""SubRip and WebVTT: each line with the time in which it is shown."""

from __future__ import annotations

import html
import re

import pysubs2
from pysubs2.exceptions import Pysubs2Error

from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, with_words

_LONGEST_S = 24 * 3600.0
_TAG = re.compile(r"\{\\[^{}]*\}|<\d+(?::\d+)+[.,]\d+>")  # commands in braces, and the times of karaoke


def read_subtitles(text: str) -> Document:
    """The lines of a subtitle file by their start; tags and line breaks within them are left out.

    Raises:
        InvalidRequestError: it cannot be read, has nothing to read, or a line without a duration.
    """
    try:
        subtitles = pysubs2.SSAFile.from_string(text)
    except (Pysubs2Error, ValueError, IndexError, KeyError):
        raise InvalidRequestError("the file is no srt or vtt file") from None
    is_vtt = text.lstrip("\ufeff").startswith("WEBVTT")
    lines: list[Line] = []
    for event in sorted(subtitles, key=lambda event: event.start):
        said = _TAG.sub("", event.text).replace("\\N", " ")  # not `plaintext`, which leaves out whatever is in braces
        said = " ".join((html.unescape(said) if is_vtt else said).split())
        if not any(character.isalnum() for character in said):
            continue
        start_s, end_s = event.start / 1000, event.end / 1000
        if end_s <= start_s or end_s > _LONGEST_S:
            raise InvalidRequestError(
                f"line {len(lines) + 1} of the subtitles must end after it starts, within 24 hours"
            )
        lines.append(Line(said, start_s, end_s))
    return Document(with_words([Chapter("", tuple(lines))]))
