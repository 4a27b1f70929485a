"""Homographs (`lead`, `live`, `object`): pronunciation by part of speech and context."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sovits_service.text.en.special_homographs import SPECIAL_HOMOGRAPHS
from sovits_service.text.en.tables import DATA
from sovits_service.text.en.tagger import tag_words
from sovits_service.text.en.word_context import Place, tag_in_context

Phonemes = tuple[str, ...]


@lru_cache(maxsize=1)
def homographs() -> dict[str, tuple[Phonemes, Phonemes, str]]:
    """Words with their reading as one part of speech, their other reading, and the tag prefix of the first."""
    table = {}
    for line in (DATA / "homographs.tsv").read_text(encoding="utf-8").splitlines():
        word, first, second, tag = line.split("\t")
        table[word] = (tuple(first.split()), tuple(second.split()), tag)
    return table


def read_homographs(tokens: Sequence[str]) -> dict[int, Phonemes]:
    """Readings of the homographs of a sentence, by their index. Sentences without any are not tagged."""
    table = homographs()
    words = [token.lower() for token in tokens]
    places = [i for i, word in enumerate(words) if word in table or word in SPECIAL_HOMOGRAPHS]
    if not places:
        return {}
    tags = tag_words(tokens)
    readings: dict[int, Phonemes] = {}
    for i in places:
        place = Place(words, tags, i, tokens[i])
        if words[i] in SPECIAL_HOMOGRAPHS:
            readings[i] = tuple(SPECIAL_HOMOGRAPHS[words[i]](place).split())
        else:
            first, second, wanted = table[words[i]]
            readings[i] = first if tag_in_context(place).startswith(wanted) else second
    return readings
