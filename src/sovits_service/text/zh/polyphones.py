"""A clause, its words and the dictionary's syllables in, the same syllables with polyphones settled by context out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from pypinyin.constants import PHRASES_DICT

from sovits_service.text.zh.tone_sandhi import Word

FULL_READINGS = frozenset(("dei3", "zhao2", "zhuo2", "liao3"))
"""得, 着 and 了 where they are no particles."""

_CONTEXT_CHARACTERS = 12
# A word of the dictionary is surer than any rule, but for these, which are read by what stands around them
_AMBIGUOUS_WORDS = frozenset(
    ("长长", "穿着", "一行", "转动", "教会", "看中", "当年", "当日", "当天", "倒是", "都会", "还是")
)


class _Rule(NamedTuple):
    reading: str
    before: re.Pattern[str]
    after: re.Pattern[str]


def settle_polyphones(clause: str, words: Sequence[Word], syllables: list[str]) -> None:
    """Change the syllables of a clause in place, where its words or a neighbourhood tell the reading."""
    _settle_particle_de(words, syllables)
    rules = _rules()
    start = 0
    for word in words:
        certain = len(word.text) > 1 and word.text in PHRASES_DICT and word.text not in _AMBIGUOUS_WORDS
        for i in range(start, start + len(word.text)):
            if not certain and clause[i] in rules:
                _apply_rules(clause, i, rules[clause[i]], syllables)
        start += len(word.text)
    replace_words(clause, phrases(), _longest_phrase(), syllables)


def replace_words(clause: str, entries: Mapping[str, Sequence[str]], longest: int, syllables: list[str]) -> None:
    """Put the readings of a word list into a clause, the longest word first."""
    start = 0
    while longest and start < len(clause):
        step = 1
        for length in range(min(longest, len(clause) - start), 0, -1):
            reading = entries.get(clause[start : start + length])
            if reading is not None:
                syllables[start : start + length] = reading
                step = length
                break
        start += step


def _apply_rules(clause: str, i: int, rules: Sequence[_Rule], syllables: list[str]) -> None:
    before = clause[max(0, i - _CONTEXT_CHARACTERS) : i]
    after = clause[i + 1 : i + 1 + _CONTEXT_CHARACTERS]
    for rule in rules:
        if rule.before.search(before) and rule.after.match(after):
            syllables[i] = rule.reading
            return


def _settle_particle_de(words: Sequence[Word], syllables: list[str]) -> None:
    """地 between what describes and a verb is the particle; elsewhere it is the ground."""
    start = 0
    for i, word in enumerate(words):
        last = start + len(word.text) - 1
        if word.text == "地" and 0 < i < len(words) - 1:
            before, after = words[i - 1], words[i + 1]
            describes = before.tag[0] in "adzil" or before.tag in ("ad", "an", "v", "vn", "n", "nz", "o")
            acts = after.tag[0] in "vpd" or after.tag in ("ad", "i", "l", "n", "nr", "z")
            if (
                describes
                and acts
                and after.text not in _AFTER_GROUND
                and (before.tag[0] != "n" or after.tag[0] in "vp")
            ):
                syllables[last] = "de5"
        elif word.text.endswith("地") and len(word.text) > 2 and word.tag in ("z", "d", "ad"):
            syllables[last] = "de5"
        start = last + 1


_AFTER_GROUND = frozenset(("很", "是", "有", "在", "不", "被", "都", "也", "上", "里", "下", "最", "非常", "比较"))


@lru_cache(maxsize=1)
def _rules() -> Mapping[str, tuple[_Rule, ...]]:
    rules: dict[str, tuple[_Rule, ...]] = {}
    table = (files("sovits_service.text.zh") / "data" / "polyphones.tsv").read_text(encoding="utf-8")
    for line in table.splitlines():
        if line.startswith("#"):
            continue
        character, reading, before, after = ([*line.split("\t"), "", ""])[:4]
        rule = _Rule(reading, re.compile(f"(?:{before})$" if before else ""), re.compile(after))
        rules[character] = (*rules.get(character, ()), rule)
    return rules


@lru_cache(maxsize=1)
def phrases() -> Mapping[str, Sequence[str]]:
    """Words and names that the dictionary misses or misreads."""
    table = json.loads((files("sovits_service.text.zh") / "data" / "phrases.json").read_text(encoding="utf-8"))
    return {word: reading.split() for word, reading in table.items()}


@lru_cache(maxsize=1)
def _longest_phrase() -> int:
    return max(map(len, phrases()))
