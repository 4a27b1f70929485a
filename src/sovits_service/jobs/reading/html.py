"""HTML and XHTML: blocks are lines, headings begin chapters; what is not read out is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree, html

from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, with_words

_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"),
        *("li", "main", "ol", "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
    }
)
_HEADINGS = frozenset(("h1", "h2"))
_SILENT = frozenset(
    {
        *("audio", "button", "canvas", "head", "iframe", "math", "nav", "noscript", "script", "select", "style"),
        *("svg", "template", "video"),
        *("rp", "rt"),  # readings beside a word, which would be said twice
    }
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of text between two borders of blocks; `is_heading` where it is in an h1 or h2."""

    text: str
    is_heading: bool


def read_html(data: bytes | str) -> Document:
    """The document of a page: an h1 or h2 begins a chapter, and is read out as its first line.

    Raises:
        InvalidRequestError: there is nothing to read.
    """
    root = parse(data)
    title = ""
    lines: list[Line] = []
    chapters: list[Chapter] = []
    for block in blocks(root):
        if block.is_heading:
            chapters.append(Chapter(title, tuple(lines)))
            title, lines = block.text, []
        lines.append(Line(block.text))
    chapters.append(Chapter(title, tuple(lines)))
    name = root.findtext("head/title") or ""
    return Document(with_words(chapters), title=_SPACE.sub(" ", name).strip())


def parse(data: bytes | str) -> html.HtmlElement:
    """The tree of a page; entities that it declares itself are not known to HTML, and stay as they are written.

    Raises:
        InvalidRequestError: it is no page.
    """
    encoding = None if isinstance(data, str) else _declared_encoding(data)
    parser = html.HTMLParser(encoding=encoding, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        raise InvalidRequestError("the text is empty: there is nothing in it to read") from None
    return root


def blocks(root: html.HtmlElement) -> list[Block]:
    """The stretches of text that have something to read, in their order."""
    found: list[Block] = []
    parts: list[str] = []
    silent = headings = 0

    def end_block() -> None:
        text = _SPACE.sub(" ", "".join(parts)).strip()
        parts.clear()
        if any(character.isalnum() for character in text):
            found.append(Block(text, headings > 0))

    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if tag in _BLOCKS:
                end_block()
            silent += tag in _SILENT
            headings += tag in _HEADINGS
            if not silent:
                parts.append(element.text or "")
        else:
            if tag in _BLOCKS:
                end_block()
            silent -= tag in _SILENT
            headings -= tag in _HEADINGS
            if not silent:
                parts.append(element.tail or "")
    end_block()
    return found


def _declared_encoding(data: bytes) -> str | None:
    """UTF-8 where the bytes are, whatever the page says or leaves out; otherwise what libxml2 finds in it."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"
