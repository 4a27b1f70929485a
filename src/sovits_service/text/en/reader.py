"""English: one run of text in, its phonemes out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sovits_service.text.en.g2p import phonemes
from sovits_service.text.en.normalize import normalize
from sovits_service.text.reading import Reading
from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
MIN_PHONEMES = 4


class EnglishReader:
    """Reads English; tables load at the first use and are shared by all readers."""

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]] = _NO_WORDS) -> None:
        """lexicon: lower-case words and their ARPAbet; it goes before every dictionary."""
        self._lexicon = lexicon

    def read(self, text: str, symbols: SymbolSet) -> Reading:
        """Phonemes of any text: ARPAbet with stress, and punctuation. Both symbol sets hold all of them."""
        norm_text, dropped = normalize(text)
        said = phonemes(norm_text, self._lexicon)
        if len(said) < MIN_PHONEMES:
            said.insert(0, ",")  # parity: very short runs start with a pause
        return Reading(norm_text, tuple(said), None, dropped)
