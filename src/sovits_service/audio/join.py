"""Join pieces of speech: pauses and cross-fades."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import numpy as np

from sovits_service.errors import InvalidRequestError
from sovits_service.types import AudioChunk, FloatArray


def silence(duration_s: float, sample_rate_hz: int) -> FloatArray:
    """Zeros of `duration_s`, counted in samples of the rate that the speech itself has."""
    return np.zeros(max(0, round(duration_s * sample_rate_hz)), dtype=np.float32)


def cross_fade(tail: FloatArray, head: FloatArray) -> FloatArray:
    """Blend two takes of the same stretch of speech.

    The gains are raised cosines that add up to one (equal gain): both takes are the same signal, so that
    equal-power gains would make a bump of 3 dB in the middle.

    Args:
        tail: (T,) float32, the end of what has been said.
        head: (T,) float32, the same stretch as the following piece has it.

    Returns:
        (T,) float32 that starts as `tail` and ends as `head`.

    Raises:
        ValueError: the two are of different lengths.
    """
    if tail.shape != head.shape:
        raise ValueError(f"a cross-fade needs equal lengths, not {len(tail)} and {len(head)} samples")
    fade_in = _fade_in(len(tail))
    blended: FloatArray = (tail * (1.0 - fade_in) + head * fade_in).astype(np.float32, copy=False)
    return blended


async def with_pauses(
    first: AudioChunk, rest: AsyncGenerator[AudioChunk, None], pauses_s: Sequence[float], max_audio_s: float
) -> AsyncGenerator[AudioChunk, None]:
    """Add silence after fragments.

    Args:
        first: a chunk that was taken out of `rest` before.
        rest: the chunks after it; closed with this generator.
        pauses_s: for each fragment the silence after it.
        max_audio_s: of all chunks with their pauses.

    Raises:
        InvalidRequestError: the speech is longer.
    """
    pauses = iter(pauses_s)
    total_s = 0.0

    def padded(chunk: AudioChunk) -> AudioChunk:
        nonlocal total_s
        if chunk.is_fragment_end:
            samples = np.concatenate([chunk.samples, silence(next(pauses), chunk.sample_rate_hz)])
            chunk = replace(chunk, samples=samples)
        total_s += len(chunk.samples) / chunk.sample_rate_hz
        if total_s > max_audio_s:
            raise InvalidRequestError(f"the speech is longer than {max_audio_s:,.0f} s; send the text in parts")
        return chunk

    try:
        yield padded(first)
        async for chunk in rest:
            yield padded(chunk)
    finally:
        await rest.aclose()


async def cut_after(chunks: AsyncGenerator[AudioChunk, None], duration_s: float) -> AsyncGenerator[AudioChunk, None]:
    """Chunks without what is beyond a duration. They are closed with this generator."""
    sent = 0
    try:
        async for chunk in chunks:
            left = round(duration_s * chunk.sample_rate_hz) - sent
            chunk = replace(chunk, samples=chunk.samples[: max(0, left)])
            sent += len(chunk.samples)
            yield chunk
    finally:
        await chunks.aclose()


def _fade_in(length_samples: int) -> FloatArray:
    steps = (np.arange(length_samples, dtype=np.float32) + 0.5) / max(length_samples, 1)
    gain: FloatArray = (0.5 - 0.5 * np.cos(np.pi * steps)).astype(np.float32)
    return gain
