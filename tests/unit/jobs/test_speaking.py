"""Lines of subtitles in their slots: how fast they are said, and what is told where they do not fit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from sovits_service.deadline import Deadline
from sovits_service.errors import OverloadedError, StorageError, SynthesisError
from sovits_service.jobs.model import Fragment, Job, JobOptions, Slot
from sovits_service.jobs.speaking import speak_fragment
from sovits_service.jobs.timeline import place
from sovits_service.types import AudioChunk, Synthesis, SynthesisRequest

T = TypeVar("T")
RATE_HZ = 1000


class Voice:
    """Says a text of N characters in N seconds at speed 1; a seed that is not asked for is 7.

    Attributes:
        failures: raised before anything is said, one for each request.
    """

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[SynthesisRequest] = []
        self.were_background: list[bool] = []

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        self.asked.append(request)
        self.were_background.append(is_background)
        if self.failures:
            raise self.failures.pop(0)

        async def chunks() -> AsyncGenerator[AudioChunk, None]:
            yield AudioChunk(np.zeros(round(len(request.text) / request.speed * RATE_HZ), np.float32), RATE_HZ)

        return Synthesis(RATE_HZ, 7 if request.seed is None else request.seed, chunks(), 0, ())

    @property
    def is_awaited(self) -> bool:
        return False

    async def in_background(self, work: Callable[[], T]) -> T:
        return work()


def line(text: str, slot: Slot | None = None, number: int = 0, **fields: Any) -> Fragment:
    return Fragment(number, 0, number, SynthesisRequest(text, "en", **fields), slot, "waiting")


async def test_a_line_that_fits_is_said_once_and_no_slower() -> None:
    voice = Voice()
    spoken, audio = await speak_fragment(voice, line("abc", Slot(1.0, 9.0)), 1.5)
    assert (spoken.state, spoken.duration_s, spoken.speed_up, spoken.over_s) == ("done", 3.0, 1.0, 0.0)
    assert audio.startswith(b"fLaC")
    assert voice.were_background == [True]


async def test_a_line_that_is_too_long_is_said_again_faster_with_the_same_seed() -> None:
    voice = Voice()
    spoken, _ = await speak_fragment(voice, line("abcdef", Slot(0.0, 5.0), speed=1.25), 1.5)
    assert spoken.duration_s == 4.8  # it fits as it was asked for
    spoken, _ = await speak_fragment(voice, line("abcdef", Slot(0.0, 4.0), speed=1.25), 1.5)
    assert 3.9 < spoken.duration_s <= 4.0
    assert spoken.speed_up == pytest.approx(4.8 / 4.0, abs=0.01)
    assert [request.seed for request in voice.asked] == [None, None, 7]


async def test_a_line_that_does_not_fit_is_said_to_its_end_and_the_next_starts_late() -> None:
    voice = Voice()
    first, _ = await speak_fragment(voice, line("abcdef", Slot(1.0, 2.0)), 1.5)
    assert (first.duration_s, first.speed_up, first.over_s) == (4.0, 1.5, 3.0)
    second, _ = await speak_fragment(voice, line("ab", Slot(3.0, 6.0), 1), 1.5)
    third, _ = await speak_fragment(voice, line("ab", Slot(20.0, 22.0), 2), 1.5)
    job = Job(
        *("id", "", "done", "", "", "wav", "", ("",), JobOptions(line_pause_s=9.0), 0.0, 0.0, ""),
        *(3, 3, 0, 1, 10, 10, 8.0),
    )  # fmt: skip
    placed = place(job, [first, second, third])
    assert [(item.start_s, item.late_s) for item in placed] == [(1.0, 0.0), (5.0, 2.0), (20.0, 0.0)]


async def test_a_speed_beyond_what_a_request_may_have_is_not_asked_for() -> None:
    voice = Voice()
    spoken, _ = await speak_fragment(voice, line("abcdefghij", Slot(0.0, 1.0), speed=3.5), 3.0)
    assert voice.asked[-1].speed == 4.0
    assert spoken.duration_s == 2.5


async def test_it_waits_while_the_service_is_not_ready_and_tries_a_failed_take_again() -> None:
    voice = Voice(OverloadedError("loading", 0.0), SynthesisError("not finite"), SynthesisError("not finite"))
    spoken, _ = await speak_fragment(voice, line("abc"), 1.5)
    assert (spoken.state, len(voice.asked)) == ("done", 4)
    voice = Voice(*(SynthesisError("not finite") for _ in range(3)))
    spoken, audio = await speak_fragment(voice, line("abc"), 1.5)
    assert (spoken.state, spoken.message, audio) == ("failed", "not finite", b"")


async def test_what_is_wrong_with_all_fragments_ends_the_job() -> None:
    with pytest.raises(StorageError):
        await speak_fragment(Voice(StorageError("the disk is full")), line("abc"), 1.5)
