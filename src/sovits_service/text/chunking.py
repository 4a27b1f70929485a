"""Split long texts into pieces that a tagger can take."""

from __future__ import annotations

from collections.abc import Iterator

from sovits_service.text.spoken import Spoken

CHUNK_CHARACTERS = 400
_BREAKS = " \n。．！？!?、，；;：…"


def chunks(text: Spoken, limit: int = CHUNK_CHARACTERS) -> Iterator[Spoken]:
    """Cut a text behind spaces or punctuation where there are any, so that the work per character stays bounded."""
    start = 0
    while len(text) - start > limit:
        end = max(text.text.rfind(mark, start + limit // 2, start + limit) for mark in _BREAKS) + 1
        if end == 0:
            end = start + limit
        yield text[start:end]
        start = end
    yield text[start:]
