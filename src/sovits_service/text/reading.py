"""What a language reader hands back: one run of text in, its phonemes out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """How one run of text in one language is read.

    Attributes:
        norm_text: the text as it is read, after normalisation.
        phonemes: names in the symbol set that was asked for.
        word2ph: phonemes per character of `norm_text`, summing to `len(phonemes)`; None where a language has none.
        dropped_characters: letters of the input that have no reading; punctuation and emoji do not count.
    """

    norm_text: str
    phonemes: tuple[str, ...]
    word2ph: tuple[int, ...] | None
    dropped_characters: int = 0
