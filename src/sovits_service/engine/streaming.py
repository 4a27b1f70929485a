"""When a growing sequence has enough new tokens to be heard, and where its speech may be cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sovits_service.engine.sequence import DecodeSequence, JobOptions
from sovits_service.types import FloatArray

_GROWTH = 1.5  # each chunk of mode 2 is longer than the one before: what plays already hides the wait
_LONGEST_CHUNK_TOKENS = 75  # 3 s


def chunk_tokens(options: JobOptions, chunks_before: int) -> int:
    """New tokens that the next chunk waits for: fixed in mode 3, growing in mode 2."""
    if options.streaming_mode == 3:
        return options.min_chunk_tokens
    grown = options.min_chunk_tokens * _GROWTH**chunks_before
    return max(options.min_chunk_tokens, int(min(grown, _LONGEST_CHUNK_TOKENS)))


@dataclass(frozen=True, slots=True)
class Feed:
    """What the wave decoder is given next: the first `tokens` of a sequence; with `is_final` there will be no more."""

    tokens: int
    is_final: bool


def next_feed(sequence: DecodeSequence, emitted_tokens: int, chunks_before: int, fed_tokens: int) -> Feed | None:
    """Exactly the next chunk and its overlap, however far the sequence has got: joints never depend on the load.

    Args:
        emitted_tokens: tokens whose speech is out.
        chunks_before: chunks that were made.
        fed_tokens: tokens that were fed before; each feed has more, unless it is the final one.

    Returns:
        None where the next chunk needs more tokens than there are.
    """
    options = sequence.job.options
    if options.streams_chunks and sequence.job.source is None:  # a recording's tokens are all there at once
        end = max(emitted_tokens + chunk_tokens(options, chunks_before) + options.overlap_tokens, fed_tokens + 1)
        if len(sequence.tokens) >= end:
            return Feed(end, is_final=False)
    return Feed(len(sequence.tokens), is_final=True) if sequence.is_settled else None


def quietest_frame(samples: FloatArray, frame_samples: int, first_frame: int, last_frame: int) -> int:
    """The frame boundary with the least energy around it.

    Args:
        samples: (T,) float32.
        first_frame, last_frame: boundaries that may be chosen, both included.
    """
    frames = len(samples) // frame_samples
    energy = np.square(samples[: frames * frame_samples]).reshape(frames, frame_samples).sum(axis=1)
    padded = np.pad(energy, 1, mode="edge")
    around = padded[:-1] + padded[1:]  # around[i]: the frames before and after boundary i
    return first_frame + int(np.argmin(around[first_frame : last_frame + 1]))
