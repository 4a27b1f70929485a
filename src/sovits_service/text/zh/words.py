"""jieba's dictionary file, loaded by first character on demand.

Read as a whole it takes 100 MB and most of a second; a text needs few of its 12,000 first characters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

_KEPT_CHARACTERS = 512  # first characters whose words stay at hand
_NEWLINE, _SPACE = ord("\n"), ord(" ")


class WordFrequencies(Mapping[str, int]):
    """Words and their prefixes by frequency; a prefix that is no word has 0. As `FREQ` of jieba's tokenizer.

    Args:
        dictionary: lines of word, frequency and tag in UTF-8; those with one first character stand together.

    Attributes:
        total: of all frequencies.
    """

    def __init__(self, dictionary: bytes) -> None:
        self._dictionary = dictionary
        self._places = _places(dictionary)
        self.total = _total(dictionary)
        self._of = lru_cache(maxsize=_KEPT_CHARACTERS)(self._read)

    def __getitem__(self, word: str) -> int:
        return self._of(word[:1])[0][word]

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self._of(word[:1])[0]

    def __iter__(self) -> Iterator[str]:
        return (word for first in self._places for word in self._read(first)[0])

    def __len__(self) -> int:
        return sum(len(self._read(first)[0]) for first in self._places)

    def get(self, word: str, default: int | None = None) -> int | None:  # type: ignore[override]
        return self._of(word[:1])[0].get(word, default)

    def tag(self, word: str, default: str) -> str:
        """The part of speech of a word."""
        return self._of(word[:1])[1].get(word, default)

    def _read(self, first: str) -> tuple[dict[str, int], dict[str, str]]:
        """Frequencies and tags of the words that begin with a character."""
        frequencies: dict[str, int] = {}
        tags: dict[str, str] = {}
        for start, end in self._places.get(first, ()):
            for line in self._dictionary[start:end].decode("utf-8").splitlines():
                word, frequency, tag = line.split(" ")
                frequencies[word] = int(frequency)
                tags[word] = tag
        for word in list(frequencies):
            for length in range(1, len(word)):
                frequencies.setdefault(word[:length], 0)
        return frequencies, tags


class WordTags:
    """The tags of the same words, as `word_tag_tab` of jieba's tagger."""

    def __init__(self, words: WordFrequencies) -> None:
        self.get = words.tag


def _places(dictionary: bytes) -> dict[str, list[tuple[int, int]]]:
    """Where the lines of each first character begin and end."""
    characters = np.frombuffer(dictionary + b"\n\0\0\0", dtype=np.uint8)
    ends = np.flatnonzero(characters[: len(dictionary) + 1] == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    starts = starts[starts < ends]
    lead = characters[starts]
    firsts = lead.astype(np.uint32)
    for place, least in ((1, 0xC0), (2, 0xE0), (3, 0xF0)):  # the further bytes of a character
        firsts = firsts << 8 | np.where(lead >= least, characters[starts + place], 0)
    changes = starts[1:][firsts[1:] != firsts[:-1]]
    bounds = [*starts[:1].tolist(), *changes.tolist(), len(dictionary)]
    places: dict[str, list[tuple[int, int]]] = {}
    for start, end in itertools.pairwise(bounds):
        first = dictionary[start : start + 4].decode("utf-8", "ignore")[0]
        places.setdefault(first, []).append((start, end))
    return places


def _total(dictionary: bytes) -> int:
    """The sum of the numbers in the second column."""
    characters = np.frombuffer(dictionary, dtype=np.uint8)
    separators = np.flatnonzero((characters == _SPACE) | (characters == _NEWLINE))
    spaces = characters[separators] == _SPACE
    first = np.flatnonzero(spaces[:-1] & spaces[1:])  # a number stands between two spaces
    starts, ends = separators[first] + 1, separators[first + 1]
    total = 0
    for place in range(int((ends - starts).max(initial=0))):
        digits = ends - 1 - place
        total += 10**place * int((characters[digits[digits >= starts]].astype(np.int64) - ord("0")).sum())
    return total
