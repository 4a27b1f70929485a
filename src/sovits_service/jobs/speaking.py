"""Speak one fragment of a job through the service, in the background, and fit it into its slot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import structlog

from sovits_service.audio.encode import encode_whole
from sovits_service.deadline import Deadline
from sovits_service.errors import (
    CheckpointError,
    DeadlineExceededError,
    ForbiddenError,
    InvalidRequestError,
    OverloadedError,
    SovitsError,
    StorageError,
    SynthesisError,
    UnknownVoiceError,
)
from sovits_service.jobs.model import Fragment
from sovits_service.types import FloatArray, Synthesis, SynthesisRequest, TimedText

T = TypeVar("T")
log = structlog.get_logger(__name__)

_PATIENCE_S = 7 * 24 * 3600.0  # it stands still while others are served, however long
_TAKES = 3  # of a fragment that the engine fails on, each with another seed
_LONGEST_SPEED = 4.0  # what `/tts` takes
_ROOM = 0.995  # of the slot that a second take aims at, since lengths are whole frames
# What is wrong with these is wrong with every fragment: they end the job.
FATAL = (UnknownVoiceError, ForbiddenError, CheckpointError, StorageError)


class Speaker(Protocol):
    """What a job needs of the service."""

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis: ...

    @property
    def is_awaited(self) -> bool: ...

    async def in_background(self, work: Callable[[], T]) -> T: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Take:
    samples: FloatArray
    sample_rate_hz: int
    seed: int
    cues: tuple[TimedText, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


async def speak_fragment(service: Speaker, fragment: Fragment, max_speed_up: float) -> tuple[Fragment, bytes]:
    """The fragment as it is spoken, with its audio as FLAC; one that cannot be spoken is `failed`, with no audio.

    A line that is longer than its slot is said again with the same seed, and so with the same tokens, faster.

    Raises:
        SovitsError: one of `FATAL`: no fragment of the job can be spoken.
    """
    for attempt in range(_TAKES):
        try:
            take, speed_up = await _fitting_take(service, fragment, max_speed_up)
            encode = partial(encode_whole, take.samples, take.sample_rate_hz, "flac")
            audio = await service.in_background(encode)
        except FATAL:
            raise
        except (SynthesisError, DeadlineExceededError) as error:
            log.info("job_fragment_failed", kind=type(error).__name__, attempt=attempt + 1)
            failure: SovitsError = error
        except InvalidRequestError as error:
            failure = error
            break
        else:
            spoken = replace(
                fragment,
                state="done",
                samples=len(take.samples),
                sample_rate_hz=take.sample_rate_hz,
                speed_up=round(speed_up, 3),
                cues=take.cues,
            )
            return spoken, audio
    return replace(fragment, state="failed", message=str(failure)), b""


async def _fitting_take(service: Speaker, fragment: Fragment, max_speed_up: float) -> tuple[_Take, float]:
    request = fragment.request
    take = await _take(service, request)
    if fragment.slot is None or take.duration_s <= fragment.slot.length_s:
        return take, 1.0
    wanted = take.duration_s / max(fragment.slot.length_s * _ROOM, 1e-3)
    speed = min(request.speed * min(wanted, max_speed_up), _LONGEST_SPEED)
    if speed <= request.speed:
        return take, 1.0
    return await _take(service, replace(request, speed=speed, seed=take.seed)), speed / request.speed


async def _take(service: Speaker, request: SynthesisRequest) -> _Take:
    while True:
        try:
            synthesis = await service.synthesize(request, Deadline(_PATIENCE_S), is_background=True)
            async with contextlib.aclosing(synthesis.chunks) as chunks:
                told = [chunk async for chunk in chunks]
        except OverloadedError as error:  # loading, no memory at the moment, or the engine on Ray has died
            await asyncio.sleep(error.retry_after_s)
        else:
            break
    samples = np.concatenate([chunk.samples for chunk in told])
    if not len(samples):
        raise SynthesisError("the model made no audio")
    cues = tuple(chunk.cue for chunk in told if chunk.cue is not None)
    return _Take(samples, synthesis.sample_rate_hz, synthesis.seed, cues)
