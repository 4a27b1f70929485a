"""JSON lines: an object each with its text, its voice and other fields of a request."""

from __future__ import annotations

import json

from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, with_words

_NAMES: dict[object, str] = {"voice": "voice_id", "lang": "text_lang"}


def read_lines(text: str) -> Document:
    """Lines of roles; `chapter` in a line begins one of that title.

    Raises:
        InvalidRequestError: a line is not an object with a text, or nothing has anything to read.
    """
    chapters: list[tuple[str, list[Line]]] = [("", [])]
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            raise InvalidRequestError(f"line {number} is not valid JSON") from None
        if not isinstance(values, dict):
            raise InvalidRequestError(f'line {number} must be an object such as {{"text": "...", "voice": "..."}}')
        fields: dict[str, object] = {_NAMES.get(name, str(name)): value for name, value in values.items()}
        said, chapter = fields.pop("text", None), fields.pop("chapter", None)
        if not isinstance(said, str) or not isinstance(chapter, str | None):
            raise InvalidRequestError(f"line {number} needs text, which must be text as chapter must")
        if chapter:
            chapters.append((chapter, []))
        chapters[-1][1].append(Line(said, fields=fields))
    return Document(with_words([Chapter(title, tuple(lines)) for title, lines in chapters]))
