"""Jobs of one process: SQLite in a thread of its own, and a folder of files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sovits_service.audio.book import Picture
from sovits_service.jobs.model import Fragment, Job, JobState, NewJob
from sovits_service.jobs.sqlite_store import SqliteStore
from sovits_service.jobs.store import Claim
from sovits_service.jobs.timeline import Placed
from sovits_service.threads import run_in

T = TypeVar("T")


class LocalStore:
    """A `JobStore` that one process at a time opens.

    Args:
        folder: of the database and of the jobs' own folders.
        max_jobs: that one owner may have.
    """

    poll_s: float | None = None

    def __init__(self, folder: Path, max_jobs: int) -> None:
        self._store = SqliteStore(folder, max_jobs)
        self._thread = ThreadPoolExecutor(1, "sovits-jobs")  # the one that SQLite wants
        self._claimed: set[str] = set()
        self._begun: dict[str, tuple[float, int]] = {}
        self._used_bytes = 0

    async def open(self) -> bool:
        if not await self._run(self._store.open):
            return False
        self._used_bytes = await self._run(self._store.used_bytes)
        return True

    async def close(self) -> None:
        await self._run(self._store.close)
        self._thread.shutdown(wait=False)

    async def add(self, new: NewJob) -> Job:
        job_id = await self._run(lambda: self._store.add(new))
        return await self.job(job_id)

    async def jobs(self, owner: str | None = None) -> list[Job]:
        return [self._with_start(job) for job in await self._run(lambda: self._store.jobs(owner))]

    async def job(self, job_id: str) -> Job:
        return self._with_start(await self._run(lambda: self._store.job(job_id)))

    async def fragments(self, job_id: str, first: int = 0, count: int = -1) -> list[Fragment]:
        return await self._run(lambda: self._store.fragments(job_id, first, count))

    async def claim(self) -> list[Claim]:
        claims = []
        for job in reversed(await self.jobs()):
            if not job.is_over and job.id not in self._claimed:
                self._claimed.add(job.id)
                claims.append(Claim(job, await self._waiting(job.id)))
        return claims

    async def renew(self) -> set[str]:
        return set()

    async def finish(self, job_id: str, fragment: Fragment, audio: bytes = b"") -> None:
        await self._run(lambda: self._store.finish(job_id, fragment, audio))
        self._used_bytes += len(audio)

    async def set_state(self, job_id: str, state: JobState, message: str = "") -> None:
        if state == "running":
            job = await self.job(job_id)
            self._begun[job_id] = (time.time(), job.characters_done)
        await self._run(lambda: self._store.set_state(job_id, state, message))
        if state in ("done", "failed"):
            self.let_go(job_id)

    def let_go(self, job_id: str) -> None:
        self._claimed.discard(job_id)
        self._begun.pop(job_id, None)

    async def retry(self, job_id: str) -> bool:
        return await self._run(lambda: self._store.retry(job_id))

    async def delete(self, job_id: str) -> None:
        await self._run(lambda: self._store.delete(job_id))
        self.let_go(job_id)
        self._used_bytes = await self._run(self._store.used_bytes)

    async def expired(self, before_s: float) -> list[str]:
        return await self._run(lambda: self._store.expired(before_s))

    async def clean_up(self) -> None:
        """What a killed process left is deleted when the next one opens the store."""

    async def used_bytes(self) -> int:
        return self._used_bytes

    async def cover(self, job_id: str) -> Picture | None:
        return await self._run(lambda: self._store.cover(job_id))

    @contextlib.asynccontextmanager
    async def gathered(self, job: Job, placed: Sequence[Placed]) -> AsyncGenerator[Path, None]:
        yield self._store.folder(job.id)

    async def keep(self, job: Job, file: Path) -> Path:
        self._used_bytes += (await asyncio.to_thread(file.stat)).st_size
        return file

    async def file(self, job_id: str, name: str) -> Path | None:
        file = self._store.folder(job_id) / name
        return file if await asyncio.to_thread(file.exists) else None

    async def _waiting(self, job_id: str) -> list[int]:
        return await self._run(lambda: self._store.waiting(job_id))

    def _with_start(self, job: Job) -> Job:
        started_s, before = self._begun.get(job.id, (0.0, 0))
        return replace(job, started_s=started_s, characters_before=before)

    async def _run(self, work: Callable[[], T]) -> T:
        """The result of work on the store; what was begun goes on when the caller is cancelled."""
        return await run_in(self._thread, work)
