"""Semantic tokens of a recording for voice conversion, computed in overlapping stretches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sovits_service.types import SEMANTIC_TOKENS_PER_SECOND, FloatArray, ReferenceAudio

STRETCH_TOKENS = 250  # 10 s, as long as the longest reference: no new voice waits longer for it than for another voice
# What is heard before and after a stretch: HuBERT's convolution over positions looks 1.3 s to either side.
CONTEXT_TOKENS = 50


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens `start` to `stop` of a recording, read with the context from `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(slots=True, eq=False)
class Source:
    """A recording on its way to tokens.

    Attributes:
        tokens: of what has been read, from its beginning.
        samples: (T,) float32 of the whole at the rate of HuBERT; None until it is first read.
    """

    audio: ReferenceAudio
    tokens: list[int] = field(default_factory=list)
    samples: FloatArray | None = None

    @property
    def length(self) -> int:
        """How many tokens the whole has; the last may be heard beyond its end."""
        return max(1, math.ceil(self.audio.duration_s * SEMANTIC_TOKENS_PER_SECOND))

    @property
    def is_read(self) -> bool:
        return len(self.tokens) >= self.length

    def next_stretch(self) -> Stretch:
        """What is to be read next; what follows is never shorter than half a stretch."""
        start = len(self.tokens)
        left = self.length - start
        stop = self.length if left <= STRETCH_TOKENS * 3 // 2 else start + STRETCH_TOKENS
        return Stretch(start, stop, max(0, start - CONTEXT_TOKENS), min(self.length, stop + CONTEXT_TOKENS))

    def take(self, tokens: Sequence[int]) -> None:
        """The tokens of the next stretch."""
        self.tokens += tokens
