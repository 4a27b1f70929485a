"""Find what went wrong in a take of a fragment: in its alignment, its tokens and its waveform. NumPy only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sovits_service.engine.alignment import Alignment
from sovits_service.types import FaultKind, FloatArray, Segment

_SURE = 0.4  # of an alignment's confidence: below it nothing is said of words
_UNSAID_PHONEMES = 2  # in a row; a single one is often said within its neighbour
_STRAY_TOKENS, _STRAY_PHONEMES = 4, 2  # a single one is mostly the same sound at another place of the text
_STRAY_COST = 20.0  # in nats, of all of them, where sounds draw the attention
_LEAKED_TOKENS, _LEAK = 4, 0.3  # attention to the reference's words, as a share of that to the text
_LOOP_TOKENS = 25  # one second
_LONGEST_PERIOD = 50
_RECURRING = 0.6  # of tokens are those of a round before, in speech that goes in a circle with variations
_UNSAID_COST, _ASTRAY_COST = 0.25, 0.02  # of a phoneme without a token, of a token that attends elsewhere
_SLOWER, _FASTER = 2.5, 0.35  # than the voice's own clip, from which speech is too long or too short
_SPARE_TOKENS = 38  # 1.5 s, which pauses in a short fragment may take
_FRAME_S = 0.02
_SILENT_DB, _FLOOR_DB = -50.0, -120.0
_NOISE_FLATNESS, _NOISE_S, _NOISE_BELOW_PEAK_DB = 0.35, 0.6, 30.0
_CLIPPED_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """One attempt at a fragment.

    Attributes:
        tokens: without the end token.
        alignment: None where nothing was sure, or nothing asked for it.
        faults: each once, the gravest first; empty for a take that seems right.
        cost: of its faults, and of what the alignment leaves open; the take with the least is kept.
    """

    tokens: tuple[int, ...]
    alignment: Alignment | None
    faults: tuple[FaultKind, ...]
    cost: float


def best_take(takes: Sequence[Take]) -> Take:
    """The one with the least cost, the first of equals."""
    return min(takes, key=lambda take: take.cost)


@dataclass(frozen=True, slots=True)
class Guard:
    """Judges takes.

    Args:
        pause_ids: phoneme ids of punctuation marks.
    """

    pause_ids: Collection[int] = field(repr=False)

    def pace(self, prompt: Segment | None, prompt_tokens: int) -> float | None:
        """Tokens for each phoneme in the voice's clip, marks not counted; None where nobody told what it says."""
        spoken = self._spoken(prompt).sum() if prompt is not None else 0
        return float(prompt_tokens / spoken) if spoken and prompt_tokens else None

    def judge(
        self,
        segment: Segment,
        tokens: Sequence[int],
        alignment: Alignment | None,
        pace: float | None,
        *,
        has_looped: bool,
    ) -> Take:
        """A take by what its tokens and its alignment say.

        Args:
            pace: of the voice, as from `pace`.
            has_looped: whether it was ended since it went on in a loop.
        """
        spoken = self._spoken(segment)
        found: dict[FaultKind, float] = {}
        if has_looped or loop_start(tokens) is not None:
            found["loop"] = 4.0
        found |= wrong_length(len(tokens), int(spoken.sum()), pace)
        if alignment is not None and alignment.confidence >= _SURE:
            found |= misreadings(alignment, spoken)
        doubt = open_questions(alignment, spoken) if alignment is not None else 0.0
        faults = tuple(sorted(found, key=lambda kind: -found[kind]))
        return Take(tuple(tokens), alignment, faults, sum(found.values()) + doubt)

    def loop_start(self, segment: Segment, tokens: Sequence[int], pace: float | None) -> int | None:
        """Where unfinished speech should have ended that goes in a circle; None where it may go on.

        A circle with variations may be in the text ("ha ha ha"): it is ended where the speech is too long for its text.
        """
        start, phonemes = loop_start(tokens), int(self._spoken(segment).sum())
        if start is None and "too_long" in wrong_length(len(tokens), phonemes, pace):
            start, usual = recurrence_start(tokens), round(phonemes * (pace or 0.0))
            return None if start is None else max(start, usual)
        return start

    def _spoken(self, segment: Segment) -> npt.NDArray[np.bool_]:
        """(P,) which phonemes are no marks."""
        return ~np.isin(segment.phoneme_ids, list(self.pause_ids))


def misreadings(alignment: Alignment, spoken: npt.NDArray[np.bool_]) -> dict[FaultKind, float]:
    """What was left out, said twice or read from the reference; each with a weight that grows with its length."""
    found: dict[FaultKind, float] = {}
    said = alignment.ends > alignment.starts
    if (unsaid := longest_run(~said[spoken])) >= _UNSAID_PHONEMES:
        found["missing"] = 1.0 + unsaid / 4
    leaked = alignment.prompt_attention > _LEAK * alignment.attention.sum(axis=1)
    if (run := longest_run(leaked)) >= _LEAKED_TOKENS:
        found["leak"] = 2.0 + run / 8
    peak = alignment.attention.argmax(axis=1)
    limit = _STRAY_COST if alignment.follows_sounds else 0.0
    stray = [peak[run] for run in runs((peak != alignment.path) & ~leaked) if alignment.cost[run].sum() >= limit]
    phrases = [len(part) for part in stray if len(part) >= _STRAY_TOKENS and len(set(part)) >= _STRAY_PHONEMES]
    if phrases:
        found["repeated"] = 1.0 + max(phrases) / 8
    return found


def open_questions(alignment: Alignment, spoken: npt.NDArray[np.bool_]) -> float:
    """A cost of what is no fault, but is more often there in faulty takes: phonemes unsaid, tokens astray."""
    unsaid = np.count_nonzero((alignment.starts == alignment.ends)[spoken])
    astray = np.count_nonzero(alignment.attention.argmax(axis=1) != alignment.path)
    return 1.0 - alignment.confidence + _UNSAID_COST * unsaid + _ASTRAY_COST * astray


def wrong_length(tokens: int, phonemes: int, pace: float | None) -> dict[FaultKind, float]:
    """Speech that is far slower or faster than the voice's own clip."""
    if pace is None or not phonemes:
        return {}
    usual = phonemes * pace
    if tokens > _SLOWER * usual + _SPARE_TOKENS:
        return {"too_long": 3.0}
    return {"too_short": 3.0} if tokens < _FASTER * usual else {}


def loop_start(tokens: Sequence[int]) -> int | None:
    """Where the second round begins of a circle that lasts until the end, for a second and two rounds at least."""
    for period in range(1, _LONGEST_PERIOD + 1):
        again = max(_LOOP_TOKENS, 2 * period)
        if len(tokens) >= again + period and tokens[-again:] == tokens[-again - period : -period]:
            start = len(tokens) - again - period
            while start and tokens[start - 1] == tokens[start - 1 + period]:
                start -= 1
            return start + period
    return None


def recurrence_start(tokens: Sequence[int]) -> int | None:
    """Where the second round begins of a circle with variations that lasts until the end; None where there is none."""
    said = np.array(tokens)
    for period in range(1, _LONGEST_PERIOD + 1):
        length = max(_LOOP_TOKENS, 2 * period)
        if len(said) < length + period:
            break
        gain = (said[period:] == said[:-period]) - _RECURRING
        if gain[-length:].sum() >= 0:
            rounds = int(np.argmax(np.cumsum(gain[::-1]))) + 1  # as far back as more recurs than not
            return len(said) - rounds
    return None


def wave_faults(samples: FloatArray, sample_rate_hz: int) -> tuple[FaultKind, ...]:
    """What a waveform shows by itself.

    Args:
        samples: (T,) float32 of a whole fragment, as the decoder gave it: beyond ±1 it would clip.
    """
    frame = round(_FRAME_S * sample_rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)
    if not len(frames):
        return ()
    level_db = 10 * np.log10(np.square(frames).mean(axis=1) + 10 ** (_FLOOR_DB / 10))
    found: list[FaultKind] = []
    if level_db.max() < _SILENT_DB:
        found.append("silence")
    elif _noisy_s(frames, level_db) >= _NOISE_S:
        found.append("noise")
    if np.mean(np.abs(samples) >= 1.0) > _CLIPPED_SHARE:
        found.append("clipping")
    return tuple(found)


def _noisy_s(frames: npt.NDArray[np.float64], level_db: npt.NDArray[np.float64]) -> float:
    """The longest stretch that is loud, and as flat in its spectrum as no speech is for so long.

    Spectral flatness is the geometric mean of the power spectrum over its arithmetic mean (Johnston, 1988): 0.56 for
    white noise, below 0.1 for voices.
    """
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]), axis=1)))[:, 2:] + 1e-12
    flatness = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    loud = level_db > max(_SILENT_DB, level_db.max() - _NOISE_BELOW_PEAK_DB)
    return longest_run(loud & (flatness > _NOISE_FLATNESS)) * _FRAME_S


def longest_run(mask: npt.NDArray[np.bool_]) -> int:
    """Length of the longest stretch of True."""
    return max((run.stop - run.start for run in runs(mask)), default=0)


def runs(mask: npt.NDArray[np.bool_]) -> list[slice]:
    """The stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).tolist()
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
