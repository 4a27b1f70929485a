"""Words that are written alike and said differently (`lead`, `live`, `object`): a sentence in, their readings out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sovits_service.text.en.tables import DATA
from sovits_service.text.en.tagger import tag_words

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
    places = [i for i, token in enumerate(tokens) if token.lower() in table]
    if not places:
        return {}
    tags = tag_words(tokens)
    readings = {}
    for i in places:
        first, second, wanted = table[tokens[i].lower()]
        tag = tags[i]
        readings[i] = first if tag.startswith(wanted) or wanted.startswith(tag) else second
    return readings
