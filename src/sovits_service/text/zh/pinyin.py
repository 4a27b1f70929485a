"""Pinyin with tone marks in a Chinese text (`读chóng`, `你好(nǐ hǎo)`), as characters with these readings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from pypinyin.constants import PINYIN_DICT

from sovits_service.text.spoken import Spoken

_TONES = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}
_MARKED = "āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜ"
# foreign words have no macron and no caron on a vowel; café and déjà vu are no pinyin
MAY_BE_PINYIN = re.compile(f'[āǎēěīǐōǒūǔǖǚǘǜ]|[读念音讀](?:[作为做为成]|[:：“"（(])?[a-z]{{0,3}}[{_MARKED}]')
_WORD = re.compile(rf"(?<![A-Za-z{_MARKED}])[A-Za-zü'’{_MARKED}]{{1,40}}(?![A-Za-z{_MARKED}])")
_HAN = re.compile("[\u4e00-\u9fff]")
_LONGEST_SYLLABLE = 6
_FIRST, _LAST = 0x4E00, 0x9FA5


def characters_for_pinyin(text: Spoken) -> Spoken:
    """Every word that is pinyin throughout as characters with their reading in brackets; other words stay."""
    if not MAY_BE_PINYIN.search(text.text) or not _HAN.search(text.text):
        return text
    return text.sub(_WORD, _characters)


def _characters(match: re.Match[str]) -> str:
    word = match[0].lower()
    if not any(character in _MARKED for character in word):
        return match[0]
    syllables = [syllable for part in re.split("['’]", word) for syllable in _syllables(part) or [""]]
    if not all(syllables):
        return match[0]
    return "".join(f"{_character_of().get(syllable, '字')}({syllable})" for syllable in syllables)


def _syllables(word: str) -> list[str] | None:
    """`nǐhǎo` -> ni3, hao3, the longest syllables first, each with one tone mark; None where it is no pinyin."""
    if not word:
        return []
    for length in range(min(_LONGEST_SYLLABLE, len(word)), 0, -1):
        syllable = _numbered(word[:length])
        if syllable in _character_of() and (rest := _syllables(word[length:])) is not None:
            return [syllable, *rest]
    return None


def _numbered(syllable: str) -> str:
    """`chóng` -> chong2; empty without just one tone mark."""
    parts = unicodedata.normalize("NFD", syllable)
    tones = [_TONES[mark] for mark in parts if mark in _TONES]
    plain = "".join(mark for mark in parts if mark not in _TONES)
    return unicodedata.normalize("NFC", plain).replace("ü", "v") + tones[0] if len(tones) == 1 else ""


@lru_cache(maxsize=1)
def _character_of() -> Mapping[str, str]:
    """A character for each syllable that is its first reading: one of the first level of GB 2312 where it has one."""
    found: dict[str, str] = {}
    for common in (True, False):
        for code in range(_FIRST, _LAST + 1):
            readings = PINYIN_DICT.get(code)
            if readings and _is_common(chr(code)) is common:
                found.setdefault(_numbered(readings.split(",")[0]), chr(code))
    found.pop("", None)
    return found


def _is_common(character: str) -> bool:
    try:
        return character.encode("gb2312") < b"\xd8"  # the first level, sorted by pinyin
    except UnicodeEncodeError:
        return False
