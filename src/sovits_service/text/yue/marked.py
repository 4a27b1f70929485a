"""A run of Cantonese with readings that the user wrote, `角(gok3)色`, in; its Reading with those syllables out."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from sovits_service.text.langid import INLINE_READING
from sovits_service.text.reading import Reading
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.yue.reader import syllable_phonemes
from sovits_service.types import SymbolSet

if TYPE_CHECKING:
    from sovits_service.text.frontend import Reader


def read_marked(reader: Reader, text: str, symbols: SymbolSet) -> Reading:
    """Read the text without its marks, then give the marked characters the syllables in the brackets."""
    plain = INLINE_READING.sub(r"\1", text)
    reading = reader.read(plain, symbols)
    if plain == text or reading.word2ph is None:
        return reading
    starts = [0, *accumulate(reading.word2ph)]
    sounds = [reading.phonemes[start:end] for start, end in pairwise(starts)]
    known = symbol_ids(symbols)
    for mark in INLINE_READING.finditer(text):
        character, syllable = mark[1], syllable_phonemes(mark[2])
        # numbers become words on the way, so a character is found again by how often it came before
        ordinal = INLINE_READING.sub(r"\1", text[: mark.start()]).count(character)
        places = [i for i, spoken in enumerate(reading.norm_text) if spoken == character]
        if syllable and ordinal < len(places) and all(name in known for name in syllable):
            sounds[places[ordinal]] = syllable
    phonemes = tuple(name for names in sounds for name in names)
    return Reading(reading.norm_text, phonemes, tuple(map(len, sounds)), reading.dropped_characters)
