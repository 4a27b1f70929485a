"""Atomic file writes: a file is either complete or absent."""

from __future__ import annotations

import errno
import os
import secrets
import time
from pathlib import Path

import structlog

from sovits_service.errors import StorageError

log = structlog.get_logger(__name__)

_TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file under a temporary name, sync it to the disk, then rename it; a missing folder is made.

    Args:
        mode: permissions of the file, of which the process's mask takes some.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}{_TEMPORARY}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_to_disk(temporary, data, mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        log.warning(
            "file_not_written", folder=path.parent.name, reason=errno.errorcode.get(error.errno or 0, "unknown")
        )
        raise StorageError("the file could not be kept: the disk of the service is full or not writable") from error


def make_private_folder(folder: Path) -> None:
    """Make a folder that other users of the machine cannot look into; one that is there is left as it is.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError("the folder of the files cannot be made: the disk is full or not writable") from error


def remove_leftovers(folder: Path, *, older_than_s: float = 3600.0) -> int:
    """Delete temporary files that a killed process left; younger ones may still be written to by another process."""
    before = time.time() - older_than_s
    removed = 0
    for leftover in folder.glob(f".*{_TEMPORARY}"):
        try:
            if leftover.stat().st_mtime <= before:
                leftover.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another replica was faster
        except OSError as error:
            log.warning("leftover_not_deleted", error=type(error).__name__, errno=error.errno)
    return removed


def _write_to_disk(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
