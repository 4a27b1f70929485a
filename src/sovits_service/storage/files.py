"""Bytes and a path in, a file that is either whole or not there out, whatever is killed when."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

_TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name, to the disk, then renames it; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}{_TEMPORARY}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path, *, older_than_s: float = 3600.0) -> int:
    """Deletes temporary files that a killed process left; younger ones may still be written to by another process."""
    before = time.time() - older_than_s
    removed = 0
    for leftover in folder.glob(f".*{_TEMPORARY}"):
        try:
            if leftover.stat().st_mtime <= before:
                leftover.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another replica was faster
    return removed


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
