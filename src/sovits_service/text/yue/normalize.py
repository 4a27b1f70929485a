"""Cantonese text normalisation: numbers, units, dates and signs in Chinese characters."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.yue import kinds
from sovits_service.text.yue.numerals import digit_by_digit
from sovits_service.text.yue.tables import GREEK, LATIN_WORDS, LETTER_NAMES

_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF10, 0xFF5B) if chr(code - 0xFEE0).isalnum()},
    **{ord(char): plain for char, plain in zip("　％＋－＝／＄＃＆＜＞", " %+-=/$#&<>", strict=True)},
    **{ord(char): "~" for char in "～〜∼"},
    **{ord(char): "-" for char in "−‐‑‒–"},
    0x2236: ":",
    0x2109: "°F",
}
_MARKS = {
    "：": ",", "；": ",", "，": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "、": ",", "—": "-",
    "～": "-", "~": "-", ":": ",", ";": ",", "…": "…", "⋯": "…", "!": "!", "?": "?", ".": ".", ",": ",", "-": "-",
    "﹐": ",", "．": ".",
}  # fmt: skip

_LONG = re.compile(r"\d{21,}")  # beyond any scale: digit by digit
_ADDRESS = re.compile(r"https?://[!-~]+|www\.[!-~]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_HEA = re.compile(r"(?<![A-Za-z])hea(?![A-Za-z])", re.IGNORECASE)
_SIGN_WORDS = {**GREEK, "&": "同", "№": "號", "℃": "度", "±": "正負", "√": "開方", "²": "平方", "³": "立方", "×": "乘"}
_HYPHENS = re.compile("-{2,}")


def normalize(text: Spoken) -> tuple[Spoken, list[Span]]:
    """Write a text out as it is spoken.

    Returns:
        Han characters, Latin capitals and `! ? … , . -` only, and the places of letters and numerals that were dropped.
    """
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0])).sub(_ADDRESS, _address)
    text = kinds.read(text.sub(_HEA, lambda match: LATIN_WORDS[match[0].lower()]))
    dropped: list[Span] = []
    text = text.replace("...", "…")
    for char, span in text.characters():
        if not _said(char) and unicodedata.category(char)[0] in "LN":
            dropped.append(span)
    return text.each(_said).sub(_HYPHENS, "-"), dropped


def _said(char: str) -> str:
    if is_han(char):
        return char
    if char in _MARKS:
        return _MARKS[char]
    if char in _SIGN_WORDS:
        return _SIGN_WORDS[char]
    return char.upper() if char.upper() in LETTER_NAMES else ""


def is_han(char: str) -> bool:
    return (
        "一" <= char <= "鿿"
        or "㐀" <= char <= "䶿"
        or "\U00020000" <= char <= "\U000323af"
        or "豈" <= char <= "\ufaff"
        or char == "々"
        or char == "〇"
    )


def fold(text: Spoken) -> Spoken:
    """One form for letters that Unicode writes in several: full width, squared units, circled numbers; no controls."""
    return text.normalized("NFC").translate(_FOLDED).each(_fold)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    if "\u3300" <= char <= "\u33ff" or "\u2460" <= char <= "\u2473" or "\u2160" <= char <= "\u217b":
        plain = unicodedata.normalize("NFKC", char)
        value = unicodedata.numeric(char, None)
        return f"{value:.0f}" if value is not None and not plain.isdecimal() else plain
    if char in "¼½¾⅓⅔⅛":
        return " " + unicodedata.normalize("NFKC", char).replace("⁄", "/")
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "\n" or not unicodedata.category(char).startswith(("C", "M")):
        return " " if char.isspace() and char != "\n" else char
    return ""


def _address(match: re.Match[str]) -> str:
    """Its letters are spelt, its digits read one by one and its dots said."""
    return re.sub(r"\d+", lambda part: digit_by_digit(part[0]), match[0]).replace(".", "點")
