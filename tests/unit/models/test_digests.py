"""Digests are remembered, and a file that has changed is read again, however it was changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sovits_service.models.onnx import digests
from sovits_service.models.onnx.digests import Digests


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**9))  # as if the file had been there for long
    path = tmp_path / "weights.bin"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read as a whole."""
    seen: list[str] = []
    original = hashlib.file_digest

    def counted(file: object, name: str) -> object:
        seen.append(Path(file.name).name)  # type: ignore[attr-defined]
        return original(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return seen


def test_an_unchanged_file_is_read_once_by_all_processes(tmp_path: Path, weights: Path, reads: list[str]) -> None:
    for _ in range(3):
        assert Digests(tmp_path / "d.json").of(weights) == sha256(b"first")
    assert reads == ["weights.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.json", "weights.bin"]


@pytest.mark.parametrize("change", ["written", "written, its time set back", "another in its place", "longer"])
def test_a_file_that_has_changed_is_read_again(tmp_path: Path, weights: Path, change: str) -> None:
    memory = Digests(tmp_path / "d.json")
    memory.of(weights)
    before = weights.stat()
    content = b"other" if change != "longer" else b"first and more"
    if change == "another in its place":
        (tmp_path / "new").write_bytes(content)
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "new").replace(weights)
    else:
        while weights.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock has ticks
            weights.write_bytes(content)
        if change == "written, its time set back":
            os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memory.of(weights) == sha256(content)


def test_a_file_that_is_new_is_not_remembered_yet(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"first")
    memory = Digests(tmp_path / "d.json")
    assert [memory.of(path), memory.of(path)] == [sha256(b"first")] * 2
    assert len(reads) == 2
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"a": 1}', b'{"a": [[1], 2, 3]}', b"\xff"])
def test_a_damaged_memory_costs_a_read_alone(tmp_path: Path, weights: Path, damage: bytes) -> None:
    (tmp_path / "d.json").write_bytes(damage)
    assert Digests(tmp_path / "d.json").of(weights) == sha256(b"first")
    assert Digests(tmp_path / "d.json").of(weights) == sha256(b"first")


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path, weights: Path) -> None:
    assert Digests(tmp_path / "no/such/folder/d.json").of(weights) == sha256(b"first")


def test_the_memory_is_bounded(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_MOST_FILES", 3)
    memory = Digests(tmp_path / "d.json")
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]))
        memory.of(tmp_path / f"{number}.bin")
    assert len((tmp_path / "d.json").read_text().split(".bin")) == 4


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Digests(tmp_path / "d.json").of(tmp_path / "none")
