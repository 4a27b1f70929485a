"""What is written alike in every language in, the one form that all readers know out: markup, formulas, separators."""

from __future__ import annotations

import html
import re

from sovits_service.text.spoken import Spoken

_CHARACTER_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")  # as html has it
# In this order. Every pattern is bounded, so that time stays linear.
_MARKUP = (
    (
        re.compile(r"!?\[([^\[\]\n]{0,300})\]\((?=[^()\s]{0,500}[./#])[^()\n]{1,500}\)"),
        r"\1",
    ),  # [text](link), ![alt](image)
    (re.compile(r"</?(?:br|p|div|li|tr|h[1-6]|hr)\b[^<>\n]{0,200}>", re.IGNORECASE), "\n"),
    (re.compile(r"<(?:!--)?/?[A-Za-z][^<>\n]{0,200}>|-->"), " "),
    (re.compile(r"\$(?=[^$\n]{0,200}[=^_\\])([^\s$\d][^$\n]{0,200}?)\$"), r"\1"),  # $E=mc^2$
)
_ELLIPSIS = re.compile(r"(?<=[A-Za-z])\.{3,8}(?=[A-Za-z])")
_EUROPEAN = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d,]|\.\d)")
_RATIO_OF_THOUSANDS = re.compile(r"(?<=\d[:：])(\d{1,3}(?:,\d{3})+)(?![\d,])")


def plain_markup(text: Spoken) -> Spoken:
    """Typed text without tags, links and marks of formulas, its numbers with a point before decimals."""
    if "&" in text.text:
        text = text.sub(_CHARACTER_REFERENCE, lambda match: html.unescape(match[0]))
    for pattern, kept in _MARKUP:
        text = text.sub(pattern, kept)
    text = text.sub(_ELLIPSIS, "... ")
    text = text.sub(_EUROPEAN, lambda match: f"{match[1].replace('.', ',')}.{match[2]}")
    return text.sub(_RATIO_OF_THOUSANDS, lambda match: match[1].replace(",", ""))
