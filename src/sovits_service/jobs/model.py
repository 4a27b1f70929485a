"""What a job is: a text that is spoken in fragments, and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from sovits_service.audio.book import Picture
from sovits_service.types import SamplingParams, SynthesisRequest, TimedText

JobState = Literal["queued", "running", "encoding", "done", "failed"]
FragmentState = Literal["waiting", "done", "failed"]
JobFormat = Literal["mp3", "opus", "m4b", "wav", "zip"]
JOB_FORMATS: tuple[JobFormat, ...] = get_args(JobFormat)
_TUPLES = ("aux_ref_audio",)


@dataclass(frozen=True, slots=True)
class Slot:
    """When a line of a subtitle file is shown, in seconds of the whole."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job's fragments are put together.

    Attributes:
        line_pause_s, chapter_pause_s: silence after a line (a paragraph) and after a chapter.
        max_speed_up: how many times faster than asked for a line may be said to fit its slot.
    """

    line_pause_s: float = 0.5
    chapter_pause_s: float = 1.5
    max_speed_up: float = 1.5


@dataclass(frozen=True, slots=True)
class FragmentPlan:
    """A fragment before it is spoken.

    Attributes:
        chapter: number of its chapter, from 0.
        line: number of its line in the whole text, from 0; a long line has several fragments.
        request: what is said, and how.
        slot: where the line has to fit in; None where it may take its time.
    """

    chapter: int
    line: int
    request: SynthesisRequest
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is submitted.

    Attributes:
        owner: name of the API key; empty is everybody's.
        chapters: their titles.
        format: of the audio that is made when all is spoken; others are made when they are asked for.
        subtitles: the usual format of the subtitles; empty: there are none.
    """

    owner: str
    title: str
    author: str
    chapters: Sequence[str]
    fragments: Sequence[FragmentPlan]
    format: JobFormat = "mp3"
    subtitles: str = ""
    options: JobOptions = JobOptions()
    cover: Picture | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored, with the sums over its fragments.

    Attributes:
        created_s, finished_s: seconds of the epoch; `finished_s` is 0 while it is not.
        characters, characters_done: of the text; failed fragments count as done.
        message: why it failed.
        misfits: lines that are longer than their slot.
        started_s, characters_before: when the process that works on it began, and what had been spoken then; 0 while
            nobody works on it.
    """

    id: str
    owner: str
    state: JobState
    title: str
    author: str
    format: JobFormat
    subtitles: str
    chapters: tuple[str, ...]
    options: JobOptions
    created_s: float
    finished_s: float
    message: str
    total: int
    done: int
    failed: int
    misfits: int
    characters: int
    characters_done: int
    duration_s: float
    started_s: float = 0.0
    characters_before: int = 0

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed")

    def remaining_s(self, now_s: float) -> float | None:
        """How long the rest will take at the rate so far, standing still included; None where that is not known."""
        spoken = self.characters_done - self.characters_before
        if self.is_over or not self.started_s or spoken <= 0:
            return None
        return (self.characters - self.characters_done) * max(0.0, now_s - self.started_s) / spoken


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment as it is stored.

    Attributes:
        samples, sample_rate_hz: of its audio; 0 before it is spoken.
        speed_up: how many times faster than asked for it is said, to fit its slot.
        cues: what is said when, from its own start.
        message: why it failed.
    """

    number: int
    chapter: int
    line: int
    request: SynthesisRequest
    slot: Slot | None
    state: FragmentState
    samples: int = 0
    sample_rate_hz: int = 0
    speed_up: float = 1.0
    cues: tuple[TimedText, ...] = field(default=())
    message: str = ""

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate_hz if self.sample_rate_hz else 0.0

    @property
    def over_s(self) -> float:
        """How much longer than its slot it is."""
        return max(0.0, self.duration_s - self.slot.length_s) if self.slot is not None else 0.0


def pack_request(request: SynthesisRequest) -> str:
    """A request as JSON; that of a recording cannot be stored."""
    assert request.source is None
    values = {f.name: getattr(request, f.name) for f in fields(SynthesisRequest) if f.name != "source"}
    return json.dumps({**values, "sampling": asdict(request.sampling)}, ensure_ascii=False)


def unpack_request(packed: str) -> SynthesisRequest:
    """The request again; fields that this version does not know are left out."""
    values: Mapping[str, Any] = json.loads(packed)
    known = {f.name: values[f.name] for f in fields(SynthesisRequest) if f.name in values}
    known |= {name: tuple(known[name]) for name in _TUPLES if name in known}
    sampling = {f.name: known["sampling"][f.name] for f in fields(SamplingParams) if f.name in known["sampling"]}
    return SynthesisRequest(**{**known, "sampling": SamplingParams(**sampling)})
