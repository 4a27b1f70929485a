"""Settle polyphones by their context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from sovits_service.text.symbols import PUNCTUATION
from sovits_service.text.zh.dictionary import is_word
from sovits_service.text.zh.tone_sandhi import Word

FULL_READINGS = frozenset(("dei3", "zhao2", "zhuo2", "liao3"))
"""得, 着 and 了 where they are no particles."""

_CONTEXT_CHARACTERS = 12
# A word of the dictionary is surer than any rule, but for these, which are read by what stands around them
_AMBIGUOUS_WORDS = frozenset(
    (
        "长长",
        "穿着",
        "一行",
        "转动",
        "教会",
        "看中",
        "当年",
        "当日",
        "当天",
        "倒是",
        "都会",
        "还是",
        "不得了",
        "落下",
        "炸锅",
        "煞是",
    )
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
        certain = is_word(word.text) and word.text not in _AMBIGUOUS_WORDS
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
    """地 and 得 are particles by what stands around them; in other words they keep their tone."""
    start = 0
    for i, word in enumerate(words):
        last = start + len(word.text) - 1
        before = words[i - 1] if i else None
        after = words[i + 1] if i + 1 < len(words) else None
        if word.text[-1] == "地" and _is_adverbial(before, word, after):
            syllables[last] = "de5"
        elif word.text[0] == "地" and before is not None and _is_cut_off(before.text, word):
            syllables[start] = "de5"
        elif word.text == "得":
            syllables[last] = _read_lone_de(before, after)
        elif word.text[-1] == "得" and not (len(word.text) > 3 and is_word(word.text)):
            syllables[last] = _read_final_de(word.text)
        elif _CAN.fullmatch(word.text) and not _GAINING.search(word.text[:2]):
            syllables[start + 1] = "de5"
        start = last + 1


def _is_adverbial(before: Word | None, word: Word, after: Word | None) -> bool:
    """地 between what describes and a verb is the particle; elsewhere it is the ground."""
    if len(word.text) > 1:
        return len(word.text) > 2 and word.tag in ("z", "d", "ad")
    if before is None:
        return False
    is_doubled = len(before.text) > 1 and before.text[-1] == before.text[-2]
    if after is None or after.text in PUNCTUATION:
        return is_doubled
    if after.text in _AFTER_GROUND:
        return False
    if is_doubled or (before.tag[0] in "adzilbo" and len(before.text) > 1):
        return True
    acts = after.tag[0] in "vpd" or after.tag in ("ad", "i", "l", "n", "nr", "z")
    describes = before.tag[0] in "adzilo" or before.tag in ("v", "vn") or (before.tag in ("n", "nz", "an"))
    return describes and acts and (before.tag[0] != "n" or after.tag[0] in "vp")


def _is_cut_off(before: str, word: Word) -> bool:
    """颤巍巍 | 地站, 头也不回 | 地走了: the segmenter made a word of the particle and the verb."""
    is_doubled = len(before) > 2 and before[-1] == before[-2]
    return (is_doubled or word.tag in ("l", "v")) and not is_word(word.text)


def _read_lone_de(before: Word | None, after: Word | None) -> str:
    if before is None:
        return "de2"
    is_subject = before.tag[0] in "nrtmd" and before.tag not in ("ng", "nz")
    takes = after is not None and (after.text in ("了", "过", "到") or after.tag[0] == "m")
    return "de2" if is_subject and takes else "de5"


def _read_final_de(word: str) -> str:
    return "dei3" if word in _NEEDING else "de2" if _GAINING.search(word) else "de5"


_CAN = re.compile(r"[^不只未难非总]得.")  # 看得见, 吃得消
# Words in 得 that keep its tone; it is neutral after any other verb (觉得, 跑得快)
_GAINING = re.compile(
    "[获取赢夺博求难购觅习换挣讨录应心所两自独喜只未既摘竞赚测罪豁贵巧争兼索捕捉猎]得$|(?<![恨巴舍怪顾怨由])不得$"
)
_NEEDING = frozenset(("非得", "总得", "必得", "须得", "还得", "都得", "就得"))
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
