"""A text as its file has it: chapters with lines, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sovits_service.audio.book import Picture
from sovits_service.errors import InvalidRequestError

_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Line:
    """A paragraph, a line of a subtitle file, or a line of a role.

    Attributes:
        start_s, end_s: when it is shown, where it is of a subtitle file; otherwise None.
        fields: what it asks for beside its text, by the names of `/tts`.
    """

    text: str
    start_s: float | None = None
    end_s: float | None = None
    fields: Mapping[str, object] = field(default_factory=lambda: _NO_FIELDS)


@dataclass(frozen=True, slots=True)
class Chapter:
    """Its title may be empty."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What was read of a file; every chapter has a line, and every line something to read."""

    chapters: tuple[Chapter, ...]
    title: str = ""
    author: str = ""
    cover: Picture | None = None


def read_cover(data: bytes) -> Picture | None:
    """A picture that audio files can hold; None where it is neither PNG nor JPEG."""
    if data.startswith(_PNG):
        return Picture(data, "png")
    return Picture(data, "jpeg") if data.startswith(_JPEG) else None


def with_words(chapters: list[Chapter]) -> tuple[Chapter, ...]:
    """Chapters and lines that have something to read.

    Raises:
        InvalidRequestError: there is none.
    """
    kept = [Chapter(chapter.title, tuple(filter(_has_words, chapter.lines))) for chapter in chapters]
    found = tuple(chapter for chapter in kept if chapter.lines)
    if not found:
        raise InvalidRequestError("the text is empty: there is nothing in it to read")
    return found


def _has_words(line: Line) -> bool:
    return any(character.isalnum() for character in line.text)
