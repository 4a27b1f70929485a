"""Read a run of English text: phonemes with their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sovits_service.text.en.g2p import phonemes
from sovits_service.text.en.normalize import normalize
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Spoken
from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
MIN_PHONEMES = 4
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF  # private use: no text has these after normalisation


class EnglishReader:
    """Reads English; tables load at the first use and are shared by all readers."""

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]] = _NO_WORDS) -> None:
        """lexicon: words as they are written, in any case, and their ARPAbet; it goes before every rule."""
        self._lexicon = {word.lower(): reading for word, reading in lexicon.items()}
        words = rf"(?<!\w)(?:{alternatives(self._lexicon)})(?!\w)"
        self._words = re.compile(words, re.IGNORECASE) if lexicon else None

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Phonemes of any text: ARPAbet with stress, and punctuation. Both symbol sets hold all of them."""
        marks: dict[str, str] = {}  # word of the lexicon to the character that stands for it
        norm, dropped = normalize(text, lambda plain: self._mark_words(plain, marks))
        said = phonemes(norm, {mark: self._lexicon[word.lower()] for word, mark in marks.items()})
        if len(said) < MIN_PHONEMES:
            start = said[0][1][0] if said else text.spans[0][0] if text else 0
            said.insert(0, (",", (start, start)))  # parity: very short runs start with a pause
        norm_text = norm.text
        for word, mark in marks.items():
            norm_text = norm_text.replace(mark, word)
        names = tuple(name for name, _ in said)
        return Reading(norm_text, names, None, tuple(span for _, span in said), tuple(dropped))

    def _mark_words(self, text: Spoken, marks: dict[str, str]) -> Spoken:
        if self._words is None:
            return text

        def mark(match: re.Match[str]) -> str:
            word = match[0]
            if word not in marks and len(marks) > _LAST_MARK - _FIRST_MARK:
                return word
            return marks.setdefault(word, chr(_FIRST_MARK + len(marks)))

        return text.sub(self._words, mark)
