"""When a growing sequence has enough new tokens to be heard, and where its speech may be cut."""

from __future__ import annotations

import numpy as np

from sovits_service.engine.sequence import JobOptions, Sequence
from sovits_service.types import FloatArray

_GROWTH = 1.5  # each chunk of mode 2 is longer than the one before: what plays already hides the wait
_LONGEST_CHUNK_TOKENS = 75  # 3 s


def chunk_tokens(options: JobOptions, chunks_before: int) -> int:
    """New tokens that the next chunk waits for: fixed in mode 3, growing in mode 2."""
    if options.streaming_mode == 3:
        return options.min_chunk_tokens
    grown = options.min_chunk_tokens * _GROWTH**chunks_before
    return max(options.min_chunk_tokens, int(min(grown, _LONGEST_CHUNK_TOKENS)))


def is_chunk_ready(sequence: Sequence, heard_tokens: int, chunks_before: int) -> bool:
    """Whether tokens beyond `heard_tokens` make a chunk; the overlap, cross-faded later, comes on top."""
    if sequence.is_finished:
        return True
    options = sequence.job.options
    if not options.streams_chunks:
        return False
    needed = chunk_tokens(options, chunks_before) + options.overlap_tokens
    return len(sequence.tokens) - heard_tokens >= needed


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
