"""How fast one replica is, by how many requests share it: read from what `benchmarks.calibrate` has measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

MAX_RUNNING = 16  # as in configs/service.yaml


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """One replica. Tables begin at one request being worked on, and end at as many as are worked on together.

    Attributes:
        first_audio_s: from the request to its first audio, its voice being warm.
        rest_s: from there to the end, for each second of speech.
        encode_s: what a cold voice takes before that.
        speech_s: seconds of speech of the requests, each as frequent as the other.
        start_s: from the start of a process until it is ready, its weights loaded.
        waiting: requests that may wait; one more is refused.
    """

    first_audio_s: tuple[float, ...]
    rest_s: tuple[float, ...]
    encode_s: tuple[float, ...]
    speech_s: tuple[float, ...]
    start_s: float
    waiting: int = 64

    @property
    def running(self) -> int:
        """Requests that are worked on together."""
        return len(self.first_audio_s)

    @property
    def mean_speech_s(self) -> float:
        return sum(self.speech_s) / len(self.speech_s)

    @property
    def capacity(self) -> float:
        """Seconds of speech a second, of a replica that never has nothing to do."""
        tables = zip(self.first_audio_s, self.rest_s, strict=True)
        mean_s = self.mean_speech_s
        return max(
            rows * mean_s / (first_s + rest_s * mean_s) for rows, (first_s, rest_s) in enumerate(tables, start=1)
        )


def read_service_times(path: Path, model: str) -> ServiceTimes:
    """The times of a model in a file of `benchmarks.calibrate`."""
    return service_times(json.loads(path.read_text(encoding="utf-8"))["models"][model])


def service_times(measured: dict[str, Any]) -> ServiceTimes:
    """Times as they were measured, at other numbers of requests interpolated."""

    def table(part: str, name: str) -> tuple[float, ...]:
        return interpolate({int(row["requests"]): row[name] for row in measured[part]}, MAX_RUNNING)

    return ServiceTimes(
        first_audio_s=table("rows", "first_audio_s"),
        rest_s=table("rows", "rest_s"),
        encode_s=table("encoding", "encode_s"),
        speech_s=tuple(measured["speech_s"]),
        start_s=measured["start_s"],
    )


def interpolate(measured: dict[int, float], upto: int = 0) -> tuple[float, ...]:
    """A value for 1, 2, 3, ...: linear between what was measured, and beyond the last in proportion to the number."""
    points = sorted(measured.items())
    values = [points[0][1]]
    for (low, low_value), (high, high_value) in pairwise(points):
        step = (high_value - low_value) / (high - low)
        values += [low_value + step * (number - low) for number in range(low + 1, high + 1)]
    last, value = points[-1]
    values += [value * number / last for number in range(last + 1, upto + 1)]
    return tuple(values)
