"""Korean text normalisation: numbers, units, dates, signs and Latin words in Hangul."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from sovits_service.text.kinds.units import alternatives
from sovits_service.text.ko import kinds
from sovits_service.text.ko.numerals import digit_by_digit, sino
from sovits_service.text.ko.tables import (
    CHAT_CONSONANTS,
    LATIN_LETTERS,
    LATIN_WORDS,
    NAMED_FIGURES,
    ROMAN,
    SYMBOL_WORDS,
)
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_AREAS = frozenset("㎟㎠㎡㎢㎣㎤㎥㎦")
_POWERS = str.maketrans("23", "²³")
_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    0x3000: " ",
    0x2212: "-",
    0x2013: "~",
    0x301C: "~",
    0x223C: "~",
    0x2236: ":",
    0x2044: "/",
    0x2109: "°F",
}

_LONG = LazyPattern(r"\d{21,}")  # beyond any scale: digit by digit, and first, since every rule would search it
_URL = LazyPattern(r"https?://\S+|(?<![A-Za-z0-9@.])www\.[\w\-./?=&%#]+", re.ASCII, needs=".:")
_EMAIL = LazyPattern(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII, needs="@")
_MARKUP = LazyPattern(r"[*_`#]{2,}|(?<!\w)[*_`]|[*_`](?!\w)|^\s*#+\s+", re.MULTILINE, needs="#*_`")
_WEEKDAYS = LazyPattern(r"(?<![가-힣])([월화수목금토일])\s?~\s?([월화수목금토일])(?![가-힣])", needs="~")
_JOINED = LazyPattern(r"(?<=[A-Za-z])-(?=[\d가-힣])", needs="-")
_AREA = LazyPattern(r"(?<=\d)(\s?[kcm]?m)\^?([23])(?![\d.A-Za-z])", needs="23")
_UNTIL = LazyPattern(r"(?<=[시분일월년원])\s?~\s?(?=[가-힣])", needs="~")
_PLUS = LazyPattern(r"(?<=[A-Za-z+])\+", needs="+")
_NAMED = LazyPattern(rf"(?<![\d+])(?:{alternatives(NAMED_FIGURES)})(?!\s?=|[\d.,])", needs="+7CH올일코")
_CHAT = LazyPattern(r"[ㅋㅎㅇㄴㄱㄷㅊㅅㅂ]{2,}|[ㅠㅜ]+")
_LATIN = LazyPattern(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*\d*|\d[A-Za-z]\b")
_LATIN_LETTER = LazyPattern(r"[A-Za-z]")


def normalize(text: Spoken) -> Spoken:
    """Write a text out as it is spoken; what has no rule is left as it is."""
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0]))
    text = text.sub(_URL, lambda match: _spell_address(match[0]))
    text = text.sub(_EMAIL, lambda match: _spell_address(match[0].replace("@", "골뱅이")))
    text = text.sub(_MARKUP, "")
    for pattern, speak in _BEFORE:
        text = text.sub(pattern, speak)
    text = kinds.read(text)
    for pattern, speak in _AFTER:
        text = text.sub(pattern, speak)
    for sign, word in SYMBOL_WORDS.items():
        text = text.replace(sign, word)
    return text.sub(_LATIN_LETTER, lambda match: LATIN_LETTERS[match[0].lower()])


def fold(text: Spoken) -> Spoken:
    """One form for letters that Unicode writes in several: full width, squared units, separate jamo; no controls."""
    return text.normalized("NFC").translate(_FOLDED).each(_fold)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    if "\u3300" <= char <= "\u33ff" or "\u2460" <= char <= "\u2473":
        if char < "\u3300":
            return unicodedata.normalize("NFKC", char) + " "
        return (
            unicodedata.normalize("NFKC", char).translate(_POWERS)
            if char in _AREAS
            else unicodedata.normalize("NFKC", char)
        )
    if char in "¼½¾" or "⅐" <= char <= "⅞":
        return " " + unicodedata.normalize("NFKC", char).replace("⁄", "/")
    if char in ROMAN:
        return sino(str(ROMAN[char]))
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if unicodedata.category(char) in ("Cf", "Cs", "Co", "Cn", "Mn", "Me"):
        return ""
    if char.isspace() and char != "\n":
        return " "
    return "" if unicodedata.category(char) == "Cc" and char != "\n" else char


def _spell_address(address: str) -> str:
    spoken = _LATIN_LETTER.compiled.sub(lambda match: LATIN_LETTERS[match[0].lower()], address.replace("://", " "))
    return re.sub(r"\d+", lambda match: digit_by_digit(match[0]), spoken)


def _latin(match: re.Match[str]) -> str:
    word = match[0].lower()
    known = LATIN_WORDS.get(word)
    if known:
        return known
    letters = "".join(LATIN_LETTERS.get(char, char) for char in word if char not in "-'’")
    return re.sub(r"\d+", lambda digits: kinds.number(digits[0]), letters)


def _chat(match: re.Match[str]) -> str:
    """Laughter and what is written in consonants alone; tears are not said."""
    letters = match[0]
    if letters in CHAT_CONSONANTS:
        return CHAT_CONSONANTS[letters]
    return "".join({"ㅋ": "크", "ㅎ": "흐"}.get(letter, "") for letter in letters[:3])


_BEFORE: tuple[tuple[LazyPattern, Callable[[re.Match[str]], str]], ...] = (
    (_CHAT, _chat),
    (_NAMED, lambda match: NAMED_FIGURES[match[0]]),
    (_AREA, lambda match: match[1] + ("²" if match[2] == "2" else "³")),
    (_WEEKDAYS, lambda match: f"{match[1]}요일에서 {match[2]}요일"),
    (_JOINED, lambda match: " "),
)
_AFTER: tuple[tuple[LazyPattern, Callable[[re.Match[str]], str]], ...] = (
    (_UNTIL, lambda match: "에서 "),
    (_PLUS, lambda match: "플러스"),
    (_LATIN, _latin),
)
