"""Written Chinese in, the words that are said out: numbers, dates, units and signs become characters.

Latin letters stay as they are for the English reader; everything that has no sound is gone from the result.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from sovits_service.text.langid import HAN, LATIN
from sovits_service.text.zh.amounts import AmountRules
from sovits_service.text.zh.dates import read_dates
from sovits_service.text.zh.g2p import has_reading, is_reading_mark
from sovits_service.text.zh.notation import mark_table, notation, simplified_characters
from sovits_service.text.zh.numbers import read_cardinal

_FULL_WIDTH = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF10, 0xFF1A)},
        **{chr(code): chr(code - 0xFEE0) for code in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))},
        **dict(zip("％＋－＝／＃＆＠＜＞＄￡．＊＾＿｜＼　－−‐‑⁄∕∶٪", "%+-=/#&@<>$£.*^_|\\ ----//:%", strict=True)),
    }
)
_DROPPED = frozenset(("Cf", "Cc", "Cs", "Co", "Cn", "Me", "Mn"))
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_LINK = re.compile(
    r"(?:https?://|ftp://|www\.)[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
_REPEATED_MARKS = re.compile(r"([!?…,.\-])[!?…,.\-]+")
_SPACES = re.compile(rf"(?<![{LATIN}.,!?])\s+|\s+(?![{LATIN}])|(?<=[.,!?])\s+")
_APOSTROPHE = re.compile(rf"(?<![{LATIN}])['’]|['’](?![{LATIN}])")
_LATIN_LETTER = re.compile(f"[{LATIN}]")
_KEPT = frozenset("!?…,. '’￥^")
_EMPHASIS = re.compile(r"\*\*|__|~~|`+|^\s*(?:[-*+]\s+|>+\s*|#{1,6}\s*)", re.MULTILINE)
_HEART = re.compile(rf"(?<=[{HAN}])\s*[❤♥💕💖💗]\ufe0f?\s*(?=[{HAN}])")
_ARROW = re.compile(r"\s*(?:->|=>|-->|→|⇒|➡)\ufe0f?\s*")
_PER = re.compile(
    rf"(?<=[元米次人块件克斤里吨升角分度字位张天月年个包只座户]) ?/ ?(?=[{HAN}])(?![零一二三四五六七八九十两])"
)
_SLASH = re.compile(rf"(?<=[{HAN}]) ?/ ?(?=[{HAN}])")
_WAVE_BETWEEN = re.compile(
    r"(?<=[年月日号点时分秒岁元度米克天人周万亿千百十一二三四五六七八九零])"
    r" ?[-–—~～〜] ?(?=[零一二三四五六七八九十百千万两\d周年月])"
)
_DASH_BETWEEN_HAN = re.compile(rf"(?<=[{HAN}])-+(?=[{HAN}])")
_ROMAN = re.compile(r"(?<=第)\s*[IVX]{1,5}(?![A-Za-z])|(?<![A-Za-z])[IVX]{1,4}(?=[型期级度世号章节部])")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_HMM = str.maketrans({"嗯": "恩", "呣": "母"})
_ZHE = re.compile(r"(?<![名作巨原显专编译论昭卓土执所合遗拙撰刊校新旧])著(?![名作者称述书录有译])")
_GAN = re.compile(r"乾(?![隆坤卦陵元清])")


class Normalized(NamedTuple):
    """Text as it is said, and how many letters of the input have no reading in it."""

    text: str
    dropped_characters: int


def normalize(text: str) -> Normalized:
    """Say a text in Chinese characters, marks of the phoneme set, and Latin words as they were.

    `￥` without a number and `^` outside a formula stay, since the weights know them as pauses of their own.
    """
    text = simplify(clean(text))
    text = _LINK.sub(_say_link, text)
    text = _ROMAN.sub(lambda match: read_cardinal(str(_roman_value(match.group().strip()))), text)
    text = _HEART.sub("爱", text)
    text = _ARROW.sub("到", text)
    text = read_dates(text)
    text = _amount_rules().read(text)
    return _say_marks(_say_signs(text))


def clean(text: str) -> str:
    """Bring widths and composed symbols to one form and take out what has neither form nor sound."""
    compatible = notation().compatible
    cleaned: list[str] = []
    for character in _EMPHASIS.sub("", text).translate(_FULL_WIDTH).translate(_SUBSCRIPTS):
        if character in compatible:
            cleaned.append(compatible[character])
        elif character < "\x80" or "\u4e00" <= character <= "\u9fff":
            cleaned.append(character if character >= " " else " ")
        else:
            said = _decompose(character)
            is_mixed = "分之" in said and cleaned and cleaned[-1].isdigit()
            cleaned.append("又" + said if is_mixed else said)
    return "".join(cleaned)


@lru_cache(maxsize=4096)
def _decompose(character: str) -> str:
    category = unicodedata.category(character)
    if is_reading_mark(character):
        return character
    if category in _DROPPED:
        return ""
    if category in ("No", "Nl") and character not in "⁰¹²³⁴⁵⁶⁷⁸⁹":
        return _composed_number(character)
    if 0xF900 <= ord(character) <= 0xFAFF or 0x2F00 <= ord(character) <= 0x2FDF or 0x2E80 <= ord(character) <= 0x2EFF:
        return unicodedata.normalize("NFKC", character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs":
        return " "
    return character


def _composed_number(character: str) -> str:
    value = unicodedata.numeric(character, None)
    if value is None:
        return ""
    if value == int(value) and value >= 0:
        return read_cardinal(str(int(value)))
    top, _, bottom = unicodedata.normalize("NFKC", character).partition("⁄")
    return f"{read_cardinal(bottom)}分之{read_cardinal(top)}" if top.isdigit() and bottom.isdigit() else ""


def simplify(text: str) -> str:
    """Traditional characters to simplified ones, as the weights were trained on them."""
    simplified = text.translate(simplified_characters())
    if "著" in simplified:
        simplified = _ZHE.sub("着", simplified)
    return _GAN.sub("干", simplified) if "乾" in simplified else simplified


@lru_cache(maxsize=1)
def _amount_rules() -> AmountRules:
    return AmountRules()


def _roman_value(numeral: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


def _say_signs(text: str) -> str:
    table = notation()
    text = _SLASH.sub(",", _PER.sub("每", text))
    text = _WAVE_BETWEEN.sub("到", text)
    text = _DASH_BETWEEN_HAN.sub(",", text)
    return "".join(table.greek.get(character) or character for character in text)


def _say_marks(text: str) -> Normalized:
    """Marks to those of the phoneme set; what is left without a sound goes."""
    text = text.replace("...", "…").translate(mark_table()).translate(_HMM)
    kept: list[str] = []
    dropped = 0
    for character in text:
        if character in _KEPT or _is_spoken(character):
            kept.append(character)
        elif character.isalpha():
            dropped += 1
    said = _SPACES.sub("", _APOSTROPHE.sub("", "".join(kept)))
    return Normalized(join_marks(said), dropped)


def join_marks(text: str) -> str:
    """Of several marks in a row the first one stays, as in training."""
    return _REPEATED_MARKS.sub(r"\1", text)


def _say_link(match: re.Match[str]) -> str:
    """A link loses its marks, which would be pauses; its words are for the English reader."""
    return re.sub(r"[^A-Za-z]+", " ", match.group())


def _is_spoken(character: str) -> bool:
    if "\u4e00" <= character <= "\u9fa5" or (character.isascii() and character.isalpha()):
        return True
    return has_reading(character) or _LATIN_LETTER.match(character) is not None or is_reading_mark(character)
