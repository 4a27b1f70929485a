"""Clean up typed text: no markup, nothing invisible, one form of each quote, dash and letter."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

# Before NFKC, which would turn a square into a 2 and a half into 1/2 glued to its whole number.
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUPERSCRIPT_RUN = LazyPattern(r"(?<=[A-Za-z0-9)])[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+")
_UNIT_POWER = LazyPattern(r"(?<![A-Za-z])((?:[kcmµμn]?m|in|ft|yd|mi)|s)([²³])", needs="²³")
_VULGAR_FRACTION = LazyPattern(r"(?<=\d)\s?(?=[¼½¾⅐-⅞])")

_CHARACTERS = {
    **dict.fromkeys("‘’‚‛´`ʼʻ＇′", "'"),
    **dict.fromkeys("“”„‟«»‹›″「」『』《》〈〉【】〔〕", '"'),
    **dict.fromkeys("‐‑⁃", "-"),
    "\u2212": "-", "。": ". ", "、": ", ", "，": ", ", "；": "; ", "！": "! ", "？": "? ", "…": "... ", "⋯": "... ",
    "⁄": "/", "∕": "/", "·": " ", "•": ", ", "‣": ", ", "●": ", ", "▪": ", ", "◦": ", ", "♥": "❤", "™": "",
    "®": "", "×": " × ", "÷": " ÷ ", "ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "Oe",
    "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "Þ": "Th", "ı": "i",
}  # fmt: skip
_SIGNS = {
    "≈": " is about ", "≠": " does not equal ", "≤": " is at most ", "≥": " is at least ", "±": " plus or minus ",
    "∞": " infinity ", "√": " the square root of ", "∑": " the sum of ", "→": " to ", "⇒": " implies ",
    "←": " from ", "↔": " to and from ", "↑": " up ", "↓": " down ", "✓": " check ", "✔": " check ",
    "§": " section ", "©": " copyright ", "№": " number ", "Ω": " ohms ", "‰": " per thousand ",
}  # fmt: skip
_OHM_PREFIX = {"": "", "k": "kil", "K": "kil", "M": "meg"}
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi
        chi psi omega""".split(),  # noqa: SIM905
        strict=True,
    )
)
_GREEK_LETTER = LazyPattern(r"(?<![\u0370-\u03ff])[\u0391-\u03c9](?![\u0370-\u03ff])")
_TRANSLATION = str.maketrans(_CHARACTERS | _SIGNS)

_WIDE_SPACE = LazyPattern(r"[ \t]{2,}")
_MICRO = LazyPattern(r"[0-9][ ]?[µμ]", needs="µμ")
_OHMS = LazyPattern(r"(?<=\d) ?([kKM]?)[\u03a9\u2126]", needs="ΩΩ")
_LINE_END = LazyPattern(r"[ \t]*(?:\r\n?|\n)\s*", needs="\n\r")
_WIDE_COMMA = LazyPattern(r"(?<=\d)，(?=\d{3})", needs="，")
_NUMERAL = LazyPattern(r"[\u2160-\u216f\u2170-\u217f\u2460-\u2473\u2776-\u2793]")  # Roman and circled
_HEART = LazyPattern(r"(?<=\w) ?[❤♥] ?(?=\w)", needs="♥❤")
_STAR_RATING = LazyPattern(r"(?<=\d) ?[★⭐]", needs="★⭐")
_OPEN_QUOTE = LazyPattern(r"(?<!\w)[‘‛]([^‘’‛\n]{1,200}?)’(?!\w)", needs="’")
_DASH = LazyPattern(r"[ \t]*(?:[—―⸺]+|(?<=\s)[–](?=\s)|(?<=[^\W\d])-{2,3}(?=[^\W\d]))[ \t]*", needs="-–—―⸺")
_DASH_OF_DATES = LazyPattern(
    r"(?<=\b[12]\d{3}) ?[–—-] ?(?=\d{1,2}(?:st|nd|rd|th)? [A-Z][a-z]{2}|[A-Z][a-z]{2,8}\.? \d)", needs="12"
)
_SPACED_HYPHEN = LazyPattern(r"(?<=[A-Za-z'\")\].!?]{2}) +-{1,3} +(?=[A-Za-z'\"(])", needs="-")


def plain_text(text: Spoken) -> Spoken:
    """Typed text without markup and invisible characters, with ASCII punctuation where there is any."""
    text = text.sub(_WIDE_SPACE, " ").each(_visible)
    text = text.sub(_OPEN_QUOTE, r'"\1"')
    text = text.sub(_DASH_OF_DATES, " to ").sub(_DASH, ", ").replace("–", "-")
    text = text.sub(_SPACED_HYPHEN, ", ")
    text = text.replace("㎡", "m²").replace("㎥", "m³")
    text = text.sub(_UNIT_POWER, lambda m: {"²": "sq", "³": "cu"}[m[2]] + m[1] if m[1] != "s" else m[1] + "^" + "2")
    text = text.sub(_SUPERSCRIPT_RUN, lambda m: "^" + m[0].translate(_SUPERSCRIPT))
    text = text.sub(_VULGAR_FRACTION, " and ")
    text = text.sub(_WIDE_COMMA, ",")
    text = text.sub(_NUMERAL, lambda m: f" {unicodedata.numeric(m[0]):.0f} ")
    text = text.sub(_HEART, " love ")
    text = text.sub(_STAR_RATING, " stars ")
    text = text.replace("µ", "u").replace("μ", "u") if _MICRO.search(text.text) else text
    text = text.sub(_OHMS, lambda m: f" {_OHM_PREFIX[m[1]]}ohms")
    text = text.sub(_GREEK_LETTER, _name_greek)
    text = text.translate(_TRANSLATION).normalized("NFKC").translate(_TRANSLATION)
    return text.strip().sub(_LINE_END, _end_line)


def strip_accents(text: Spoken) -> Spoken:
    """Letters without their marks."""
    return text.each(_without_accents)


@lru_cache(maxsize=4096)
def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _is_invisible(character: str) -> bool:
    """Controls, formats (soft hyphens, joiners, direction marks), variation selectors, surrogates and private use."""
    if character in "\n\r\t\u2028\u2029":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") or "\ufe00" <= character <= "\ufe0f"


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character in "\t\u2028\u2029":
        return " "
    return "" if _is_invisible(character) else character


def _name_greek(match: re.Match[str]) -> str:
    name = _GREEK.get(_without_accents(match[0]).lower())
    return f" {name} " if name else match[0]


def _end_line(match: re.Match[str]) -> str:
    """A line that ends without punctuation ends a sentence."""
    before = match.string[match.start() - 1] if match.start() else "."
    return " " if before in ".!?,;:…" else ". "
