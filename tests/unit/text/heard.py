"""What people write of a sound (kana, hangul as it is said, jyutping), as the phonemes of the readers."""

from __future__ import annotations

import re

from sovits_service.text.ko.letters import FINAL, is_block, split
from sovits_service.text.yue.reader import syllable_phonemes

_ROWS = {
    "k": "カキクケコ", "s": "サシスセソ", "t": "タチツテト", "n": "ナニヌネノ", "h": "ハヒフヘホ", "m": "マミムメモ",
    "r": "ラリルレロ", "g": "ガギグゲゴ", "z": "ザジズゼゾ", "d": "ダヂヅデド", "b": "バビブベボ", "p": "パピプペポ",
}  # fmt: skip
_MORAE = {
    **{kana: (vowel,) for kana, vowel in zip("アイウエオヲ", "aiueoo", strict=True)},
    **{kana: (first, vowel) for first, row in _ROWS.items() for kana, vowel in zip(row, "aiueo", strict=True)},
    "シ": ("sh", "i"), "チ": ("ch", "i"), "ツ": ("ts", "u"), "フ": ("f", "u"), "ジ": ("j", "i"), "ヂ": ("j", "i"),
    "ヅ": ("z", "u"), "ヤ": ("y", "a"), "ユ": ("y", "u"), "ヨ": ("y", "o"), "ワ": ("w", "a"), "ン": ("N",),
    "ッ": ("cl",),
}  # fmt: skip
_SOFT = {first: f"{first}y" for first in "knhmrgbpdt"}
_KATAKANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_DIPHTHONGS = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ", "ㅢ": "ㅡㅣ", "ㅑ": "ㅣㅏ",
    "ㅒ": "ㅣㅐ", "ㅕ": "ㅣㅓ", "ㅖ": "ㅣㅔ", "ㅛ": "ㅣㅗ", "ㅠ": "ㅣㅜ",
}  # fmt: skip
_JYUTPING = re.compile(r"\{([^}]*)\}|(\S+)")


def heard(language: str, written: str) -> list[str]:
    """Phonemes of a sound; in Japanese a long vowel may be written ー or by its second vowel."""
    if language == "ja":
        return _kana(written)
    if language == "ko":
        return _hangul(written)
    return _syllables(written)


def comparable(language: str, phonemes: list[str]) -> list[str]:
    """Phonemes without the differences that nobody hears: えい and えー, おう and おー, 嚟 as lei4 or lai4."""
    if language == "ja":
        said = " ".join(["", *phonemes, ""])
        for _ in range(2):
            said = said.replace(" e i ", " e e ").replace(" o u ", " o o ")
        return said.split()
    if language == "yue":
        pairs = zip(["", *phonemes], phonemes, strict=False)
        return [_YUE_VARIANTS.get((before, phoneme), phoneme) for before, phoneme in pairs]
    return phonemes


_YUE_VARIANTS = {("Yn", "Yei1"): "Yi1", ("Yl", "Yei4"): "Yai4", ("Yh", "Yaak1"): "Yak1"}


def _kana(written: str) -> list[str]:
    said: list[str] = []
    for kana in written.translate(_KATAKANA):
        if kana == "ー":
            said.append(said[-1])
        elif kana in "ャュョ":
            said.pop()
            said[-1] = _SOFT.get(said[-1], said[-1])
            said.append(dict(zip("ャュョ", "auo", strict=True))[kana])
        elif kana in "ァィゥェォ":
            vowel = dict(zip("ァィゥェォ", "aiueo", strict=True))[kana]
            if said[-1] == "u" and (len(said) == 1 or said[-2] in "aiueoN"):
                said[-1:] = ["w", vowel]
            else:
                said[-1] = vowel
        else:
            said += _MORAE[kana]
    return said


def _hangul(written: str) -> list[str]:
    said = ""
    for block in filter(is_block, written):
        letters = split(block)
        vowel = "ㅓ" if letters.onset in "ㅈㅉㅊ" and letters.vowel == "ㅕ" else letters.vowel
        said += letters.onset + _DIPHTHONGS.get(vowel, vowel) + FINAL.get(letters.coda, "")
    return list(said)


def _syllables(written: str) -> list[str]:
    """Jyutping with spaces between; `{JH IY1}` are the phonemes of an English word."""
    return [
        phoneme
        for english, syllable in _JYUTPING.findall(written)
        for phoneme in (english.split() if english else syllable_phonemes(syllable))
    ]
