"""Read a file of any of the formats that jobs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from markdown_it import MarkdownIt

from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Document
from sovits_service.jobs.reading.epub import read_epub
from sovits_service.jobs.reading.html import read_html
from sovits_service.jobs.reading.plain import decode, read_text
from sovits_service.jobs.reading.roles import read_lines
from sovits_service.jobs.reading.subtitle_file import read_subtitles

_READERS: dict[str, Callable[[str], Document]] = {
    "txt": read_text,
    "md": lambda text: read_html(MarkdownIt("commonmark").enable("table").render(text)),
    "html": read_html,
    "srt": read_subtitles,
    "vtt": read_subtitles,
    "jsonl": read_lines,
}
FILE_TYPES = (*_READERS, "epub")
_OTHER_NAMES = {"markdown": "md", "htm": "html", "xhtml": "html", "text": "txt", "ndjson": "jsonl"}


def read_document(
    data: bytes, *, name: str = "", kind: str = "", encoding: str = "", max_characters: int = 10**9
) -> Document:
    """The chapters and lines of a file.

    Args:
        name: of the file, whose ending tells its type where `kind` is empty.
        kind: one of `FILE_TYPES`.
        encoding: of its text, as for `decode`; an epub has its own, and so may a page.
        max_characters: of what is read. A file with twice as many is refused before it is parsed.

    Raises:
        InvalidRequestError: the type is not known, or the file is damaged, too large, protected or empty.
    """
    kind = (kind or PurePath(name).suffix.removeprefix(".") or "txt").lower()
    kind = _OTHER_NAMES.get(kind, kind)
    if kind == "epub":
        return read_epub(data)
    if kind not in _READERS:
        raise InvalidRequestError(f"the type of the file is not known: it can be {', '.join(FILE_TYPES)}")
    if kind == "html" and not encoding:
        return read_html(data)
    text = decode(data, encoding)
    if len(text) > 2 * max_characters:  # markup and times are not read
        raise InvalidRequestError(
            f"the file has {len(text):,} characters; at most {max_characters:,} are accepted: send it as several jobs"
        )
    return _READERS[kind](text)
