"""Korean pronunciation rules as g2pk2 applies them: from Hangul with part-of-speech marks to letters as they sound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sovits_service.text.ko.letters import FINAL, TENSE, Syllable, is_block, split

# What moves over to a following vowel (articles 13 to 15).
_LINKED = {
    "ㄳ": ("ㄱ", "ㅆ"), "ㄵ": ("ㄴ", "ㅈ"), "ㄶ": ("", "ㄴ"), "ㄺ": ("ㄹ", "ㄱ"), "ㄻ": ("ㄹ", "ㅁ"),
    "ㄼ": ("ㄹ", "ㅂ"), "ㄽ": ("ㄹ", "ㅆ"), "ㄾ": ("ㄹ", "ㅌ"), "ㄿ": ("ㄹ", "ㅍ"), "ㅀ": ("", "ㄹ"),
    "ㅄ": ("ㅂ", "ㅆ"), "ㅎ": ("", "ㅇ"),
}  # fmt: skip
_ASPIRATE = dict(zip("ㄱㄷㅂㅈ", "ㅋㅌㅍㅊ", strict=True))
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
# What is left of a coda, and the onset, when ㅎ follows.
_BEFORE_H = {
    "ㄱ": ("", "ㅋ"), "ㄲ": ("", "ㅋ"), "ㄳ": ("", "ㅋ"), "ㅋ": ("", "ㅋ"), "ㄺ": ("ㄹ", "ㅋ"), "ㄷ": ("", "ㅌ"),
    "ㅅ": ("", "ㅌ"), "ㅆ": ("", "ㅌ"), "ㅊ": ("", "ㅌ"), "ㅌ": ("", "ㅌ"), "ㅈ": ("", "ㅊ"), "ㄵ": ("ㄴ", "ㅊ"),
    "ㅂ": ("", "ㅍ"), "ㅍ": ("", "ㅍ"), "ㄼ": ("ㄹ", "ㅍ"), "ㄿ": ("ㅂ", "ㅍ"), "ㅄ": ("ㅂ", "ㅍ"), "ㅎ": ("", "ㅎ"),
}  # fmt: skip
_H_CODAS = {"ㅎ": "", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}
_TENSING_CODAS = frozenset("ㄱㄲㄳㄷㄺㄼㄽㄿㅂㅄㅅㅆㅈㅊㅋㅌㅍ")
_VERB_TENSING = frozenset("ㄴㄵㅁㄻㄼㄾ")  # articles 24 and 25
_TENSED_AFTER_L = ("걸", "밖에", "세라", "수록", "지라도", "지언정", "진대")  # article 27: 할수록 [할쑤록]
_LETTER_NAMES = {"디귿": "ㅅ", "지읒": "ㅅ", "치읓": "ㅅ", "티읕": "ㅅ", "히읗": "ㅅ", "키읔": "ㄱ", "피읖": "ㅂ"}


def pronounce(text: str, marks: Sequence[str]) -> list[str]:
    """Apply the rules of pronunciation to a text.

    Args:
        text: hangul and anything else, which is kept as it is.
        marks: for each character `V` (last block of a verb stem), `E` (last block of an ending) or "".

    Returns:
        For each character of the text its hangul letters as they sound, or the character itself; spaces are kept.
    """
    units: list[Syllable | str] = [split(char) if is_block(char) else char for char in text]
    for unit, mark in zip(units, marks, strict=True):
        if isinstance(unit, Syllable):
            unit.mark = mark
    _apply_vowel_rules(units)
    _apply_letter_names(text, units)
    _apply_endings(text, units)
    for index, unit in enumerate(units):
        if isinstance(unit, Syllable) and unit.coda:
            _join(units, index, unit)
    return [unit.onset + unit.vowel + unit.coda if isinstance(unit, Syllable) else unit for unit in units]


def _apply_vowel_rules(units: list[Syllable | str]) -> None:
    for unit in units:
        if isinstance(unit, Syllable):
            if unit.onset in "ㅈㅉㅊ" and unit.vowel == "ㅕ":
                unit.vowel = "ㅓ"
            elif unit.vowel == "ㅢ" and unit.onset != "ㅇ":
                unit.vowel = "ㅣ"


def _apply_letter_names(text: str, units: list[Syllable | str]) -> None:
    """Article 16: 디귿이 [디그시]. g2pk2 does this to any ㅡ (끝에 [끄세], 늦은 [느슨]), which misreads them."""
    for name, linked in _LETTER_NAMES.items():
        start = text.find(name)
        while start >= 0:
            last, after = units[start + 1], units[start + 2] if start + 2 < len(units) else ""
            if isinstance(last, Syllable) and isinstance(after, Syllable) and after.onset == "ㅇ":
                last.coda, after.onset = "", linked
            start = text.find(name, start + 2)


def _apply_endings(text: str, units: list[Syllable | str]) -> None:
    for ending in _TENSED_AFTER_L:
        start = text.find(ending, 1)
        while start >= 0:
            before, first = units[start - 1], units[start]
            if isinstance(before, Syllable) and isinstance(first, Syllable) and before.coda == "ㄹ":
                first.onset = TENSE.get(first.onset, first.onset)
            start = text.find(ending, start + 1)


def _join(units: list[Syllable | str], index: int, left: Syllable) -> None:
    """What a coda and the next onset do to each other; one space between them does not stop most of it."""
    after = units[index + 1] if index + 1 < len(units) else ""
    is_apart = after == " "
    if is_apart:
        after = units[index + 2] if index + 2 < len(units) else ""
    if not isinstance(after, Syllable):
        left.coda = FINAL[left.coda]
        return
    if after.onset == "ㅇ":
        _link(left, after, is_apart)
        return
    if left.coda == "ㄼ" and _is_balb(left, after):
        left.coda = "ㅂ"
    if not is_apart and left.mark == "V" and _tense_after_stem(left, after):
        return
    if is_apart and left.mark == "E" and left.coda == "ㄹ" and after.onset in TENSE:  # article 27
        after.onset = TENSE[after.onset]
        return
    if not is_apart and left.coda == "ㄷ" and after.onset == "ㅎ" and after.vowel == "ㅣ":  # article 17, 굳히다
        left.coda, after.onset = "", "ㅊ"
        return
    coda, onset = _meet(left.coda, after.onset)
    if (left.onset in "ㅇㄹ" and left.vowel == "ㅡ" and left.coda == "ㄹ") and is_apart and onset != after.onset:
        return  # parity: 을 and 를 leave a following ㄴ alone: 물을 나르다 [무를 나르다] (fix_g2pk2_error)
    left.coda, after.onset = coda, onset


def _link(left: Syllable, after: Syllable, is_apart: bool) -> None:
    if is_apart:
        left.coda = FINAL[left.coda]
    elif left.coda == "ㅇ":
        return
    elif left.coda in "ㄷㅌㄾ" and after.vowel in "ㅣㅕ":  # article 17
        after.onset = "ㅈ" if left.coda == "ㄷ" else "ㅊ"
        left.coda = "ㄹ" if left.coda == "ㄾ" else ""
    elif left.coda in _LINKED:
        left.coda, after.onset = _LINKED[left.coda]
    else:
        left.coda, after.onset = "", left.coda


def _is_balb(left: Syllable, after: Syllable) -> bool:
    """밟- before any consonant, 넓- in 넓죽- and 넓둥- (article 10)."""
    if (left.onset, left.vowel) == ("ㅂ", "ㅏ"):
        return after.onset != "ㅎ"
    return (left.onset, left.vowel) == ("ㄴ", "ㅓ") and after.onset in "ㅈㅉㄷㄸ" and after.vowel == "ㅜ"


def _tense_after_stem(left: Syllable, after: Syllable) -> bool:
    if left.coda == "ㄺ" and after.onset in "ㄱㄲ":  # article 11: 맑게 [말께]
        left.coda, after.onset = "ㄹ", "ㄲ"
        return True
    if left.coda in _VERB_TENSING and after.onset in "ㄱㄷㅅㅈ":
        left.coda, after.onset = FINAL[left.coda], TENSE[after.onset]
        return True
    return False


@lru_cache(maxsize=1024)
def _meet(coda: str, onset: str) -> tuple[str, str]:
    """Articles 9-12, 18-20 and 23 for a coda before a consonant."""
    if onset == "ㅎ":
        return _BEFORE_H.get(coda, (FINAL[coda], "ㅎ"))
    if coda in _H_CODAS:
        rest = _H_CODAS[coda]
        if onset in "ㄱㄷㅈ":
            return rest, _ASPIRATE[onset]
        if onset == "ㅅ":
            return rest, "ㅆ"
        if coda == "ㅎ":
            return ("ㄴ", "ㄴ") if onset == "ㄴ" else ("", onset)
    final = FINAL[coda]
    if onset == "ㄹ":
        if final in "ㄴㄹ":
            return "ㄹ", "ㄹ"
        return _NASAL.get(final, final), "ㄴ"
    if onset == "ㄴ" and final == "ㄹ":
        return "ㄹ", "ㄹ"
    if onset in "ㄴㅁ":
        return _NASAL.get(final, final), onset
    if coda in _TENSING_CODAS:
        return final, TENSE.get(onset, onset)
    return final, onset
