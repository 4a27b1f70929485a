"""Read a run of Chinese text: phonemes with their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock

from sovits_service.text.langid import INLINE_READING, LATIN_WORDS
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Spoken
from sovits_service.text.zh.g2p import ChineseG2p, SentenceModel, is_reading_mark, reading_mark, take_reading_marks
from sovits_service.text.zh.normalize import Normalized, join_marks, normalize
from sovits_service.types import SymbolSet

_SPECIAL_PAUSES = {"￥": "SP2", "^": "SP3"}
_SPECIAL = re.compile("[￥^]")


class ChineseReader:
    """Reads Mandarin; the dictionaries load at the first text.

    Args:
        lexicon: words of the user with one pinyin syllable for each character.
        model: a polyphone model; without one the dictionary and the neighbours decide.
    """

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]], model: SentenceModel | None = None) -> None:
        self._lexicon = lexicon
        self._model = model
        self._g2p: ChineseG2p | None = None
        self._lock = Lock()

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Normalise and read; Latin words have no Chinese reading and are dropped."""
        said, dropped = self.normalize(text)
        for word in LATIN_WORDS.finditer(said.text):
            latin = said[word.start() : word.end()].characters()
            dropped += tuple(span for character, span in latin if character.isalpha())
        return replace(self.read_normalized(said.sub(LATIN_WORDS, ""), symbols), dropped=dropped)

    def normalize(self, text: Spoken) -> Normalized:
        """Say a text in characters; Latin words stay, and `角(jue2)` keeps its reading as a private character."""
        text = text.each(lambda character: "" if is_reading_mark(character) else character)
        return normalize(text.sub(INLINE_READING, _mark_reading))

    def read_normalized(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Read what `normalize` gave, or a part of it without Latin words."""
        special = next((symbol for symbol in _SPECIAL_PAUSES if symbol in text.text), None)
        norm, fixed = take_reading_marks(join_marks(text.sub(_SPECIAL, ",").replace(" ", "")))
        phonemes, word2ph = self._loaded().phonemes(norm.text, symbols, fixed)
        if special is not None:
            # parity: a currency sign without a number, or a caret, turns the commas beside it into a special pause
            phonemes = [_SPECIAL_PAUSES[special] if phoneme == "," else phoneme for phoneme in phonemes]
        spans = tuple(span for span, count in zip(norm.spans, word2ph, strict=True) for _ in range(count))
        return Reading(norm.text, tuple(phonemes), tuple(word2ph), spans)

    def _loaded(self) -> ChineseG2p:
        if self._g2p is None:
            with self._lock:
                if self._g2p is None:
                    self._g2p = ChineseG2p(self._lexicon, self._model)
        return self._g2p


def _mark_reading(match: re.Match[str]) -> str:
    mark = reading_mark(match[2])
    return match[1] + mark if mark is not None else match[0]
