"""Cantonese readings that the user wrote inline, as in `角(gok3)色`."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

from sovits_service.text.langid import INLINE_READING
from sovits_service.text.reading import Reader, Reading
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.yue.reader import syllable_phonemes
from sovits_service.types import SymbolSet


def read_marked(reader: Reader, text: Spoken, symbols: SymbolSet) -> Reading:
    """Read the text without its marks, then give the marked characters the syllables in the brackets."""
    reading = reader.read(text.sub(INLINE_READING, r"\1"), symbols)
    if reading.word2ph is None:
        return reading
    known = symbol_ids(symbols)
    written = {text.spans[mark.start()][0]: syllable_phonemes(mark[2]) for mark in INLINE_READING.finditer(text.text)}
    sounds: list[tuple[str, ...]] = []
    spans = []
    for start, end in pairwise((0, *accumulate(reading.word2ph))):
        place = reading.spans[start]
        syllable = written.get(place[0], ()) if place[0] < place[1] else ()
        is_written = bool(syllable) and all(name in known for name in syllable)
        sounds.append(syllable if is_written else reading.phonemes[start:end])
        spans += [place] * len(sounds[-1])
    phonemes = tuple(name for names in sounds for name in names)
    return replace(reading, phonemes=phonemes, word2ph=tuple(map(len, sounds)), spans=tuple(spans))
