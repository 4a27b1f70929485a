"""Readings of words: pypinyin's dictionary, and a table of where it differs from what is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from pypinyin import Style, lazy_pinyin
from pypinyin.constants import PHRASES_DICT, PINYIN_DICT


def has_reading(character: str) -> bool:
    """Whether a Han character has a pinyin reading."""
    return ord(character) in PINYIN_DICT


def is_word(word: str) -> bool:
    """Whether the dictionary or the table has a word of several characters."""
    return len(word) > 1 and (word in PHRASES_DICT or word in _word_readings()[1])


def dictionary_syllables(word: str) -> list[str]:
    """The reading of a word with tone numbers, one item for each character; a mark is its own."""
    return list(_dictionary_syllables(word))


@lru_cache(maxsize=8192)
def _dictionary_syllables(word: str) -> tuple[str, ...]:
    alone, within = _word_readings()
    syllables = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True)
    if len(syllables) != len(word):
        syllables = [_usual_reading(character) for character in word]
    readings = within.get(word) or ({} if word in PHRASES_DICT else alone)
    for i, character in enumerate(word):
        if character in readings and (readings is not alone or syllables[i] == _usual_reading(character)):
            syllables[i] = readings[character]
    return tuple(syllables)


@lru_cache(maxsize=8192)
def _usual_reading(character: str) -> str:
    """pypinyin's reading of a character in no word that it knows."""
    return lazy_pinyin(character, style=Style.TONE3, neutral_tone_with_five=True)[0]


@lru_cache(maxsize=1)
def _word_readings() -> tuple[Mapping[str, str], Mapping[str, Mapping[str, str]]]:
    """Readings of characters in no word of the dictionary, and of characters within words of the table."""
    alone: dict[str, str] = {}
    within: defaultdict[str, dict[str, str]] = defaultdict(dict)
    table = files("sovits_service.text.zh") / "data" / "readings.tsv"
    for line in table.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        character, reading, words = line.split("\t")
        if not words:
            alone[character] = reading
        for word in words.split():
            within[word][character] = reading
    return alone, within
