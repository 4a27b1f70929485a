"""Whether a clip says its transcript, by their alignment: what is missing, what is too much, and where. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sovits_service.engine.alignment import Alignment
from sovits_service.types import SEMANTIC_TOKENS_PER_SECOND, ReferenceFinding

# Measured on the demonstration voice, over clips that say their transcript (docs/voices.md).
_LEAST_CONFIDENCE = 0.70
_UNSAID_PHONEMES = 4  # in a row: readers swallow one, at times two
_WINDOW_TOKENS, _STRAY_SHARE, _STRAY_COST = 25, 0.48, 1.5
_LONGEST_PHONEME_TOKENS = 15
_MOST_PLACES = 2
_ADVICE = "send what the clip says, word for word"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A transcript as it is read.

    Attributes:
        is_mark: (P,) which phonemes are punctuation marks.
        spans: for each phoneme the characters that it says.
        is_silent: (T,) in which tokens the clip is silent: pauses fit every transcript.
    """

    is_mark: npt.NDArray[np.bool_]
    spans: Sequence[tuple[int, int]]
    is_silent: npt.NDArray[np.bool_]


def find_misfits(alignment: Alignment, reading: Reading) -> list[ReferenceFinding]:
    """What of a transcript its clip does not say, and what the clip says beside it, in the order of time.

    More than two places are told as one: from the first fault on, the attention may be lost for a while.
    """
    found = [_unsaid(alignment, reading, *run) for run in _unsaid_runs(alignment, reading.is_mark)]
    found += [_stray(alignment, reading, *run) for run in _stray_runs(alignment, reading)]
    found.sort(key=lambda finding: finding.start_s or 0.0)
    if len(found) > _MOST_PLACES:
        start_s, end_s = (pick(t for f in found for t in (f.start_s, f.end_s) if t is not None) for pick in (min, max))
        span = _span([finding.text_span for finding in found if finding.text_span is not None])
        message = f"transcript: from {start_s:.1f} s on it does not fit the clip; {_ADVICE}"
        return [ReferenceFinding("transcript", "warning", message, start_s, end_s, span)]
    near = np.exp(-alignment.cost[~reading.is_silent])
    if not found and len(near) and near.mean() < _LEAST_CONFIDENCE:
        return [ReferenceFinding("transcript", "warning", f"transcript: it does not fit the clip; {_ADVICE}")]
    return found


def _unsaid_runs(alignment: Alignment, is_mark: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last phoneme of stretches of which no token says anything; marks neither begin nor end one."""
    spoken = np.flatnonzero(~is_mark)
    is_unsaid = alignment.starts[spoken] == alignment.ends[spoken]
    for start, end in _runs(is_unsaid):
        if end - start >= _UNSAID_PHONEMES:
            yield int(spoken[start]), int(spoken[end - 1])


def _stray_runs(alignment: Alignment, reading: Reading) -> Iterator[tuple[int, int]]:
    """From and to of stretches of tokens that do not say what is next, or that stay on one phoneme for too long."""
    heard = np.flatnonzero(~reading.is_silent)
    if not len(heard):
        return
    path, is_stray = alignment.path[heard], alignment.cost[heard] > _STRAY_COST
    window = min(_WINDOW_TOKENS, len(heard))
    share = np.convolve(is_stray.astype(np.float64), np.ones(window) / window, "valid")
    marked = np.zeros(len(heard), bool)
    for start in np.flatnonzero(share >= _STRAY_SHARE):
        inside = int(start) + np.flatnonzero(is_stray[start : start + window])
        marked[inside[0] : inside[-1] + 1] = True
    lengths = np.bincount(path, minlength=len(reading.is_mark))
    marked |= (lengths > _LONGEST_PHONEME_TOKENS)[path]
    for first, end in _runs(marked):
        yield int(heard[first]), int(heard[end - 1]) + 1


def _unsaid(alignment: Alignment, reading: Reading, first: int, last: int) -> ReferenceFinding:
    at_s, span = _seconds(int(alignment.starts[first])), _span(reading.spans[first : last + 1])
    message = f"transcript: the clip does not say its characters {span[0]} to {span[1]}; {_ADVICE}"
    return ReferenceFinding("transcript_not_said", "warning", message, at_s, at_s, span)


def _stray(alignment: Alignment, reading: Reading, start: int, end: int) -> ReferenceFinding:
    start_s, end_s = _seconds(start), _seconds(end)
    phonemes = range(int(alignment.path[start]), int(alignment.path[end - 1]) + 1)
    words = [i for i in phonemes if not reading.is_mark[i]] or phonemes
    span = _span([reading.spans[i] for i in words])
    message = f"transcript: from {start_s:.1f} to {end_s:.1f} s the clip says something else; {_ADVICE}"
    return ReferenceFinding("transcript_differs", "warning", message, start_s, end_s, span)


def _span(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(start for start, _ in spans), max(end for _, end in spans)


def _seconds(token: int) -> float:
    return round(token / SEMANTIC_TOKENS_PER_SECOND, 2)


def _runs(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """From and to of each run of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield int(start), int(end)
