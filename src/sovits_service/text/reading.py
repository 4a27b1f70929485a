"""What a language reader takes and hands back: one run of text in, its phonemes and their places out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sovits_service.text.spoken import Span, Spoken
from sovits_service.types import SymbolSet


@dataclass(frozen=True, slots=True)
class Reading:
    """How one run of text in one language is read.

    Attributes:
        norm_text: the text as it is read, after normalisation.
        phonemes: names in the symbol set that was asked for.
        word2ph: phonemes per character of `norm_text`, summing to `len(phonemes)`; None where a language has none.
        spans: for each phoneme the (start, end) in the request's text that it says, in order.
        dropped: places of letters that have no reading, one for each; punctuation and emoji do not count.
    """

    norm_text: str
    phonemes: tuple[str, ...]
    word2ph: tuple[int, ...] | None
    spans: tuple[Span, ...]
    dropped: tuple[Span, ...] = ()

    @property
    def dropped_characters(self) -> int:
        return len(self.dropped)


class Reader(Protocol):
    """Reads runs of one language."""

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading: ...
