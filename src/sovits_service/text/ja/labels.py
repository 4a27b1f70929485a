"""OpenJTalk's full-context labels in, phonemes with pitch marks out (`]` falls, `[` rises, `#` ends a phrase)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PHONEME = re.compile(r"-([^+]*)\+")
_ACCENT = re.compile(r"/A:(-?\d+)\+(\d+)\+(\d+)/")
_PHRASE_MORAE = re.compile(r"/F:(\d+)_")
_PHRASE_ENDS = frozenset("aeiouN") | {"cl"}
_UNVOICED = str.maketrans("AEIOU", "aeiou")


def phonemes_with_pitch(labels: Sequence[str]) -> list[str]:
    """Read phonemes and the marks between them off the labels of one stretch of speech.

    The marks follow K. Kurihara, N. Seiyama and T. Kumano, "Prosodic features control by symbols as input of
    sequence-to-sequence acoustic modeling for neural TTS" (2021). Silence at both ends is left out.
    """
    phonemes: list[str] = []
    for label, following in zip(labels, (*labels[1:], ""), strict=True):
        found = _PHONEME.search(label)
        phoneme = found[1] if found else "sil"
        if phoneme == "sil":
            continue
        if phoneme == "pau":
            phonemes.append("_")
            continue
        phoneme = phoneme.translate(_UNVOICED) if len(phoneme) == 1 else phoneme
        phonemes.append(phoneme)
        accent = _ACCENT.search(label)
        next_accent = _ACCENT.search(following)
        phrase = _PHRASE_MORAE.search(label)
        if accent is None or next_accent is None or phrase is None:
            continue
        from_nucleus, mora, morae_left = int(accent[1]), int(accent[2]), int(accent[3])
        next_mora = int(next_accent[2])
        if morae_left == 1 and next_mora == 1 and phoneme in _PHRASE_ENDS:
            phonemes.append("#")
        elif from_nucleus == 0 and next_mora == mora + 1 and mora != int(phrase[1]):
            phonemes.append("]")
        elif mora == 1 and next_mora == 2:
            phonemes.append("[")
    return phonemes
