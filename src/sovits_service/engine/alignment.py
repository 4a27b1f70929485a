"""From attention weights to phoneme times, with a confidence. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sovits_service.types import FloatArray

_FLOOR = 1e-3  # of attention: no single row may rule a path out
_SKIP_COST = 3.0  # of a phoneme without a token, in nats
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """When the phonemes of a finished fragment are said; times in tokens, 25 a second, from its first.

    Attributes:
        path: (T,) the phoneme that each token says; it never goes back.
        starts, ends: (P,) of each phoneme; equal for one that no token says.
        phoneme_confidence: (P,) in [0, 1]; 0 for one that no token says.
        confidence: of the whole, in [0, 1].
        cost: (T,) float32, nats: -log of what the token's attention to the text has around the path. It jumps where
            tokens say what is not next: words twice, or another text.
        attention: (T, P) float32, the mean over the heads of what share of a token's attention to text goes to the
            fragment's phonemes.
        prompt_attention: (T,) float32, what share of it goes to what the reference says: the rest.
        follows_sounds: whether sounds draw the attention wherever the text has them, so that what is astray says less.
    """

    path: IntArray
    starts: IntArray
    ends: IntArray
    phoneme_confidence: FloatArray
    confidence: float
    cost: FloatArray
    attention: FloatArray
    prompt_attention: FloatArray
    follows_sounds: bool = False


def align(
    attention: FloatArray, prompt_attention: FloatArray | None = None, *, follows_sounds: bool = False
) -> Alignment:
    """The monotonic path with the most attention.

    Args:
        attention: (T, P) of each token to each phoneme; T and P are 1 at the least.
        prompt_attention: (T,) to what else there is to be read; None: there is nothing.
        follows_sounds: as in `Alignment`.
    """
    shares = attention / np.maximum(attention.sum(axis=1, keepdims=True), 1e-9)
    path = monotonic_path(np.log(shares + _FLOOR))
    tokens, phonemes = shares.shape
    near = _near(shares, path)
    starts = np.searchsorted(path, np.arange(phonemes), side="left")
    ends = np.searchsorted(path, np.arange(phonemes), side="right")
    counts = np.bincount(path, minlength=phonemes)
    sums = np.bincount(path, weights=near, minlength=phonemes)
    return Alignment(
        path=path,
        starts=starts,
        ends=ends,
        phoneme_confidence=(sums / np.maximum(counts, 1)).astype(np.float32),
        confidence=float(near.mean()),
        cost=-np.log(near + _FLOOR).astype(np.float32),
        attention=attention,
        prompt_attention=np.zeros(tokens, np.float32) if prompt_attention is None else prompt_attention,
        follows_sounds=follows_sounds,
    )


def monotonic_path(log_shares: FloatArray) -> IntArray:
    """The path over rows with the largest sum, which stays, steps to the next column, or skips some at a cost each.

    Args:
        log_shares: (T, P).

    Returns:
        (T,) column of each row.
    """
    tokens, phonemes = log_shares.shape
    # Column c is kept with c skips added: then a path from any column further left has lost the same on its way, and a
    # running maximum over the row finds the best of them.
    best = np.empty((tokens, phonemes))
    from_left = np.full((tokens, phonemes), -np.inf)
    best[0] = log_shares[0]
    for row in range(1, tokens):
        np.maximum.accumulate(best[row - 1, :-1], out=from_left[row, 1:])
        from_left[row] += _SKIP_COST
        np.maximum(best[row - 1], from_left[row], out=best[row])
        best[row] += log_shares[row]
    path = np.empty(tokens, np.int64)
    column = path[-1] = int(np.argmax(best[-1]))  # phonemes after the end were skipped
    for row in range(tokens - 1, 0, -1):
        if from_left[row, column] > best[row - 1, column]:
            column -= 1 + int(np.argmax(best[row - 1, :column][::-1]))
        path[row - 1] = column
    return path


def goes_along(attention: FloatArray) -> bool:
    """Whether the middle of a head's attention moves through the text with time: what does not needs no path."""
    shares = attention / np.maximum(attention.sum(axis=1, keepdims=True), 1e-9)
    middle = shares @ np.arange(shares.shape[1])
    if len(middle) < 2 or middle.std() == 0:
        return False
    return bool(np.corrcoef(middle, np.arange(len(middle)))[0, 1] > 0.5)


def head_score(attention: FloatArray) -> float:
    """How much a head looks like one that reads along: peaked, monotone and complete, each in [0, 1]; their product.

    Args:
        attention: (T, P) of the tokens of an utterance to its phonemes.
    """
    shares = attention / np.maximum(attention.sum(axis=1, keepdims=True), 1e-9)
    path = monotonic_path(np.log(shares + _FLOOR))
    is_monotone = np.abs(shares.argmax(axis=1) - path) <= 1
    complete = len(np.unique(path)) / shares.shape[1]
    return float(_near(shares, path).mean() * is_monotone.mean() * complete)


def pause_score(path: IntArray, is_pause: npt.NDArray[np.bool_], loudness_db: FloatArray) -> float:
    """How well the tokens that a path gives to marks are the quiet ones, as a correlation, 0 at the least.

    A head that looks at the next phoneme is as monotone as one that looks at this one; this tells them apart.

    Args:
        path: (T,) phonemes.
        is_pause: (P,) which of them are punctuation marks.
        loudness_db: (T,) of the recording in the time of each token.
    """
    marks = is_pause[path].astype(np.float64)
    if marks.std() == 0 or loudness_db.std() == 0:
        return 0.0
    return max(0.0, float(np.corrcoef(marks, -loudness_db)[0, 1]))


def loudness_db(samples: FloatArray, sample_rate_hz: int, tokens: int) -> FloatArray:
    """(tokens,) RMS level of a clip in the time of each token, silence where it has ended."""
    frame = sample_rate_hz / 25
    edges = np.minimum(np.round(np.arange(tokens + 1) * frame).astype(int), len(samples))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples.astype(np.float64)))])
    level: FloatArray = (10 * np.log10(np.diff(energy[edges]) / frame + 1e-6)).astype(np.float32)
    return level


def _near(shares: FloatArray, path: IntArray) -> FloatArray:
    """(T,) of each row's attention what goes to its column of the path and to the two beside it."""
    padded = np.pad(shares, ((0, 0), (1, 1)))
    rows = np.arange(len(path))
    near: FloatArray = np.minimum(padded[rows, path] + padded[rows, path + 1] + padded[rows, path + 2], 1.0)
    return near
