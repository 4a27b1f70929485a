"""Read a run of Cantonese text: phonemes with their places."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from sovits_service.errors import MissingExtraError
from sovits_service.text.chunking import chunks
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import PUNCTUATION, UNKNOWN, symbol_ids
from sovits_service.text.yue.contexts import settle_readings
from sovits_service.text.yue.normalize import is_han, normalize
from sovits_service.text.yue.tables import CORRECTIONS, FULL_FORMS, INITIALS, LETTER_NAMES
from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_SYLLABLE = re.compile(r"([a-z]+)([1-6])")


class CantoneseReader:
    """Reads Cantonese, traditional or simplified, with the jyutping of ToJyutping. Safe to call from threads.

    Args:
        lexicon: words and their jyutping, one syllable a character, which win over the dictionary.

    Raises:
        MissingExtraError: the package of the extra `yue` is not installed.
    """

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]] = _NO_WORDS) -> None:
        if importlib.util.find_spec("ToJyutping") is None:
            raise MissingExtraError("Cantonese text needs the extra yue: pip install 'sovits-service[yue]'")
        self._readings: dict[str, tuple[str, ...]] = {**CORRECTIONS, **lexicon}
        self._words = re.compile(alternatives(self._readings))

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Normalise a run and turn it into phonemes; any Unicode text has an answer, if an empty one."""
        known = symbol_ids(symbols)
        spoken: list[str] = []
        phonemes: list[str] = []
        word2ph: list[int] = []
        spans: list[Span] = []
        dropped: list[Span] = []
        for chunk in chunks(text):
            norm, lost = normalize(chunk)
            dropped += lost
            for (char, span), syllables in zip(norm.characters(), self._syllables(norm.text), strict=True):
                if char in PUNCTUATION:
                    sounds: Sequence[str] = (char,)
                else:
                    sounds = LETTER_NAMES.get(char) or [p for s in syllables for p in syllable_phonemes(s)]
                if not sounds:
                    dropped.append(span)
                    continue
                spoken.append(char)
                phonemes += [name if name in known else UNKNOWN for name in sounds]
                word2ph.append(len(sounds))
                spans += [span] * len(sounds)
        return Reading("".join(spoken), tuple(phonemes), tuple(word2ph), tuple(spans), tuple(dropped))

    def _syllables(self, text: str) -> list[tuple[str, ...]]:
        """The jyutping of each character; none for punctuation and for what the dictionary lacks."""
        syllables = _jyutping(text)
        if any(char in FULL_FORMS for char in text):
            full = _jyutping("".join(FULL_FORMS.get(char, char) for char in text))
            for i, char in enumerate(text):
                if char in FULL_FORMS and syllables[i] == _alone(char):  # within a known word it is right
                    syllables[i] = full[i]
        settle_readings(text, syllables)
        for match in self._words.finditer(text):
            for offset, syllable in enumerate(self._readings[match[0]]):
                syllables[match.start() + offset] = (syllable,)
        return syllables


def _jyutping(text: str) -> list[tuple[str, ...]]:
    from ToJyutping import get_jyutping_list

    syllables: list[tuple[str, ...]] = []
    for piece, jyutping in get_jyutping_list(text):
        found = tuple(jyutping.split()) if jyutping else ()
        syllables.append(found if is_han(piece[:1]) else ())
        syllables += [()] * (len(piece) - 1)
    return syllables


@lru_cache(maxsize=256)
def _alone(char: str) -> tuple[str, ...]:
    return _jyutping(char)[0]


@lru_cache(maxsize=4096)
def syllable_phonemes(syllable: str) -> tuple[str, ...]:
    """`gwong2` -> Ygw, Yong2. Every name starts with Y, apart from Mandarin's."""
    match = _SYLLABLE.fullmatch(syllable)
    if not match:
        return ()
    sound, tone = match.groups()
    initial = next((initial for initial in INITIALS if sound.startswith(initial)), "")
    if not initial:
        return ()
    final = sound.removeprefix(initial) or initial[-1]  # parity: m4 is Ym Ym4, aa3 is Yaa Ya3
    return f"Y{initial}", f"Y{final}{tone}"
