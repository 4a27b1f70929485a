"""Put the fragments of a job together to one file: audio, or a zip of its lines."""

from __future__ import annotations

import json
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, cast

import numpy as np
import soundfile
import soxr

from sovits_service.audio.book import Picture, Tags, open_book
from sovits_service.audio.encode import encode_whole
from sovits_service.audio.join import silence
from sovits_service.errors import InvalidRequestError, StorageError
from sovits_service.jobs.model import Job, JobFormat
from sovits_service.jobs.store import audio_name
from sovits_service.jobs.timeline import Placed, marks
from sovits_service.types import FloatArray

_LONGEST_WAIT_S = 1.0
_LOOK_S = 0.01
CONTENT_TYPES: dict[JobFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "m4b": "audio/mp4",
    "wav": "audio/wav",
    "zip": "application/zip",
}


class RenderCancelledError(Exception):
    """The job was deleted, or the service is to stop."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When the work on a file goes on.

    Attributes:
        stop: set from another thread, it ends the work.
        is_awaited: whether others go first.
    """

    stop: threading.Event
    is_awaited: Callable[[], bool]

    def keep(self) -> None:
        """Let others go first, for a while: somebody may wait for the file too. Called between fragments.

        Raises:
            RenderCancelledError: the work is to stop.
        """
        end_s = time.monotonic() + _LONGEST_WAIT_S
        while self.is_awaited() and time.monotonic() < end_s and not self.stop.wait(_LOOK_S):
            pass
        if self.stop.is_set():
            raise RenderCancelledError


def render(
    job: Job, form: JobFormat, placed: Sequence[Placed], folder: Path, cover: Picture | None, pace: Pace
) -> Path:
    """The file of a job; it has its name only when it is whole.

    Args:
        placed: the fragments that were spoken; their audio lies in `folder`.
        pace: when to stop, and to let others go first.

    Raises:
        InvalidRequestError: nothing was spoken, or the format cannot hold as much.
        StorageError: the disk is full, or a fragment's file is missing.
        RenderCancelledError: it was told to stop.
    """
    if not placed:
        raise InvalidRequestError("nothing of the text could be spoken")
    output = folder / f"audio.{form}"
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        if form == "zip":
            _write_lines(job, placed, folder, temporary, pace)
        else:
            tags = Tags(job.title, job.author, marks(job, placed), cover)
            _write_whole(form, tags, placed, folder, temporary, pace)
        temporary.replace(output)
    except (OSError, soundfile.LibsndfileError) as error:
        raise StorageError("the audio cannot be put together: the disk is full, or a file is missing") from error
    finally:
        temporary.unlink(missing_ok=True)
    return output


def _rate_hz(placed: Sequence[Placed]) -> int:
    return max(item.fragment.sample_rate_hz for item in placed)


def _write_whole(form: JobFormat, tags: Tags, placed: Sequence[Placed], folder: Path, file: Path, pace: Pace) -> None:
    rate_hz = _rate_hz(placed)
    writer = open_book(file, cast("Literal['mp3', 'opus', 'm4b', 'wav']", form), rate_hz, tags)
    written = 0
    try:
        for item, samples in _sounds(placed, folder, rate_hz, pace):
            gap = silence(item.start_s - written / rate_hz, rate_hz)
            writer.write(np.concatenate((gap, samples)))
            written += len(gap) + len(samples)
    finally:
        writer.close()


def _write_lines(job: Job, placed: Sequence[Placed], folder: Path, file: Path, pace: Pace) -> None:
    """A wav file for each line, and `lines.jsonl` with what each says."""
    rate_hz = _rate_hz(placed)
    told: list[str] = []
    with zipfile.ZipFile(file, "w") as archive:
        for line, group in groupby(_sounds(placed, folder, rate_hz, pace), key=lambda pair: pair[0].fragment.line):
            pairs = list(group)
            first = pairs[0][0]
            pieces: list[FloatArray] = []
            for item, samples in pairs:
                said_s = first.start_s + sum(map(len, pieces)) / rate_hz
                pieces += [silence(item.start_s - said_s, rate_hz), samples]
            name = f"{line + 1:05d}.wav"
            archive.writestr(name, encode_whole(np.concatenate(pieces), rate_hz, "wav"))
            content = {
                "file": name,
                "chapter": job.chapters[first.fragment.chapter],
                "voice": first.fragment.request.voice_id or "",
                "text": "".join(item.fragment.request.text for item, _ in pairs).strip(),
                "start_s": round(first.start_s, 3),
                "end_s": round(pairs[-1][0].end_s, 3),
            }
            told.append(json.dumps(content, ensure_ascii=False))
        archive.writestr("lines.jsonl", "\n".join(told) + "\n", zipfile.ZIP_DEFLATED)


def _sounds(placed: Sequence[Placed], folder: Path, rate_hz: int, pace: Pace) -> Iterator[tuple[Placed, FloatArray]]:
    """Each fragment's samples at one rate: voices with weights of their own may have another."""
    for item in placed:
        pace.keep()
        samples, own_rate_hz = soundfile.read(folder / audio_name(item.fragment.number), dtype="float32")
        yield item, samples if own_rate_hz == rate_hz else soxr.resample(samples, own_rate_hz, rate_hz)
