"""Compose and decompose Hangul blocks."""

from __future__ import annotations

from dataclasses import dataclass

ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
CODAS: tuple[str, ...] = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
FINAL: dict[str, str] = dict(zip(CODAS[1:], "ㄱㄱㄱㄴㄴㄴㄷㄹㄱㅁㄹㄹㄹㅂㄹㅁㅂㅂㄷㄷㅇㄷㄷㄱㄷㅂㄷ", strict=True))
"""The sound of a coda at the end of a word (articles 9 to 11)."""
TENSE: dict[str, str] = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))


@dataclass(slots=True)
class Syllable:
    """A hangul block as letters; `mark` is `V` at the end of a verb stem, `E` at that of an ending, else empty."""

    onset: str
    vowel: str
    coda: str
    mark: str = ""


def split(block: str) -> Syllable:
    """One precomposed hangul block as its letters."""
    index = ord(block) - 0xAC00
    return Syllable(ONSETS[index // 588], VOWELS[index % 588 // 28], CODAS[index % 28])


def onset_of(block: str) -> str:
    return ONSETS[(ord(block) - 0xAC00) // 588]


def vowel_of(block: str) -> str:
    return VOWELS[(ord(block) - 0xAC00) % 588 // 28]


def coda_of(block: str) -> str:
    return CODAS[(ord(block) - 0xAC00) % 28]


def join(onset: str, vowel: str, coda: str) -> str:
    """Three letters as one block."""
    return chr(0xAC00 + ONSETS.index(onset) * 588 + VOWELS.index(vowel) * 28 + CODAS.index(coda))


def is_block(char: str) -> bool:
    return "가" <= char <= "힣"
