"""From OpenJTalk's full-context labels to phonemes with pitch marks (`]` falls, `[` rises, `#` ends a phrase)."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Phoneme; morae from the nucleus, from the start and to the end of the phrase; morae of the phrase. xx: none.
_LABEL = re.compile(r"-([^+]*)\+.*?/A:(-?\d+|xx)\+(\d+|xx)\+(\d+|xx)/.*?/F:(\d+|xx)_")
_MORA_ENDS = frozenset("aeiouN") | {"cl"}
_UNVOICED = str.maketrans("AEIOU", "aeiou")


def phonemes_with_pitch(labels: Sequence[str]) -> list[tuple[str, int]]:
    """Read phonemes and the marks between them off the labels of one stretch of speech.

    The marks follow K. Kurihara, N. Seiyama and T. Kumano, "Prosodic features control by symbols as input of
    sequence-to-sequence acoustic modeling for neural TTS" (2021). Silence at both ends is left out.

    Returns:
        Each phoneme and mark with the number of its mora from 0; a mark and a pause have that of the mora before them.
    """
    parsed = [match.groups() for match in map(_LABEL.search, labels) if match]
    phonemes: list[tuple[str, int]] = []
    number = 0
    for label, following in zip(parsed, (*parsed, None)[1:], strict=True):
        phoneme = label[0]
        if phoneme == "sil":
            continue
        if phoneme == "pau":
            phonemes.append(("_", max(number - 1, 0)))
            continue
        phoneme = phoneme.translate(_UNVOICED) if len(phoneme) == 1 else phoneme
        phonemes.append((phoneme, number))
        mora_number, number = number, number + (phoneme in _MORA_ENDS)
        if following is None or "xx" in label or following[2] == "xx":
            continue
        from_nucleus, mora, morae_left, phrase_morae = map(int, label[1:])
        next_mora = int(following[2])
        if morae_left == 1 and next_mora == 1 and phoneme in _MORA_ENDS:
            phonemes.append(("#", mora_number))
        elif from_nucleus == 0 and next_mora == mora + 1 and mora != phrase_morae:
            phonemes.append(("]", mora_number))
        elif mora == 1 and next_mora == 2:
            phonemes.append(("[", mora_number))
    return phonemes
