"""Respell Korean words as they sound, syllable for syllable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from sovits_service.text.ko.borders import settle_borders
from sovits_service.text.ko.morphemes import Morpheme


def respell(text: str, morphemes: Sequence[Morpheme]) -> str:
    """Spell what the rules of pronunciation need to know words for: 발전 -> 발쩐, 강남역 -> 강남녁.

    Returns:
        A text of the same length, every syllable in its place.
    """
    syllables = list(text)
    listed = _listed(text, morphemes)
    for start, said in listed.items():
        syllables[start : start + len(said)] = said
    is_settled = {place for start, said in listed.items() for place in range(start, start + len(said) - 1)}
    settle_borders(syllables, morphemes, is_settled)
    return "".join(syllables)


def _listed(text: str, morphemes: Sequence[Morpheme]) -> dict[int, str]:
    """The listed words that begin and end where words do, the longest at each place; by where they begin."""
    words, lengths = _words()
    parts = [part for morpheme in morphemes for part in morpheme.parts]
    starts = [part.start for part in parts if part.tag[0] not in "JE"]
    ends = {
        part.end
        for part in parts
        if part.tag[0] not in "JE" or (text[part.start : part.end] == "과" and text[part.end : part.end + 1] not in " ")
    }  # 안과, 치과: what the tagger takes for a particle ends a word where no other word follows
    found: dict[int, str] = {}
    free = 0
    for start in starts:
        if start < free:
            continue
        for length in lengths.get(text[start], ()):
            said = words.get(text[start : start + length])
            if said and start + length in ends:
                found[start] = said
                free = start + length
                break
    return found


@lru_cache(maxsize=1)
def _words() -> tuple[dict[str, str], dict[str, list[int]]]:
    """Words with their sounds, and the lengths of those that begin with a syllable, the longest first."""
    table = (files("sovits_service.text.ko") / "data" / "words.tsv").read_text(encoding="utf-8")
    words = {}
    for line in table.splitlines():
        word, separator, said = line.partition("\t")
        if separator and not line.startswith("#") and len(word) == len(said):
            words[word] = said
    lengths: dict[str, set[int]] = {}
    for word in words:
        lengths.setdefault(word[0], set()).add(len(word))
    return words, {first: sorted(found, reverse=True) for first, found in lengths.items()}
