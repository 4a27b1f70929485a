"""The result cache in one SQLite file: bounded in bytes, least recently used out first."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from sovits_service.storage.results.cache import CacheCounts, CachedAudio, pack_audio, unpack_audio

log = structlog.get_logger(__name__)

T = TypeVar("T")
# In the file's name: a version with another format has a file of its own, and leaves this one to whoever uses it.
_FORMAT = 2
_BUSY_TIMEOUT_S = 2.0
# The value has a table of its own: SQLite rewrites a row when a field changes, and `used` changes at every hit.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, id INTEGER NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used);
CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
"""


class DiskCache:
    """The default back end. A write is one transaction, so a process may be killed at any moment of it.

    The file is `answers-v<format>.<number>.sqlite3`. A damaged one is renamed to `answers-v<format>.<number>.damaged`,
    and the next number begins. The number is never used again: a process that still has the damaged file open deletes
    SQLite's journal by its name when it closes, which must not be the journal of the new file.

    Args:
        directory: where the file lives; made where it is missing. Several processes of a machine may share it.
        max_bytes: of the values; the file is a few per cent larger, and keeps its size when values leave.
    """

    def __init__(self, directory: Path, max_bytes: int = 2 * 2**30) -> None:
        self.counts = CacheCounts()
        self._directory = directory
        self._max_bytes = max_bytes
        self._database: sqlite3.Connection | None = None
        self._file = directory / f"answers-v{_FORMAT}.0.sqlite3"
        self._is_failing = False
        # SQLite calls block; one thread keeps them off the event loop and in order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk-cache")

    async def get(self, key: str) -> CachedAudio | None:
        value = await self._run(lambda database: _read(database, key))
        audio = unpack_audio(key, value) if value is not None else None
        if value is not None and audio is None:
            self.counts.failures += 1
            await self._run(lambda database: _delete(database, key))
        self.counts.hits += audio is not None
        self.counts.misses += audio is None
        return audio

    async def put(self, key: str, audio: CachedAudio) -> None:
        value = pack_audio(key, audio)
        if len(value) > self._max_bytes:
            return
        evicted = await self._run(lambda database: _write(database, key, value, self._max_bytes))
        if evicted is not None:
            self.counts.writes += 1
            self.counts.evictions += evicted
            if self._is_failing:
                self._is_failing = False
                log.info("disk_cache_available_again")

    async def size_bytes(self) -> int:
        """What all values take."""
        return await self._run(_size) or 0

    async def clear(self) -> None:
        """Forget every answer."""
        await self._run(_clear)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        try:
            if self._database is not None and not self._file.exists():
                self._disconnect()  # another process has set the file aside
            database = self._database or self._connect()
            with database:
                return work(database)
        except (sqlite3.Error, OSError) as error:
            self.counts.failures += 1
            # SQLite's codes for damage (CORRUPT, NOTADB) are the ones that have no class of their own.
            if type(error) is sqlite3.DatabaseError:
                log.warning("disk_cache_damaged", file=self._file.name, advice="set aside; an empty one begins")
                self._set_aside()
            elif not self._is_failing:  # a full disk, locked for long, no permission; said once, until a write succeeds
                self._is_failing = True
                log.warning("disk_cache_not_available", error=type(error).__name__)
        return None

    def _connect(self) -> sqlite3.Connection:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _current_file(self._directory)
        database = sqlite3.connect(self._file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            _use_wal(database)
            # Not lost by kill -9; a loss of power may take the last answers, never the file.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA journal_size_limit = 16777216")
            # Immediate, so that a process that opens the file at the same time waits its turn.
            database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.Error:
            database.close()
            raise
        self._database = database
        return database

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _set_aside(self) -> None:
        """Rename the damaged file and its journals, which one process does and the others find done."""
        self._disconnect()
        number = _number(self._file)
        try:
            for suffix in ("", "-wal", "-shm"):
                file = self._file.with_name(self._file.name + suffix)
                if suffix == "" or file.exists():
                    file.rename(file.with_name(file.name.replace(".sqlite3", ".damaged")))
            # The newest is kept to be looked at; nobody has an older one open.
            for older in self._directory.glob(f"answers-v{_FORMAT}.*.damaged*"):
                if _number(older) < number:
                    older.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("disk_cache_not_set_aside", error=type(error).__name__)


def _current_file(directory: Path) -> Path:
    """The file of the highest number, or the next one where that is damaged."""
    files = directory.glob(f"answers-v{_FORMAT}.*")
    number = max([_number(file) + (".damaged" in file.name) for file in files], default=0)
    return directory / f"answers-v{_FORMAT}.{max(number, 0)}.sqlite3"


def _number(file: Path) -> int:
    """The number in a file's name; below 0 where it is not a name of ours."""
    match = re.match(rf"answers-v{_FORMAT}\.([0-9]{{1,9}})\.(sqlite3|damaged)", file.name)
    return int(match[1]) if match is not None else -2


def _use_wal(database: sqlite3.Connection) -> None:
    """Switch the journal. SQLite's own timeout does not cover this lock when two processes want it at once."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def _read(database: sqlite3.Connection, key: str) -> bytes | None:
    row = database.execute("SELECT value FROM blobs JOIN entries USING (id) WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    with contextlib.suppress(sqlite3.OperationalError), database:  # a full disk still has what it had
        database.execute("UPDATE entries SET used = (SELECT max(used) + 1 FROM entries) WHERE key = ?", (key,))
    value: bytes = row[0]
    return value


def _write(database: sqlite3.Connection, key: str, value: bytes, max_bytes: int) -> int:
    """Put a value in; returns how many others had to go."""
    database.execute("BEGIN IMMEDIATE")
    _delete(database, key)
    excess = _size(database) + len(value) - max_bytes
    evicted = 0
    for old_key, size in (
        database.execute("SELECT key, size FROM entries ORDER BY used").fetchall() if excess > 0 else ()
    ):
        if excess <= 0:
            break
        _delete(database, old_key)
        excess -= size
        evicted += 1
    cursor = database.execute("INSERT INTO blobs (value) VALUES (?)", (value,))
    database.execute(
        "INSERT INTO entries VALUES (?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM entries))",
        (key, cursor.lastrowid, len(value)),
    )
    return evicted


def _delete(database: sqlite3.Connection, key: str) -> None:
    database.execute("DELETE FROM blobs WHERE id = (SELECT id FROM entries WHERE key = ?)", (key,))
    database.execute("DELETE FROM entries WHERE key = ?", (key,))


def _size(database: sqlite3.Connection) -> int:
    (total,) = database.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()
    return int(total)


def _clear(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM blobs")
    database.execute("DELETE FROM entries")
