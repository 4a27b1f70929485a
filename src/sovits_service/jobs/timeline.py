"""When each fragment of a job is heard in the whole: pauses, slots of subtitles, chapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sovits_service.audio.book import Mark
from sovits_service.jobs.model import Fragment, Job
from sovits_service.types import TimedText


@dataclass(frozen=True, slots=True)
class Placed:
    """A spoken fragment, and when it starts in the whole."""

    fragment: Fragment
    start_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.fragment.duration_s

    @property
    def late_s(self) -> float:
        """How much later than its slot it starts, since the line before it was too long."""
        return self.start_s - self.fragment.slot.start_s if self.fragment.slot is not None else 0.0


def place(job: Job, fragments: Sequence[Fragment]) -> list[Placed]:
    """The spoken fragments in their order; those that could not be spoken are left out."""
    placed: list[Placed] = []
    cursor_s = 0.0
    for fragment in fragments:
        if fragment.state != "done":
            continue
        if fragment.slot is not None:
            start_s = max(cursor_s, fragment.slot.start_s)
        else:
            start_s = cursor_s + (_pause_s(job, placed[-1].fragment, fragment) if placed else 0.0)
        placed.append(Placed(fragment, start_s))
        cursor_s = placed[-1].end_s
    return placed


def _pause_s(job: Job, before: Fragment, fragment: Fragment) -> float:
    if before.chapter != fragment.chapter:
        return job.options.chapter_pause_s
    return job.options.line_pause_s if before.line != fragment.line else before.request.pause_s


def marks(job: Job, placed: Sequence[Placed]) -> list[Mark]:
    """The chapters that are heard; each ends where the next begins. None where there is but one without a title."""
    starts: dict[int, float] = {}
    for item in placed:
        starts.setdefault(item.fragment.chapter, 0.0 if not starts else item.start_s)
    if len(starts) < 2 and not any(job.chapters):
        return []
    ends = [*list(starts.values())[1:], placed[-1].end_s if placed else 0.0]
    return [
        Mark(job.chapters[chapter] or str(chapter + 1), start_s, end_s)
        for (chapter, start_s), end_s in zip(starts.items(), ends, strict=True)
    ]


def cues(placed: Sequence[Placed]) -> list[TimedText]:
    """What is said when, in seconds of the whole."""
    return [
        cue._replace(start_s=item.start_s + cue.start_s, end_s=item.start_s + cue.end_s)
        for item in placed
        for cue in item.fragment.cues
    ]
