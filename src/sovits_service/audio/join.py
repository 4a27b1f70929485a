"""Join pieces of speech: pauses, cross-fades and phase-aligned splices."""

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
    """Blends two takes of the same stretch of speech.

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


def best_offset(tail: FloatArray, following: FloatArray, search_samples: int) -> int:
    """Finds where `following` is most in phase with `tail`, by normalised cross-correlation.

    The search of SOLA, synchronised overlap-add (Roucos and Wilgus, ICASSP 1985).

    Args:
        tail: (T,) float32, the end of what has been said.
        following: (>= T,) float32, the next piece.
        search_samples: the largest offset that is tried; less where `following` is short.

    Returns:
        The offset in samples, 0 to `search_samples`; the smallest of equals, so silence gives 0.
    """
    overlap = len(tail)
    reach = min(search_samples, len(following) - overlap)
    if overlap == 0 or reach <= 0:
        return 0
    window = following[: overlap + reach].astype(np.float64)
    correlation = np.correlate(window, tail.astype(np.float64), mode="valid")
    power = np.concatenate(([0.0], np.cumsum(window * window)))
    energy = power[overlap:] - power[:-overlap]
    return int(np.argmax(correlation / np.sqrt(np.maximum(energy, 0.0) + 1e-8)))


def splice(tail: FloatArray, following: FloatArray, search_samples: int = 0) -> FloatArray:
    """Puts `following` on the end of a held-back `tail`.

    Args:
        tail: (T,) float32, the last samples of the piece before, not yet played.
        following: (N,) float32 that begins with the same stretch of speech.
        search_samples: how far the start of `following` may be shifted to be in phase; what the shift skips is
            dropped, so 0 keeps the exact length.

    Returns:
        (N - offset,) float32: the cross-faded stretch, then the rest of `following`.

    Raises:
        ValueError: `following` is shorter than `tail`.
    """
    if len(following) < len(tail):
        raise ValueError(f"a splice needs at least {len(tail)} samples, not {len(following)}")
    aligned = following[best_offset(tail, following, search_samples) :]
    overlap = len(tail)
    return np.concatenate((cross_fade(tail, aligned[:overlap]), aligned[overlap:]))


async def with_pauses(
    first: AudioChunk, rest: AsyncGenerator[AudioChunk, None], pauses_s: Sequence[float], max_audio_s: float
) -> AsyncGenerator[AudioChunk, None]:
    """Adds silence after fragments.

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
