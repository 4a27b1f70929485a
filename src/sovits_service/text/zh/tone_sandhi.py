"""Mandarin tone sandhi, by words and their parts of speech.

The rules and word lists are those that the weights were trained with (GPT_SoVITS/text/tone_sandhi.py and chinese2.py of
the original, which has them from PaddleSpeech); a syllable is pinyin with a tone number, such as `hao3`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple, Protocol


class Word(NamedTuple):
    """A word of the segmentation and its part-of-speech tag in jieba's tag set."""

    text: str
    tag: str


class _WordLists(NamedTuple):
    neutral: frozenset[str]
    not_neutral: frozenset[str]
    erhua: frozenset[str]
    not_erhua: frozenset[str]


class SubwordSplitter(Protocol):
    """Cuts a word into the words within it, as jieba's search mode does."""

    def __call__(self, word: str) -> list[str]: ...


_PARTICLES = frozenset("吧呢哈啊呐噻嘛吖嗨呐哦哒额滴哩哟喽啰耶喔诶")
_NOUN_ENDS = frozenset("额滴")  # 金额 and 水滴 end in no particle
_ADDRESSED = frozenset("母爸妈爷奶哥姐弟妹叔伯舅姑姨婶嫂嬷婆公爹娘姥姊太娃宝丫妞囡猩狒星饽")
_COUNTED_BEFORE_GE = frozenset("几有两半多各整每做是想打找")
_PAUSES = frozenset("：，；。？！“”‘’':,;.?!")


@lru_cache(maxsize=1)
def _word_lists() -> _WordLists:
    lists = json.loads((files("sovits_service.text.zh") / "data" / "tone_words.json").read_text(encoding="utf-8"))
    return _WordLists(**{name: frozenset(words) for name, words in lists.items()})


def merge_words(words: list[Word], pinyin_of: Callable[[str], list[str]]) -> list[Word]:
    """Join words whose tones depend on each other: 不 and 一 with what follows, doubled words, third tones, 儿.

    Args:
        words: the segmentation of one clause.
        pinyin_of: the dictionary's syllables of a word, one for each character.
    """
    words = _merge_bu(_part_adverbs(words))
    words = _merge_yi_between(words)
    words = _merge_yi_before(words)
    words = _merge_doubled(words)
    words = _merge_third_tones(words, pinyin_of, whole_words=True)
    words = _merge_third_tones(words, pinyin_of, whole_words=False)
    return _merge_er(words)


def apply_sandhi(word: Word, syllables: list[str], split: SubwordSplitter, *, is_particle: bool = True) -> list[str]:
    """Change the tones of one merged word.

    Args:
        syllables: one item for each character.
        split: cuts a word into the words within it.
        is_particle: whether a final 着 or 了 is the particle, as these rules take for granted.
    """
    syllables = _change_bu(word.text, syllables)
    syllables = _change_yi(word.text, syllables)
    first_length = _first_part_length(word.text, split)
    syllables = _neutralise(word, syllables, first_length, is_particle)
    return _change_third_tones(word.text, syllables, first_length)


def apply_erhua(word: Word, syllables: list[str]) -> list[str]:
    """Give a final 儿 the tone of the syllable before it where it only colours that syllable; v2 symbols alone."""
    lists = _word_lists()
    syllables = list(syllables)
    ends_in_er = word.text.endswith("儿")
    if ends_in_er and syllables[-1] == "er1":
        syllables[-1] = "er2"
    if word.text not in lists.erhua and (word.text in lists.not_erhua or word.tag in ("a", "j", "nr")):
        return syllables
    if (
        ends_in_er
        and len(syllables) > 1
        and syllables[-1] in ("er2", "er5")
        and word.text[-2:] not in lists.not_erhua
        and syllables[-2][-1].isdigit()
    ):
        syllables[-1] = "er" + syllables[-2][-1]
    return syllables


def _toned(syllable: str, tone: str) -> str:
    return syllable[:-1] + tone if syllable[-1].isdigit() else syllable


def _all_third(syllables: list[str]) -> bool:
    return all(syllable.endswith("3") for syllable in syllables)


def _part_adverbs(words: list[Word]) -> list[Word]:
    """淅淅沥沥 | 地下 | 着: the particle stands alone before the verb."""
    parted: list[Word] = []
    for i, word in enumerate(words):
        before, after = words[i - 1].text if i else "", words[i + 1].text if i + 1 < len(words) else ""
        if (
            word.text in ("地下", "地上")
            and before[-1:] == before[-2:-1] != ""
            and after[:1] in ("着", "了", "起", "个")
        ):
            parted += [Word("地", "uv"), Word(word.text[1], "v")]
        else:
            parted.append(word)
    return parted


def _merge_bu(words: list[Word]) -> list[Word]:
    merged: list[Word] = []
    last = ""
    for text, tag in words:
        if last == "不":
            text = last + text
        if text != "不":
            merged.append(Word(text, tag))
        last = text
    if last == "不":
        merged.append(Word("不", "d"))
    return merged


def _merge_yi_between(words: list[Word]) -> list[Word]:
    """听 一 听 becomes one verb."""
    merged: list[Word] = []
    i = 0
    while i < len(words):
        if merged and words[i].text == "一" and i + 1 < len(words):
            before, after = merged[-1], words[i + 1]
            if before.text == after.text and before.tag == after.tag == "v":
                merged[-1] = Word(f"{before.text}一{after.text}", before.tag)
                i += 2
                continue
        merged.append(words[i])
        i += 1
    return merged


def _merge_yi_before(words: list[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == "一":
            merged[-1] = Word("一" + word.text, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_doubled(words: list[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == word.text:
            merged[-1] = Word(word.text * 2, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_third_tones(words: list[Word], pinyin_of: Callable[[str], list[str]], *, whole_words: bool) -> list[Word]:
    """Join short neighbours that are third tones throughout, or that meet in two third tones."""
    syllables = [pinyin_of(word.text) for word in words]
    merged: list[Word] = []
    was_joined = False
    for i, word in enumerate(words):
        join = False
        if i > 0 and not was_joined:
            if whole_words:
                meets = _all_third(syllables[i - 1]) and _all_third(syllables[i])
            else:
                meets = syllables[i - 1][-1].endswith("3") and syllables[i][0].endswith("3")
            before = words[i - 1].text
            is_doubled = len(before) == 2 and before[0] == before[1]
            join = meets and not is_doubled and len(before) + len(word.text) <= 3
        if join:
            merged[-1] = Word(merged[-1].text + word.text, merged[-1].tag)
        else:
            merged.append(word)
        was_joined = join
    return merged


def _merge_er(words: list[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and word.text == "儿":
            merged[-1] = Word(merged[-1].text + "儿", merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _change_bu(text: str, syllables: list[str]) -> list[str]:
    changed = list(syllables)
    if len(text) == 3 and text[1] == "不":
        changed[1] = _toned(changed[1], "5")
        return changed
    for i, character in enumerate(text[:-1]):
        if character == "不" and changed[i + 1].endswith("4"):
            changed[i] = _toned(changed[i], "2")
    return changed


def _change_yi(text: str, syllables: list[str]) -> list[str]:
    if "一" not in text or all(character.isnumeric() for character in text):
        return syllables
    changed = list(syllables)
    if len(text) == 3 and text[1] == "一" and text[0] == text[2]:
        changed[1] = _toned(changed[1], "5")
    elif text.startswith("第一"):
        changed[1] = _toned(changed[1], "1")
    else:
        for i, character in enumerate(text[:-1]):
            if character != "一":
                continue
            if changed[i + 1].endswith("4"):
                changed[i] = _toned(changed[i], "2")
            elif text[i + 1] not in _PAUSES:
                changed[i] = _toned(changed[i], "4")
    return changed


def _neutralise(word: Word, syllables: list[str], first_length: int, is_particle: bool) -> list[str]:
    lists = _word_lists()
    text, tag = word
    changed = list(syllables)
    if tag[0] in "nva" and text not in lists.not_neutral:
        for i in range(1, len(text)):
            within = 1 < i < len(text) - 1  # 银行行长
            keeps = text[i] not in _ADDRESSED and (tag in ("n", "a") or len(text) > 3)  # 声声, 高高的, 步步高升
            if text[i] == text[i - 1] and not within and not keeps:
                changed[i] = _toned(changed[i], "5")
    ge = text.find("个")
    # parity: a rule for an ending wins over 个, and 个 wins over the word list
    if _has_neutral_end(word) and is_particle:
        changed[-1] = _toned(changed[-1], "5")
    elif _counts_with_ge(text, ge):
        changed[ge] = _toned(changed[ge], "5")
    elif _is_neutral_word(text):
        changed[-1] = _toned(changed[-1], "5")
    for start, end in ((0, first_length), (first_length, len(text))):
        if _is_neutral_word(text[start:end]):
            changed[end - 1] = _toned(changed[end - 1], "5")
    return changed


def _counts_with_ge(text: str, ge: int) -> bool:
    return text == "个" or (ge >= 1 and (text[ge - 1].isnumeric() or text[ge - 1] in _COUNTED_BEFORE_GE))


def _is_neutral_word(text: str) -> bool:
    neutral = _word_lists().neutral
    return text in neutral or text[-2:] in neutral


def _has_neutral_end(word: Word) -> bool:
    text, tag = word
    last = text[-1]
    if last in _PARTICLES:
        return last not in _NOUN_ENDS or len(text) == 1
    if text in ("了", "着", "过"):
        return tag in ("ul", "uz", "ug")
    if len(text) < 2:
        return False
    if last in "们子":
        return tag in ("r", "n") and text not in _word_lists().not_neutral
    if last in "上下里":
        return tag in ("s", "l", "f")
    return last in "来去" and text[-2] in "上下进出回过起开"


def _first_part_length(text: str, split: SubwordSplitter) -> int:
    """Where a word falls into two: after or before its shortest inner word."""
    shortest = min(split(text), key=len)
    if text.startswith(shortest):
        return len(shortest)
    return len(text) - len(shortest)


def _change_third_tones(text: str, syllables: list[str], first_length: int) -> list[str]:
    changed = list(syllables)
    if len(text) == 2:
        if _all_third(changed):
            changed[0] = _toned(changed[0], "2")
    elif len(text) == 3:
        _change_three_syllables(changed, first_length)
    elif len(text) == 4:
        for start in (0, 2):
            if _all_third(changed[start : start + 2]):
                changed[start] = _toned(changed[start], "2")
    return changed


def _change_three_syllables(changed: list[str], first_length: int) -> None:
    if _all_third(changed):
        if first_length == 2:  # 蒙古/包
            changed[0] = _toned(changed[0], "2")
            changed[1] = _toned(changed[1], "2")
        elif first_length == 1:  # 纸/老虎
            changed[1] = _toned(changed[1], "2")
        return
    first, second = changed[:first_length], changed[first_length:]
    if len(first) == 2 and _all_third(first):  # 所有/人
        changed[0] = _toned(changed[0], "2")
    if len(second) == 2 and _all_third(second):
        changed[1] = _toned(changed[1], "2")
        return
    if second and not _all_third(second) and second[0].endswith("3") and first[-1].endswith("3"):  # 好/喜欢
        changed[first_length - 1] = _toned(changed[first_length - 1], "2")
