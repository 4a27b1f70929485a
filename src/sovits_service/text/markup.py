"""Strip Markdown, HTML, SSML and LaTeX; every line ends in a punctuation mark.

Every pattern is bounded, so that the time is in proportion to the text.
"""

from __future__ import annotations

import re
import unicodedata

from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_CHARACTER_REFERENCE = LazyPattern(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")  # as html has it
_BLOCK = (
    # a fenced block is code, which nobody wants to hear
    (
        LazyPattern(
            r"^[ \t]*(```|~~~)[^\n]{0,100}\n(?:(?![ \t]*\1)[^\n]{0,2000}\n){0,500}[ \t]*\1[ \t]*$", re.MULTILINE
        ),
        "",
    ),
    (LazyPattern(r"^[ \t]*(?:```|~~~)[^\n]{0,100}$", re.MULTILINE), ""),
    (LazyPattern(r"<!--[^<>]{0,1000}-->|<(script|style)\b[^<>]{0,200}>[^<]{0,5000}</\1>", re.IGNORECASE), " "),
    (LazyPattern(r"</?(?:br|p|div|li|tr|h[1-6]|hr|ul|ol|table|blockquote|s)\b[^<>\n]{0,200}>", re.IGNORECASE), "\n"),
    (LazyPattern(r"<break\b[^<>\n]{0,200}>", re.IGNORECASE), "\n"),
    (LazyPattern(r"</t[dh]>", re.IGNORECASE), ", "),
    (LazyPattern(r"</?[A-Za-z][^<>\n]{0,200}>"), " "),
)
# the line under a table's head
_RULED_CELL = r":?-{1,80}:?[ \t]*\|"
_TABLE_RULE = LazyPattern(
    rf"^[ \t]*(?:\|[ \t]*)?{_RULED_CELL}(?:[ \t]*{_RULED_CELL}){{0,49}}(?:[ \t]*:?-{{1,80}}:?)?[ \t]*$", re.MULTILINE
)
_LINES = (
    (LazyPattern(r"^[ \t]*(?:[-*_=][ \t]?){3,}$", re.MULTILINE), ""),  # a rule
    (LazyPattern(r"^[ \t]*(?:#{1,6}[ \t]+|>+[ \t]?|[-*+•·][ \t]+(?:\[[ xX]\][ \t]+)?)", re.MULTILINE), ""),
    (LazyPattern(r"^[ \t]*\|[ \t]*|(?<![ \t])[ \t]*\|[ \t]*$", re.MULTILINE), ""),
)
_CELL = LazyPattern(r"[ \t]*\|[ \t]*")
_TABLE_ROW = LazyPattern(r"^[ \t]*\|[^\n]{1,2000}\|[ \t]*$", re.MULTILINE)
_WITHIN = (
    # [text](link) and ![alt](image)
    (LazyPattern(r"!?\[([^\[\]\n]{0,300})\]\((?=[^()\s]{0,500}[./#])[^()\n]{1,500}\)"), r"\1"),
    (LazyPattern(r"(\*\*|__|~~)(?=\S)([^*_~\n]{1,300}?)(?<=\S)\1"), r"\2"),
    (LazyPattern(r"(?<![\w*])[*_](?=[^\s*_])([^*_\n]{1,300}?)(?<=[^\s*_])[*_](?![\w*])"), r"\1"),
    (LazyPattern(r"(?<!`)`{1,2}([^`\n]{1,300})`{1,2}(?!`)"), r" \1 "),
)
_MARKS_WITHIN = frozenset("[*_~`")
_FORMULA = LazyPattern(
    r"\$\$([^$]{1,500})\$\$|\\\(([^\n]{1,300}?)\\\)|\\\[([^\[\]]{1,300}?)\\\]"
    r"|\$(?=[^$\n]{0,200}[=^_\\+])([^\s$\d][^$\n]{0,200}?)\$|\$(\\[^$\n]{1,200}|[A-Za-z])\$"
)
_FRACTION = LazyPattern(r"\\[dt]?frac\{([^{}]{1,50})\}\{([^{}]{1,50})\}")
_ROOT = LazyPattern(r"\\sqrt\{([^{}]{1,50})\}")
_OPERATION = re.compile(r"[-+=]|\\(?:pm|times|cdot)")
_SUPERSCRIPT = str.maketrans("0123456789nxy+-", "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿˣʸ⁺⁻")
_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "theta", "pi", "rho", "sigma", "tau", "phi", "omega", "mu")
_COMMANDS = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠",
    "ne": "≠", "approx": "≈", "infty": "∞", "sum": "∑", "to": "→", "rightarrow": "→", "angle": "∠", "circ": "°",
    **{name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in _GREEK},
    "lambda": "λ", "Delta": "Δ", "Omega": "Ω",
}  # fmt: skip
_LATEX = (
    (LazyPattern(r"\\(?:text|mathrm|mathbf|mathit|operatorname)\{([^{}]{0,100})\}"), r"\1"),
    (
        LazyPattern(r"\^(?:\{([0-9nxy+-]{1,4})\}|([-+]?[0-9]{1,4}|[nxy]))"),
        lambda match: (match[1] or match[2]).translate(_SUPERSCRIPT),
    ),
    (LazyPattern(r"_\{?(\w{1,20})\}?"), r" \1"),
    (LazyPattern(r"\\([A-Za-z]{1,20})"), lambda match: _COMMANDS.get(match[1], "")),
    (LazyPattern(r"[\\{}]|(?<=\W) | (?=\W)"), ""),
)
_ELLIPSIS = re.compile(r"(?<=[A-Za-z])\.{3,8}(?=[A-Za-z])")
_EUROPEAN = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d,]|\.\d)")
_RATIO_OF_THOUSANDS = re.compile(r"(?<=\d[:：])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_OPEN_LINE = re.compile(r"(?<=[^\s.。!！?？,，;；:：、…~—\-])[ \t]*\n\s*(?=\S)")


def without_markup(text: Spoken, stop: str) -> Spoken:
    """Words and marks alone.

    Args:
        text: what was sent.
        stop: the mark that a line without one ends in.
    """
    if "&" in text.text:
        import html  # its table of names takes longer to import than most texts to read

        text = text.sub(_CHARACTER_REFERENCE.compiled, lambda match: html.unescape(match[0]))
    for pattern, kept in _BLOCK if "<" in text.text or "`" in text.text or "~" in text.text else ():
        text = text.sub(pattern.compiled, kept)
    if "\n" in text.text or text.text[:1] in "#>|*-+•·" or text.text[:1].isspace():
        text = text.sub(_TABLE_RULE.compiled, "")
        text = text.sub(
            _TABLE_ROW.compiled, lambda match: _CELL.compiled.sub(", ", match[0].strip().strip("|").strip())
        )
        for pattern, kept in _LINES:
            text = text.sub(pattern.compiled, kept)
    for pattern, kept in _WITHIN if not _MARKS_WITHIN.isdisjoint(text.text) else ():
        text = text.sub(pattern.compiled, kept)
    if "$" in text.text or "\\" in text.text:
        text = text.sub(_FORMULA.compiled, _formula)
    text = text.sub(_OPEN_LINE, stop + "\n").sub(_ELLIPSIS, "... ")
    text = text.sub(_EUROPEAN, lambda match: f"{match[1].replace('.', ',')}.{match[2]}")
    return text.sub(_RATIO_OF_THOUSANDS, lambda match: match[1].replace(",", ""))


def _fraction(match: re.Match[str]) -> str:
    """A fraction of numbers and letters, or one long quantity divided by another."""
    top, bottom = match.groups()
    return f" {top} ÷ {bottom} " if _OPERATION.search(top, 1) or _OPERATION.search(bottom, 1) else f" {top}/{bottom} "


def _formula(match: re.Match[str]) -> str:
    written = next(group for group in match.groups() if group is not None)
    written = _ROOT.compiled.sub(lambda m: f"√({m[1]})" if _OPERATION.search(m[1], 1) else f"√{m[1]}", written)
    written = _FRACTION.compiled.sub(_fraction, written)
    for pattern, said in _LATEX:
        written = pattern.compiled.sub(said, written)
    return f" {written.strip()} " if written[:1].isalpha() else written
