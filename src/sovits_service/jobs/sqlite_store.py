"""Jobs and their fragments in one SQLite file; the audio of each fragment is a file beside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from sovits_service.audio.book import Picture
from sovits_service.errors import StorageError
from sovits_service.jobs.document import read_cover
from sovits_service.jobs.model import (
    Fragment,
    Job,
    JobOptions,
    JobState,
    NewJob,
    Slot,
    pack_request,
    unpack_request,
)
from sovits_service.jobs.store import MISFIT_S, audio_name, too_many_jobs, unknown_job
from sovits_service.storage.files import make_private_folder, remove_leftovers, write_atomic
from sovits_service.types import TimedText

log = structlog.get_logger(__name__)

_FILE = "jobs-v1.sqlite3"  # a version with another layout takes another name
_BUSY_TIMEOUT_S = 5.0
# Sums over the fragments stand with the job, so that a list of jobs does not read every fragment.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, state TEXT NOT NULL, title TEXT NOT NULL, author TEXT NOT NULL,
    format TEXT NOT NULL, subtitles TEXT NOT NULL, chapters TEXT NOT NULL, options TEXT NOT NULL,
    created_s REAL NOT NULL, finished_s REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    total INTEGER NOT NULL, characters INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0, misfits INTEGER NOT NULL DEFAULT 0,
    characters_done INTEGER NOT NULL DEFAULT 0, duration_s REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS fragments (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, chapter INTEGER NOT NULL,
    line INTEGER NOT NULL, request TEXT NOT NULL, slot_start_s REAL, slot_end_s REAL,
    state TEXT NOT NULL DEFAULT 'waiting', samples INTEGER NOT NULL DEFAULT 0, rate_hz INTEGER NOT NULL DEFAULT 0,
    speed_up REAL NOT NULL DEFAULT 1, cues TEXT NOT NULL DEFAULT '[]', message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""
_FRAGMENT_COLUMNS = (
    "number, chapter, line, request, slot_start_s, slot_end_s, state, samples, rate_hz, speed_up, cues, message"
)


class SqliteStore:
    """All methods block, and are called in one thread. A write is one transaction, so that a process may be killed.

    Args:
        folder: of the database and of the jobs' own folders.
        max_jobs: that one owner may have.
    """

    def __init__(self, folder: Path, max_jobs: int) -> None:
        self._folder = folder
        self._max_jobs = max_jobs
        self._lock: Any = None
        self._database: sqlite3.Connection | None = None

    def open(self) -> bool:
        """Open the store for this process alone; false where another process has it.

        Raises:
            StorageError: the folder or the database cannot be used.
        """
        make_private_folder(self._folder)
        try:
            lock = (self._folder / "lock").open("ab")
        except OSError as error:
            raise StorageError("the folder of the jobs cannot be written") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        with _told():
            database = sqlite3.connect(self._folder / _FILE, timeout=_BUSY_TIMEOUT_S)
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # the files are synced: at worst a fragment is said again
            database.execute("PRAGMA foreign_keys = ON")
            database.executescript(_SCHEMA)
        self._database = database
        self._clean_up()
        return True

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def add(self, new: NewJob) -> str:
        """Store a job; returns its id.

        Raises:
            QuotaExceededError: its owner has as many as the settings allow.
        """
        job_id = secrets.token_hex(12)
        if new.cover is not None:
            write_atomic(self.folder(job_id) / "cover", new.cover.data)
        rows = [
            (
                job_id,
                number,
                plan.chapter,
                plan.line,
                pack_request(plan.request),
                plan.slot.start_s if plan.slot else None,
                plan.slot.end_s if plan.slot else None,
            )
            for number, plan in enumerate(new.fragments)
        ]
        with self._transaction() as database:
            [count] = database.execute("SELECT count(*) FROM jobs WHERE owner = ?", [new.owner]).fetchone()
            if count >= self._max_jobs:
                raise too_many_jobs(self._max_jobs)
            database.execute(
                "INSERT INTO jobs (id, owner, state, title, author, format, subtitles, chapters, options, created_s,"
                " total, characters) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    job_id,
                    new.owner,
                    new.title,
                    new.author,
                    new.format,
                    new.subtitles,
                    json.dumps(list(new.chapters), ensure_ascii=False),
                    json.dumps(asdict(new.options)),
                    time.time(),
                    len(rows),
                    sum(len(plan.request.text) for plan in new.fragments),
                ],
            )
            database.executemany(
                "INSERT INTO fragments (job, number, chapter, line, request, slot_start_s, slot_end_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return job_id

    def jobs(self, owner: str | None = None) -> list[Job]:
        """The jobs of an owner, or all; the newest first."""
        query = "SELECT * FROM jobs WHERE owner = ? OR ? IS NULL ORDER BY created_s DESC, id"
        return [_job(row) for row in self._select(query, [owner, owner])]

    def job(self, job_id: str) -> Job:
        """Raise UnknownJobError."""
        rows = self._select("SELECT * FROM jobs WHERE id = ?", [job_id])
        if not rows:
            raise unknown_job()
        return _job(rows[0])

    def fragments(self, job_id: str, first: int = 0, count: int = -1) -> list[Fragment]:
        """Fragments in their order, `count` of them from `first` on; -1 is all."""
        rows = self._select(
            f"SELECT {_FRAGMENT_COLUMNS} FROM fragments WHERE job = ? AND number >= ? ORDER BY number LIMIT ?",  # noqa: S608 - columns of this module
            [job_id, first, count],
        )
        return [_fragment(row) for row in rows]

    def waiting(self, job_id: str) -> list[int]:
        """The numbers of the fragments that are still to be spoken."""
        query = "SELECT number FROM fragments WHERE job = ? AND state = 'waiting' ORDER BY number"
        return [row["number"] for row in self._select(query, [job_id])]

    def finish(self, job_id: str, fragment: Fragment, audio: bytes = b"") -> None:
        """Store a fragment that is spoken, or cannot be: first its file, then that it is there."""
        if audio:
            write_atomic(self.audio_file(job_id, fragment.number), audio)
        with self._transaction() as database:
            is_news = database.execute(
                "UPDATE fragments SET state = ?, samples = ?, rate_hz = ?, speed_up = ?, cues = ?, message = ?"
                " WHERE job = ? AND number = ? AND state = 'waiting'",
                [
                    fragment.state,
                    fragment.samples,
                    fragment.sample_rate_hz,
                    fragment.speed_up,
                    json.dumps(fragment.cues, ensure_ascii=False),
                    fragment.message,
                    job_id,
                    fragment.number,
                ],
            ).rowcount
            if is_news:
                database.execute(
                    "UPDATE jobs SET done = done + ?, failed = failed + ?, misfits = misfits + ?,"
                    " characters_done = characters_done + ?, duration_s = duration_s + ? WHERE id = ?",
                    [
                        fragment.state == "done",
                        fragment.state == "failed",
                        fragment.over_s > MISFIT_S,
                        len(fragment.request.text),
                        fragment.duration_s,
                        job_id,
                    ],
                )

    def set_state(self, job_id: str, state: JobState, message: str = "") -> None:
        finished_s = time.time() if state in ("done", "failed") else 0.0
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET state = ?, message = ?, finished_s = ? WHERE id = ?",
                [state, message, finished_s, job_id],
            )

    def retry(self, job_id: str) -> bool:
        """Have a failed job waited for again, with the fragments that could not be spoken; false for any other."""
        if self.job(job_id).state != "failed":
            return False
        lost = [fragment for fragment in self.fragments(job_id) if fragment.state == "failed"]
        with self._transaction() as database:
            database.execute(
                "UPDATE fragments SET state = 'waiting', message = '' WHERE job = ? AND state = 'failed'", [job_id]
            )
            database.execute(
                "UPDATE jobs SET state = 'queued', message = '', finished_s = 0, failed = 0,"
                " characters_done = characters_done - ? WHERE id = ?",
                [sum(len(fragment.request.text) for fragment in lost), job_id],
            )
        return True

    def delete(self, job_id: str) -> None:
        """Forget a job and delete its files; what is left of them by a kill goes at the next start."""
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", [job_id])
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def expired(self, before_s: float) -> list[str]:
        """Jobs that ended before a time."""
        query = "SELECT id FROM jobs WHERE finished_s > 0 AND finished_s < ?"
        return [row["id"] for row in self._select(query, [before_s])]

    def cover(self, job_id: str) -> Picture | None:
        file = self.folder(job_id) / "cover"
        return read_cover(file.read_bytes()) if file.exists() else None

    def folder(self, job_id: str) -> Path:
        return self._folder / job_id

    def audio_file(self, job_id: str, number: int) -> Path:
        """Where the audio of a fragment lies, as FLAC."""
        return self.folder(job_id) / audio_name(number)

    def used_bytes(self) -> int:
        """What the files of all jobs take."""
        return sum(file.stat().st_size for file in self._folder.glob("*/*"))

    def _clean_up(self) -> None:
        """Delete what a killed process left: files of deleted jobs, and half-written ones."""
        known = {row["id"] for row in self._select("SELECT id FROM jobs", [])}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir():
                remove_leftovers(folder, older_than_s=0.0)

    def _select(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        assert self._database is not None
        with _told():
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._database is not None
        with _told(), self._database:
            yield self._database


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        log.error("job_store_failed", kind=type(error).__name__, reason=str(error))
        raise StorageError("the jobs cannot be read or written: the disk is full, or their database damaged") from error


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in row.keys() if name not in ("chapters", "options")}  # noqa: SIM118 - a Row iterates over values
    return Job(**values, chapters=tuple(json.loads(row["chapters"])), options=JobOptions(**json.loads(row["options"])))


def _fragment(row: sqlite3.Row) -> Fragment:
    slot = None if row["slot_start_s"] is None else Slot(row["slot_start_s"], row["slot_end_s"])
    return Fragment(
        number=row["number"],
        chapter=row["chapter"],
        line=row["line"],
        request=unpack_request(row["request"]),
        slot=slot,
        state=row["state"],
        samples=row["samples"],
        sample_rate_hz=row["rate_hz"],
        speed_up=row["speed_up"],
        cues=tuple(TimedText(*cue) for cue in json.loads(row["cues"])),
        message=row["message"],
    )
