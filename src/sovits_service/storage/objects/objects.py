"""Files by key, with expiring links: in a local folder, or in an S3 bucket."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import structlog

from sovits_service.errors import ForbiddenError, InvalidRequestError, StorageError
from sovits_service.storage.files import make_private_folder, remove_leftovers, write_atomic

log = structlog.get_logger(__name__)

T = TypeVar("T")
_KEY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_SECRET_FILE = ".signing-secret"
_SECRET_BYTES = 32
LINKED_PREFIX = "audio/"  # of the files that are written to be handed out by link


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of a file.

    Attributes:
        modified_s: when it was written, in seconds since the epoch.
        tag: another one after each change.
    """

    key: str
    size_bytes: int
    modified_s: float
    tag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file with what a listing says of it."""

    data: bytes
    info: ObjectInfo


class ObjectStore(Protocol):
    """What both back ends do. A file is there whole or not at all; every method may raise a StorageError."""

    async def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None: ...
    async def get(self, key: str) -> StoredObject | None: ...
    async def delete(self, key: str) -> None: ...

    async def entries(self, prefix: str) -> list[ObjectInfo]:
        """What there is under keys that begin with `prefix`, by key; names that are no keys of ours are left out."""
        ...

    async def url(self, key: str, expires_s: float) -> str:
        """A link that anybody may read the file by until it expires."""
        ...


def is_key(name: str) -> bool:
    """Whether `check_key` accepts a name; what others put into a shared store need not have one of ours."""
    return _KEY.fullmatch(name) is not None and len(name.encode(errors="replace")) <= 512


def check_key(key: str) -> str:
    """Refuse keys that mean another place in some file system.

    Raises:
        ValueError: not letters, digits, `_`, `.` and `-` between single slashes, or more than 512 bytes.
    """
    if not is_key(key):
        raise ValueError("not a key of an object")
    return key


class LocalObjects:
    """A folder, whose links are of this service and signed by it.

    Args:
        folder: where the files live; made where it is missing. Replicas that share it share the secret in it.
        link_base: what links begin with, `https://speech.example/objects` or a path of this service.
        max_linked_bytes: of the files under `LINKED_PREFIX`; the oldest leave first.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        link_base: str = "/objects",
        clock: Callable[[], float] = time.time,
        *,
        max_linked_bytes: int = 2 * 2**30,
    ) -> None:
        self._folder = folder
        self._link_base = link_base.rstrip("/")
        self._clock = clock
        self._max_linked_bytes = max_linked_bytes
        self._lock = threading.Lock()
        # At most what there is: counted when it is reached, so that a write need not look at the whole folder.
        self._linked_bytes: int | None = None

    async def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        await self._run(lambda: self._write(key, data))

    async def get(self, key: str) -> StoredObject | None:
        return await self._run(lambda: self._read(key))

    async def delete(self, key: str) -> None:
        await self._run(lambda: self._file(key).unlink(missing_ok=True))

    async def entries(self, prefix: str) -> list[ObjectInfo]:
        return await self._run(lambda: self._scan(prefix))

    async def url(self, key: str, expires_s: float) -> str:
        check_key(key)
        expires = str(int(self._clock() + expires_s))
        signature = await self._run(lambda: self._signature(key, expires))
        return f"{self._link_base}/{quote(key)}?{urlencode({'expires': expires, 'signature': signature})}"

    def verify(self, key: str, expires: str, signature: str) -> Path:
        """The file that a link stands for.

        Raises:
            ForbiddenError: another key, another time, a time that has passed, or no such file.
        """
        refused = ForbiddenError("the link is not valid or has expired; ask for the audio again")
        if not _KEY.fullmatch(key) or not re.fullmatch(r"[0-9]{1,12}", expires):
            raise refused
        if not hmac.compare_digest(self._signature(key, expires).encode(), signature.encode(errors="replace")):
            raise refused
        file = self._file(key)
        if int(expires) <= self._clock() or not file.is_file():
            raise refused
        return file

    def sweep(self, prefix: str, older_than_s: float) -> int:
        """Delete the files under `prefix` that were written longer ago, and leftovers; returns how many files.

        A file that cannot be deleted is logged, and does not keep the others.
        """
        removed = 0
        for info in self._scan(prefix):
            if info.modified_s + older_than_s > self._clock():
                continue
            try:
                self._file(info.key).unlink(missing_ok=True)
                removed += 1
            except OSError as error:
                log.warning("object_not_deleted", error=type(error).__name__, errno=error.errno)
        for folder in [self._folder, *(path for path in self._folder.rglob("*") if path.is_dir())]:
            remove_leftovers(folder)
        return removed

    def _write(self, key: str, data: bytes) -> None:
        file = self._file(key)
        make_private_folder(self._folder)
        if not key.startswith(LINKED_PREFIX):
            write_atomic(file, data)
            return
        with self._lock:
            self._make_room(len(data))
            write_atomic(file, data)
            assert self._linked_bytes is not None
            self._linked_bytes += len(data)

    def _make_room(self, size_bytes: int) -> None:
        limit = self._max_linked_bytes
        if size_bytes > limit:
            raise InvalidRequestError("the audio is larger than all links may keep; ask for it without response: url")
        if self._linked_bytes is not None and self._linked_bytes + size_bytes <= limit:
            return
        infos = sorted(self._scan(LINKED_PREFIX), key=lambda info: info.modified_s)
        total = sum(info.size_bytes for info in infos)
        for info in infos:
            if total + size_bytes <= limit:
                break
            self._file(info.key).unlink(missing_ok=True)
            total -= info.size_bytes
        self._linked_bytes = total

    def _file(self, key: str) -> Path:
        return self._folder / check_key(key)

    def _read(self, key: str) -> StoredObject | None:
        file = self._file(key)
        try:
            with file.open("rb") as opened:
                status = os.fstat(opened.fileno())
                data = opened.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return StoredObject(data, _info(key, status))

    def _scan(self, prefix: str) -> list[ObjectInfo]:
        found = []
        for file in sorted(self._folder.rglob("*")):
            key = file.relative_to(self._folder).as_posix()
            if not key.startswith(prefix) or not is_key(key):
                continue
            try:
                status = file.stat()
            except OSError:  # deleted meanwhile, or not ours to look at
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(_info(key, status))
        return found

    def _signature(self, key: str, expires: str) -> str:
        message = f"GET\n{key}\n{expires}".encode()
        digest = hmac.new(self._secret(), message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _secret(self) -> bytes:
        """What links are signed with: 32 bytes that all replicas of the folder share, made where there are none."""
        secret = self._read_secret()
        if len(secret) >= _SECRET_BYTES:
            return secret
        make_private_folder(self._folder)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # one replica makes it, the others wait and read it
            secret = self._read_secret()
            if len(secret) < _SECRET_BYTES:
                if secret or (self._folder / _SECRET_FILE).exists():
                    log.warning("signing_secret_too_short", advice="a new one is made; earlier links are not valid")
                secret = secrets.token_bytes(_SECRET_BYTES)
                write_atomic(self._folder / _SECRET_FILE, secret, mode=0o600)
            return secret
        finally:
            os.close(descriptor)

    def _read_secret(self) -> bytes:
        try:
            return (self._folder / _SECRET_FILE).read_bytes()
        except FileNotFoundError:
            return b""

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            log.warning("object_folder_not_usable", error=type(error).__name__, errno=error.errno)
            raise StorageError("the object store cannot be used; try again later") from error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    # The inode too: a rename gives another one, even within the resolution of the clock.
    tag = f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"
    return ObjectInfo(key, status.st_size, status.st_mtime, tag)
