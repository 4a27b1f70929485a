"""What keeps jobs and their audio: a folder of one process, or what all replicas share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sovits_service.audio.book import Picture
from sovits_service.errors import QuotaExceededError, UnknownJobError
from sovits_service.jobs.model import Fragment, Job, JobState, NewJob
from sovits_service.jobs.timeline import Placed

MISFIT_S = 0.05  # a line that is longer than its slot by less than this fits


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process is to work on, and the numbers of its fragments that are still to be spoken."""

    job: Job
    waiting: Sequence[int]


class ClaimLostError(Exception):
    """The job is another process's now, or has been deleted; nothing was written."""


class JobStore(Protocol):
    """Jobs, their fragments and files. Every method may raise a StorageError.

    Attributes:
        poll_s: seconds between two looks at what other processes have done; None where there are no others.
    """

    poll_s: float | None

    async def open(self) -> bool:
        """Open the store; false where another process has it."""
        ...

    async def close(self) -> None:
        """Let go of everything that is claimed, for the next process."""
        ...

    async def add(self, new: NewJob) -> Job:
        """Keep a job. Raises QuotaExceededError where its owner has too many."""
        ...

    async def jobs(self, owner: str | None = None) -> list[Job]:
        """The jobs of an owner, or all; the newest first."""
        ...

    async def job(self, job_id: str) -> Job:
        """Raise UnknownJobError."""
        ...

    async def fragments(self, job_id: str, first: int = 0, count: int = -1) -> list[Fragment]:
        """Fragments in their order, `count` of them from `first` on; -1 is all."""
        ...

    async def claim(self) -> list[Claim]:
        """Unfinished jobs that no process works on; they are this one's from now on."""
        ...

    async def renew(self) -> set[str]:
        """Keep what is claimed; returns the jobs that have been lost all the same."""
        ...

    async def finish(self, job_id: str, fragment: Fragment, audio: bytes = b"") -> None:
        """Keep a fragment that is spoken, or cannot be. Raises ClaimLostError."""
        ...

    async def set_state(self, job_id: str, state: JobState, message: str = "") -> None:
        """Of a job that this process works on; `done` and `failed` end the claim. Raises ClaimLostError."""
        ...

    def let_go(self, job_id: str) -> None:
        """Renew the claim of a job no more."""
        ...

    async def retry(self, job_id: str) -> bool:
        """Have a failed job claimed once more, with the fragments that could not be spoken; false for any other."""
        ...

    async def delete(self, job_id: str) -> None:
        """Forget a job, and delete its files."""
        ...

    async def expired(self, before_s: float) -> list[str]:
        """Jobs that ended before a time, in seconds of the epoch."""
        ...

    async def clean_up(self) -> None:
        """Delete what belongs to no job."""
        ...

    async def used_bytes(self) -> int:
        """What the files of all jobs take. Costs little."""
        ...

    async def cover(self, job_id: str) -> Picture | None: ...

    def gathered(self, job: Job, placed: Sequence[Placed]) -> AbstractAsyncContextManager[Path]:
        """A folder with the audio of these fragments, in which a file of the whole is made."""
        ...

    async def keep(self, job: Job, file: Path) -> Path:
        """Keep a file that was made in the folder of `gathered`; returns where it lies now."""
        ...

    async def file(self, job_id: str, name: str) -> Path | None:
        """A file that was kept, on this machine's disk; None where there is none of this name."""
        ...


class Room:
    """What the files of all jobs may take together."""

    def __init__(self, store: JobStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes

    async def require(self, further_bytes: int = 1) -> None:
        """Raise a QuotaExceededError where there is no room for so much more."""
        if await self._store.used_bytes() + further_bytes > self._max_bytes:
            raise QuotaExceededError(
                "the files of all jobs take as much as jobs.max_bytes allows: delete jobs that are not needed"
            )


def audio_name(number: int) -> str:
    """The file of a fragment's audio, as FLAC."""
    return f"{number:06d}.flac"


def too_many_jobs(max_jobs: int) -> QuotaExceededError:
    return QuotaExceededError(f"at most {max_jobs} jobs are kept: delete those that are not needed")


def unknown_job() -> UnknownJobError:
    return UnknownJobError("there is no job of this id; GET /jobs lists them")
