"""Split a text that is still being written into sentences, each as soon as it is certainly complete."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sovits_service.text.splitter import hide_inner_marks

# A full stop of Latin script ends a sentence only with what follows it: "3.", "3.14"; the others need nothing more.
_SURE_END = re.compile(
    r"""\n|[。！？!?…]+[”’」』）)"'】》]*(?<![!?])|[!?]+[”’)"']*\s+|[.．]+[”’)"']*\s+(?=\S)|；|;\s+"""
)
_CLAUSE_END = re.compile(r"[,，、;；:：—。！？!?.…][”’」』）)\"'】》]*|\s+")
_WORD = re.compile(r"\w")
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SHORTEST_CHARACTERS = 4  # of letters and digits; what is shorter goes with what follows
_LONGEST_CHARACTERS = 200  # without an end: then a clause, a word or a character has to do


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, with its place in it."""

    text: str
    start: int
    end: int


class GrowingText:
    """One text. Each character goes out once, in order; what has nothing to read goes out with what is beside it."""

    def __init__(self) -> None:
        self._text = ""
        self._start = 0

    def __len__(self) -> int:
        """Characters that have not gone out."""
        return len(self._text)

    @property
    def length(self) -> int:
        """Of all that was written."""
        return self._start + len(self._text)

    def write(self, text: str) -> list[Piece]:
        """Add text; the sentences that are over with it."""
        self._text += text
        hidden = hide_inner_marks(self._text)
        ends = [match.end() for match in _SURE_END.finditer(hidden)]
        pieces, begin = [], 0
        for end in [*ends, len(self._text)]:
            while end - begin > _LONGEST_CHARACTERS:
                cut = begin + _last_boundary(hidden[begin : begin + _LONGEST_CHARACTERS])
                pieces.append((begin, cut))
                begin = cut
            if end in ends and _letters(hidden[begin:end]) >= _SHORTEST_CHARACTERS:
                pieces.append((begin, end))
                begin = end
        return self._give(pieces, begin)

    def give_way(self) -> list[Piece]:
        """What is there up to a place where a pause does no harm; nothing where there is no such place."""
        if _SPACELESS.match(self._text[-1:]):
            return self.rest()
        ends = [match.end() for match in _CLAUSE_END.finditer(hide_inner_marks(self._text))]
        if not ends or not _WORD.search(self._text[: ends[-1]]):
            return []
        return self._give([(0, ends[-1])], ends[-1])

    def rest(self) -> list[Piece]:
        """All that is there: nothing follows it."""
        return self._give([(0, len(self._text))], len(self._text))

    def _give(self, places: list[tuple[int, int]], taken: int) -> list[Piece]:
        pieces = [
            Piece(self._text[begin:end], self._start + begin, self._start + end)
            for begin, end in places
            if _WORD.search(self._text[begin:end])
        ]
        self._start += taken
        self._text = self._text[taken:]
        return pieces


def _letters(text: str) -> int:
    return len(_WORD.findall(text))


def _last_boundary(text: str) -> int:
    ends = [match.end() for match in _CLAUSE_END.finditer(text)]
    return ends[-1] if ends and _WORD.search(text[: ends[-1]]) else len(text)
