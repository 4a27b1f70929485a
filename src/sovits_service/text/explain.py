"""Explain a reading: words, phonemes, their places in the text, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sovits_service.text.symbols import symbol_ids
from sovits_service.types import Segment, SymbolSet


@dataclass(frozen=True, slots=True)
class Sound:
    """Phonemes in a row that say the same part of the text.

    Attributes:
        start, end: the part, in characters of the text as it was sent; equal for a pause that was put in.
        text: the part itself.
        phonemes: names of the model's symbol set.
    """

    start: int
    end: int
    text: str
    phonemes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch in one language: the language, the text as it is said, and its sounds."""

    language: str
    said: str
    sounds: tuple[Sound, ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What the engine speaks in one go, and the seconds of silence that the text asks for after it."""

    runs: tuple[Run, ...]
    pause_s: float | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """Letters in a row that have no reading."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What will be said of a text."""

    fragments: tuple[Fragment, ...]
    dropped: tuple[Dropped, ...]


def explain(text: str, segments: Sequence[Segment], symbols: SymbolSet) -> Explanation:
    """Put names and places to what the front end made of a text."""
    names = {number: name for name, number in symbol_ids(symbols).items()}
    fragments = []
    for segment in segments:
        runs = []
        for run in segment.runs:
            said = zip(run.spans, run.phoneme_ids, strict=True)
            sounds = tuple(
                Sound(start, end, text[start:end], tuple(names[number] for _, number in group))
                for (start, end), group in groupby(said, key=lambda item: item[0])
            )
            runs.append(Run(run.language, run.norm_text, sounds))
        fragments.append(Fragment(tuple(runs), segment.pause_s))
    return Explanation(tuple(fragments), _join(text, [span for segment in segments for span in segment.dropped]))


def _join(text: str, spans: Sequence[tuple[int, int]]) -> tuple[Dropped, ...]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(set(spans)):
        if joined and joined[-1][1] >= start:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(Dropped(start, end, text[start:end]) for start, end in joined)


def as_lines(explanation: Explanation) -> list[str]:
    """The same for people: a line of words and a line of sounds for each run."""
    lines: list[str] = []
    for fragment in explanation.fragments:
        for run in fragment.runs:
            lines.append(f"{run.language}  {run.said}")
            lines.append("    " + "  ".join(f"{sound.text or '-'}[{' '.join(sound.phonemes)}]" for sound in run.sounds))
        if fragment.pause_s is not None:
            lines.append(f"    silence of {fragment.pause_s:g} s")
    lines += (f"not read: {dropped.text!r} at {dropped.start}" for dropped in explanation.dropped)
    return lines


def as_ids(segments: Sequence[Segment], pause_s: float) -> dict[str, Any]:
    """What a program with the exported graphs needs of segments, fit for JSON: phoneme ids, and places for BERT.

    Args:
        pause_s: the silence between two fragments where the text asks for none.
    """
    usual = [pause_s] * (len(segments) - 1) + [0.0]
    return {
        "fragments": [
            {
                "runs": [
                    {
                        "language": run.language,
                        "text": run.norm_text,
                        "phoneme_ids": list(run.phoneme_ids),
                        "word2ph": None if run.word2ph is None else list(run.word2ph),
                    }
                    for run in segment.runs
                ],
                "pause_s": length_s if segment.pause_s is None else segment.pause_s,
            }
            for segment, length_s in zip(segments, usual[: len(segments)], strict=True)
        ]
    }
