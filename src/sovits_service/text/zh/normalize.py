"""Chinese text normalisation: numbers, dates, units and signs in characters.

Latin letters stay as they are for the English reader; everything that has no sound is gone from the result.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from sovits_service.text.langid import HAN, LATIN
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.zh import kinds
from sovits_service.text.zh.dictionary import has_reading
from sovits_service.text.zh.g2p import is_reading_mark, reading_mark
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
_HEART = re.compile(rf"(?<=[我你您他她它们咱都也很最只])\s*[❤♥💕💖💗]\ufe0f?\s*(?=[{HAN}])")
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
_MIXED_NUMBER = re.compile(r"(?<=\d)([零一二三四五六七八九十]+分之)")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_HMM = str.maketrans({"嗯": "恩", "呣": "母"})
_ZHE = re.compile(r"(?<![名作巨原显专编译论昭卓土执所合遗拙撰刊校新旧])著(?![名作者称述书录有译])")
_GAN = re.compile(r"乾(?![隆坤卦陵元清])")


class Normalized(NamedTuple):
    """Text as it is said, and the places of letters of the input that have no reading in it."""

    text: Spoken
    dropped: tuple[Span, ...]


def normalize(text: Spoken) -> Normalized:
    """Say a text in Chinese characters, marks of the phoneme set, and Latin words as they were.

    `￥` without a number and `^` outside a formula stay, since the weights know them as pauses of their own.
    """
    text = _simplified(clean(text))
    text = text.sub(_LINK, _say_link)
    text = text.sub(_ROMAN, lambda match: _numeral(_roman_value(match.group().strip())))
    text = text.sub(_HEART, "爱").sub(_ARROW, "到")
    return _say_marks(_say_signs(kinds.read(text)))


def clean(text: Spoken) -> Spoken:
    """Bring widths and composed symbols to one form and take out what has neither form nor sound."""
    text = text.sub(_EMPHASIS, "").translate(_FULL_WIDTH).translate(_SUBSCRIPTS).each(_clean)
    return text.sub(_MIXED_NUMBER, r"又\1")


def _clean(character: str) -> str:
    compatible = notation().compatible
    if character in compatible:
        return compatible[character]
    if character < "\x80" or "\u4e00" <= character <= "\u9fff":
        return character if character >= " " else " "
    return _decompose(character)


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
        return _numeral(int(value)) if unicodedata.category(character) == "Nl" else read_cardinal(str(int(value)))
    top, _, bottom = unicodedata.normalize("NFKC", character).partition("⁄")
    return f"{read_cardinal(bottom)}分之{read_cardinal(top)}" if top.isdigit() and bottom.isdigit() else ""


def _numeral(value: int) -> str:
    """A number that is a name: its 一 has its first tone, whatever follows."""
    return "一" + (reading_mark("yi1") or "") if value == 1 else read_cardinal(str(value))


def simplify(text: str) -> str:
    """Traditional characters to simplified ones, as the weights were trained on them."""
    return _simplified(Spoken.of(text)).text


def _simplified(text: Spoken) -> Spoken:
    simplified = text.translate(simplified_characters())
    if "著" in simplified.text:
        simplified = simplified.sub(_ZHE, "着")
    return simplified.sub(_GAN, "干") if "乾" in simplified.text else simplified


def _roman_value(numeral: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


def _say_signs(text: Spoken) -> Spoken:
    greek = notation().greek
    text = text.sub(_PER, "每").sub(_SLASH, ",").sub(_WAVE_BETWEEN, "到").sub(_DASH_BETWEEN_HAN, ",")
    return text.each(lambda character: greek.get(character) or character)


def _say_marks(text: Spoken) -> Normalized:
    """Marks to those of the phoneme set; what is left without a sound goes."""
    text = text.replace("...", "…").translate(mark_table()).translate(_HMM)
    dropped = tuple(span for character, span in text.characters() if not _is_kept(character) and character.isalpha())
    text = text.each(lambda character: character if _is_kept(character) else "")
    return Normalized(join_marks(text.sub(_APOSTROPHE, "").sub(_SPACES, "")), dropped)


def join_marks(text: Spoken) -> Spoken:
    """Of several marks in a row the first one stays, as in training."""
    return text.sub(_REPEATED_MARKS, r"\1")


def _say_link(match: re.Match[str]) -> str:
    """A link loses its marks, which would be pauses; its words are for the English reader."""
    return re.sub(r"[^A-Za-z]+", " ", match.group())


def _is_kept(character: str) -> bool:
    if character in _KEPT:
        return True
    if "\u4e00" <= character <= "\u9fa5" or (character.isascii() and character.isalpha()):
        return True
    return has_reading(character) or _LATIN_LETTER.match(character) is not None or is_reading_mark(character)
