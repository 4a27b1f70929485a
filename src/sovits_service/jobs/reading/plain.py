"""Plain text: paragraphs are lines, and headings of chapters are told by their wording."""

from __future__ import annotations

import codecs
import re

from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, with_words

ENCODINGS = ("utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp949", "latin-1", "cp1252")
_MAX_HEADING_CHARACTERS = 60
_NUMBER = r"[0-9０-９〇零一二三四五六七八九十百千两IVXLC]+"
_HEADING = re.compile(
    rf"""
    第\s*{_NUMBER}\s*[章回节節卷部话話幕篇]
    |제\s*[0-9]+\s*[장화부권]
    |(?i:chapter|part|book)\s+(?:[0-9]+|[IVXLC]+|(?i:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve))\b
    |(?i:prologue|epilogue)\s*$
    |(?:序章?|楔子|引子|尾声|后记|後記|终章|終章|プロローグ|エピローグ)\s*$
    """,
    re.VERBOSE,
)


def decode(data: bytes, encoding: str = "") -> str:
    """The text of a file.

    Args:
        encoding: one of `ENCODINGS`; empty is UTF-8, or UTF-16 where the file begins with its mark.

    Raises:
        InvalidRequestError: the file is not in that encoding.
    """
    name = encoding.strip().lower() or ("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8")
    name = {"utf8": "utf-8", "gbk": "gb18030", "gb2312": "gb18030", "sjis": "shift_jis"}.get(name, name)
    if name not in ENCODINGS:
        raise InvalidRequestError(f"encoding is not known; it can be {', '.join(ENCODINGS)}")
    try:
        text = data.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError:
        raise InvalidRequestError(
            f"the file is not text in {name}: send its encoding, as gb18030 or shift_jis, or convert it to UTF-8"
        ) from None
    if "\0" in text:
        raise InvalidRequestError("the file is not text: its type must be one of those that docs/jobs.md lists")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(text: str) -> Document:
    """Each line with words is one of the document. A line of at most 60 characters that is worded as a heading
    (第三章, Chapter 3) begins a chapter, and is read out as its first line.

    Raises:
        InvalidRequestError: there is nothing to read.
    """
    title = ""
    lines: list[Line] = []
    chapters: list[Chapter] = []
    for paragraph in filter(None, map(str.strip, text.split("\n"))):
        if len(paragraph) <= _MAX_HEADING_CHARACTERS and _HEADING.match(paragraph):
            chapters.append(Chapter(title, tuple(lines)))
            title, lines = paragraph, []
        lines.append(Line(paragraph))
    chapters.append(Chapter(title, tuple(lines)))
    return Document(with_words(chapters))
