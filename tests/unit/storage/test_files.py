"""A file is whole or not there, and a disk that takes nothing is told as such."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from sovits_service.errors import StorageError
from sovits_service.storage.files import remove_leftovers, write_atomic
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.types import Voice


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a/b/file", b"one")
    write_atomic(tmp_path / "a/b/file", b"two")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["file"]
    assert (tmp_path / "a/b/file").read_bytes() == b"two"


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the disk is full after 100 kB
    try:
        with pytest.raises(StorageError) as caught:
            write_atomic(tmp_path / "file", bytes(1_000_000))
        with pytest.raises(StorageError):
            ClipFolder(tmp_path / "uploads", []).add(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path) not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))
    assert not list((tmp_path / "uploads").glob("*.wav"))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "file/inside", b"x")
    with pytest.raises(StorageError):
        VoiceFolder([tmp_path / "file"]).put(Voice("v", "u"), {"u": Clip(b"clip")})


def test_only_old_leftovers_go(tmp_path: Path) -> None:
    for name in (".old.tmp", ".new.tmp", "kept.tmp", ".kept"):
        (tmp_path / name).write_bytes(b"x")
    for name in (".old.tmp", "kept.tmp", ".kept"):
        os.utime(tmp_path / name, (0, 0))
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept", ".new.tmp", "kept.tmp"]
