"""Jobs of all replicas: what they are and how far they have come in Redis, their audio in the object store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sovits_service.audio.book import Picture
from sovits_service.errors import StorageError
from sovits_service.jobs.document import read_cover
from sovits_service.jobs.model import (
    Fragment,
    FragmentPlan,
    Job,
    JobOptions,
    JobState,
    NewJob,
    Slot,
    pack_request,
    unpack_request,
)
from sovits_service.jobs.shared_scripts import ADD, CLAIM, DELETE, FINISH, KEEP, RELEASE, RENEW, RETRY, SET_STATE
from sovits_service.jobs.store import MISFIT_S, Claim, ClaimLostError, audio_name, too_many_jobs, unknown_job
from sovits_service.jobs.timeline import Placed
from sovits_service.storage.files import make_private_folder, write_atomic
from sovits_service.storage.objects.objects import ObjectStore
from sovits_service.storage.replicas.redis_link import RedisLink
from sovits_service.types import TimedText

_ID_BYTES = 12
_ID = re.compile(f"[0-9a-f]{{{2 * _ID_BYTES}}}")
_LEASE_S = 15.0  # the jobs of a process that died are others' after so long
_POLL_S = 1.0
_DRAFT_S = 600  # what a process that died while it wrote a job leaves in Redis
_CHUNK = 200  # fragments that are written or read in one operation
_LARGEST_FILE_BYTES = 512 * 2**20  # a larger file is made again by each replica that is asked for it
_KEPT_S = 24 * 3600.0  # copies of files on this disk; objects without a job
_TEXTS = ("owner", "state", "title", "author", "format", "subtitles", "message")
_TIMES = ("created_s", "finished_s", "duration_s", "started_s")
_COUNTS = ("total", "done", "failed", "misfits", "characters", "characters_done", "characters_before")


class SharedStore:
    """A `JobStore` that any number of processes open. A job has one that works on it, by a lease that it renews.

    Whatever such a process writes is refused once its lease has ended. Files are named so that a take of it never
    stands in place of another's.

    Args:
        link: to the Redis that the replicas share.
        objects: the same for all of them.
        folder: for copies of files on this machine.
        max_jobs: that one owner may have.
        prefix: of all keys in Redis.
    """

    poll_s: float | None = _POLL_S

    def __init__(
        self,
        link: RedisLink,
        objects: ObjectStore,
        folder: Path,
        max_jobs: int,
        *,
        prefix: str = "sovits:jobs:",
        lease_s: float = _LEASE_S,
    ) -> None:
        self._link = link
        self._objects = objects
        self._folder = folder / "shared"
        self._max_jobs = max_jobs
        self._prefix = prefix
        self._lease_ms = round(lease_s * 1000)
        self._token = secrets.token_hex(8)
        self._claimed: set[str] = set()
        self._scripts: dict[str, Any] = {}

    async def open(self) -> bool:
        await asyncio.to_thread(make_private_folder, self._folder)
        await self._link.run(lambda: self._link.client.ping())
        return True

    async def close(self) -> None:
        for job_id in list(self._claimed):
            with contextlib.suppress(StorageError):
                await self._script(RELEASE, job_id, self._token)
        self._claimed.clear()
        await self._link.close()

    async def add(self, new: NewJob) -> Job:
        job_id = secrets.token_hex(_ID_BYTES)
        if new.cover is not None:
            await self._objects.put(self._object(job_id, "cover"), new.cover.data)
        key = self._key(job_id, "plans")
        for start in range(0, len(new.fragments), _CHUNK):
            numbers = range(start, min(start + _CHUNK, len(new.fragments)))
            plans = [text for number in numbers for text in (str(number), _pack_plan(new.fragments[number]))]
            await self._run(partial(self._link.client.hset, key, items=plans))
            await self._run(partial(self._link.client.expire, key, _DRAFT_S))
        values = {
            "owner": new.owner,
            "state": "queued",
            "title": new.title,
            "author": new.author,
            "format": new.format,
            "subtitles": new.subtitles,
            "chapters": json.dumps(list(new.chapters), ensure_ascii=False),
            "options": json.dumps(asdict(new.options)),
            "created_s": time.time(),
            "total": len(new.fragments),
            "characters": sum(len(plan.request.text) for plan in new.fragments),
        }
        pairs = [text for pair in values.items() for text in pair]
        if not await self._script(ADD, job_id, new.owner, self._max_jobs, values["created_s"], *pairs):
            await self._delete_objects(job_id)
            raise too_many_jobs(self._max_jobs)
        return await self.job(job_id)

    async def jobs(self, owner: str | None = None) -> list[Job]:
        ids = await self._ids()
        found: list[Job] = []
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows = await self._run(partial(self._read_jobs, chunk))
            found += [_job(job_id, row) for job_id, row in zip(chunk, rows, strict=True) if row]
        return [job for job in found if owner is None or job.owner == owner]

    async def job(self, job_id: str) -> Job:
        if not _ID.fullmatch(job_id):  # as clients send it: it would name another key
            raise unknown_job()
        [row] = await self._run(lambda: self._read_jobs([job_id]))
        if not row:
            raise unknown_job()
        return _job(job_id, row)

    async def fragments(self, job_id: str, first: int = 0, count: int = -1) -> list[Fragment]:
        total = (await self.job(job_id)).total
        end = total if count < 0 else min(total, first + count)
        found: list[Fragment] = []
        for start in range(first, end, _CHUNK):
            numbers = list(range(start, min(end, start + _CHUNK)))
            plans = await self._read_fields(job_id, "plans", numbers)
            outcomes = await self._read_fields(job_id, "outcomes", numbers)
            for number, plan, outcome in zip(numbers, plans, outcomes, strict=True):
                if plan is None:  # deleted meanwhile
                    raise unknown_job()
                found.append(_fragment(number, plan, outcome))
        return found

    async def claim(self) -> list[Claim]:
        """At most one at a time, so that others get some too."""
        job_id = await self._script(CLAIM, self._token, self._lease_ms)
        if not job_id:
            return []
        job_id = job_id.decode()
        self._claimed.add(job_id)
        job = await self.job(job_id)
        spoken = await self._run(lambda: self._link.client.hkeys(self._key(job_id, "outcomes")))
        return [Claim(job, sorted(set(range(job.total)) - {int(number) for number in spoken}))]

    async def renew(self) -> set[str]:
        lost: set[str] = set()
        for job_id in list(self._claimed):
            if not await self._script(RENEW, job_id, self._token, self._lease_ms):
                self._claimed.discard(job_id)
                lost.add(job_id)
        return lost

    async def finish(self, job_id: str, fragment: Fragment, audio: bytes = b"") -> None:
        if audio:
            await self._objects.put(self._object(job_id, _object_name(fragment)), audio, "audio/flac")
        await self._guarded(
            FINISH,
            job_id,
            fragment.number,
            _pack_outcome(fragment),
            int(fragment.state == "done"),
            int(fragment.state == "failed"),
            int(fragment.over_s > MISFIT_S),
            len(fragment.request.text),
            fragment.duration_s,
            len(audio),
        )

    async def set_state(self, job_id: str, state: JobState, message: str = "") -> None:
        await self._guarded(SET_STATE, job_id, state, message, time.time())
        if state in ("done", "failed"):
            self._claimed.discard(job_id)

    def let_go(self, job_id: str) -> None:
        self._claimed.discard(job_id)

    async def retry(self, job_id: str) -> bool:
        await self.job(job_id)
        lost = [fragment for fragment in await self.fragments(job_id) if fragment.state == "failed"]
        characters = sum(len(fragment.request.text) for fragment in lost)
        return bool(await self._script(RETRY, job_id, characters, *(fragment.number for fragment in lost)))

    async def delete(self, job_id: str) -> None:
        await self._script(DELETE, job_id)
        self._claimed.discard(job_id)
        await self._delete_objects(job_id)
        await asyncio.to_thread(shutil.rmtree, self._folder / job_id, ignore_errors=True)

    async def expired(self, before_s: float) -> list[str]:
        return [job.id for job in await self.jobs() if 0 < job.finished_s < before_s]

    async def clean_up(self) -> None:
        """Objects that no job has, and copies of files that were not asked for lately."""
        known, limit_s = set(await self._ids()), time.time() - _KEPT_S
        for info in await self._objects.entries("jobs/"):
            if info.key.split("/")[1] not in known and info.modified_s < limit_s:
                await self._objects.delete(info.key)
        await asyncio.to_thread(self._drop_copies, limit_s)

    async def used_bytes(self) -> int:
        found = await self._run(lambda: self._link.client.get(f"{self._prefix}bytes"))
        return int(found or 0)

    async def cover(self, job_id: str) -> Picture | None:
        found = await self._objects.get(self._object(job_id, "cover"))
        return read_cover(found.data) if found is not None else None

    @contextlib.asynccontextmanager
    async def gathered(self, job: Job, placed: Sequence[Placed]) -> AsyncGenerator[Path, None]:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._folder, prefix="making-"))
        try:
            for item in placed:
                name = _object_name(item.fragment)
                found = await self._objects.get(self._object(job.id, name))
                if found is None:
                    raise StorageError(
                        "the audio of a fragment is not in the object store: all replicas need the same bucket, or the "
                        "same folder objects.dir"
                    )
                await asyncio.to_thread(write_atomic, folder / audio_name(item.fragment.number), found.data)
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def keep(self, job: Job, file: Path) -> Path:
        kept = self._folder / job.id / file.name
        await asyncio.to_thread(make_private_folder, kept.parent)
        await asyncio.to_thread(file.replace, kept)
        size_bytes = (await asyncio.to_thread(kept.stat)).st_size
        if size_bytes <= _LARGEST_FILE_BYTES:
            data = await asyncio.to_thread(kept.read_bytes)
            await self._objects.put(self._object(job.id, file.name), data)
            await self._script(KEEP, job.id, size_bytes)
        return kept

    async def file(self, job_id: str, name: str) -> Path | None:
        kept = self._folder / job_id / name
        if await asyncio.to_thread(kept.exists):
            return kept
        found = await self._objects.get(self._object(job_id, name))
        if found is None:
            return None
        await asyncio.to_thread(make_private_folder, kept.parent)
        await asyncio.to_thread(write_atomic, kept, found.data)
        return kept

    async def _ids(self) -> list[str]:
        ids = await self._run(lambda: self._link.client.zrevrange(f"{self._prefix}all", 0, -1))
        return [job_id.decode() for job_id in ids]

    async def _read_jobs(self, ids: Sequence[str]) -> list[dict[bytes, bytes]]:
        pipeline = self._link.client.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hgetall(self._key(job_id))
        rows: list[dict[bytes, bytes]] = await pipeline.execute()
        return rows

    async def _read_fields(self, job_id: str, part: str, numbers: Sequence[int]) -> list[bytes | None]:
        names = [str(number) for number in numbers]
        found: list[bytes | None] = await self._run(lambda: self._link.client.hmget(self._key(job_id, part), names))
        return found

    async def _guarded(self, source: str, job_id: str, *values: object) -> None:
        """Write what only the process that has the job may write."""
        if not await self._script(source, job_id, self._token, *values):
            self._claimed.discard(job_id)
            raise ClaimLostError

    async def _script(self, source: str, *values: object) -> Any:
        if source not in self._scripts:
            self._scripts[source] = self._link.client.register_script(source)
        script = self._scripts[source]
        return await self._run(lambda: script(keys=[self._prefix], args=list(values)))

    async def _run(self, work: Callable[[], Any]) -> Any:
        return await self._link.run(work)  # redis-py's types do not tell its two clients apart

    async def _delete_objects(self, job_id: str) -> None:
        for info in await self._objects.entries(f"jobs/{job_id}/"):
            await self._objects.delete(info.key)

    def _drop_copies(self, limit_s: float) -> None:
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.stat().st_mtime < limit_s:
                shutil.rmtree(folder, ignore_errors=True)

    def _key(self, job_id: str, part: str = "") -> str:
        return f"{self._prefix}{job_id}:{part}" if part else f"{self._prefix}{job_id}"

    def _object(self, job_id: str, name: str) -> str:
        return f"jobs/{job_id}/{name}"


def _object_name(fragment: Fragment) -> str:
    """With its length: what a process that has lost the job still writes has another name, or fits in its place."""
    return f"{fragment.number:06d}-{fragment.samples}.flac"


def _pack_plan(plan: FragmentPlan) -> str:
    slot = [plan.slot.start_s, plan.slot.end_s] if plan.slot is not None else None
    return json.dumps([plan.chapter, plan.line, pack_request(plan.request), slot], ensure_ascii=False)


def _pack_outcome(fragment: Fragment) -> str:
    values = (
        fragment.state,
        fragment.samples,
        fragment.sample_rate_hz,
        fragment.speed_up,
        fragment.cues,
        fragment.message,
    )
    return json.dumps(values, ensure_ascii=False)


def _fragment(number: int, plan: bytes, outcome: bytes | None) -> Fragment:
    chapter, line, request, slot = json.loads(plan)
    told: Any = json.loads(outcome or b'["waiting", 0, 0, 1.0, [], ""]')
    state, samples, rate_hz, speed_up, cues, message = told
    return Fragment(
        number,
        chapter,
        line,
        unpack_request(request),
        Slot(*slot) if slot is not None else None,
        state,
        samples,
        rate_hz,
        speed_up,
        tuple(TimedText(*cue) for cue in cues),
        message,
    )


def _job(job_id: str, row: Mapping[bytes, bytes]) -> Job:
    told = {name.decode(): value.decode() for name, value in row.items()}
    values: dict[str, Any] = {name: told.get(name, "") for name in _TEXTS}
    values |= {name: float(told.get(name, 0)) for name in _TIMES}
    values |= {name: int(told.get(name, 0)) for name in _COUNTS}
    chapters, options = tuple(json.loads(told["chapters"])), JobOptions(**json.loads(told["options"]))
    return Job(id=job_id, chapters=chapters, options=options, **values)
