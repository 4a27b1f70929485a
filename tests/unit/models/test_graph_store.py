"""The folder of built graphs: whole or not there, bounded, shared, and never in the way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sovits_service.models.onnx.store import MANIFEST, GraphStore


class Builder:
    """Writes two files and counts how often."""

    def __init__(self, content: bytes = b"graph") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "decode.onnx").write_bytes(self.content)
        (folder / "weights.bin").write_bytes(self.content * 100)


def read(store: GraphStore, key: str, build: Builder) -> bytes:
    with store.open(key, build) as folder:
        return (folder / "decode.onnx").read_bytes() + (folder / "weights.bin").read_bytes()


def test_built_once_and_kept_for_the_next_process(tmp_path: Path) -> None:
    build = Builder()
    contents = {read(GraphStore(tmp_path / "graphs", 2**20), "a", build) for _ in range(3)}
    assert (contents, build.calls) == ({b"graph" * 101}, 1)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "manifest", "empty manifest", "file in its place"])
def test_a_damaged_one_is_built_anew(tmp_path: Path, damage: str) -> None:
    store, build = GraphStore(tmp_path, 2**20), Builder()
    whole = read(store, "a", build)
    weights, manifest = tmp_path / "a/weights.bin", tmp_path / "a" / MANIFEST
    if damage == "bit":
        weights.write_bytes(b"h" + weights.read_bytes()[1:])
    elif damage == "cut":
        os.truncate(weights, 10)
    elif damage == "gone":
        weights.unlink()
    elif damage == "manifest":
        manifest.write_text("{", encoding="utf-8")
    elif damage == "empty manifest":
        manifest.write_text("{}", encoding="utf-8")
    else:
        weights.unlink()
        weights.mkdir()
    assert read(store, "a", build) == whole
    assert build.calls == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_failed_build_leaves_nothing_taken_for_whole(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, 2**20)

    def fails(folder: Path) -> None:
        (folder / "decode.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.open("a", fails):
        pass
    assert list(tmp_path.iterdir()) == []
    # Killed, it could not clean up: the folder is there without its manifest, under a temporary name.
    leftover = tmp_path / "a.1234.tmp"
    leftover.mkdir()
    (leftover / "decode.onnx").write_bytes(b"half")
    build = Builder()
    assert read(store, "a", build) == b"graph" * 101
    assert leftover.exists()  # another process may be writing it
    os.utime(leftover, (0, 0))
    read(store, "a", build)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_folder_is_bounded_and_what_was_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    store, build = GraphStore(tmp_path, 1800), Builder()  # two entries of 505 bytes and a manifest
    for number, key in enumerate("abc"):
        read(store, key, build)
        os.utime(tmp_path / key / MANIFEST, (number, number))
        if key == "b":
            read(store, "a", build)  # used again, now
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "c"]
    read(GraphStore(tmp_path, 0), "d", build)
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_where_the_folder_cannot_be_written_a_temporary_one_serves(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store, build = GraphStore(tmp_path / "file", 2**20), Builder()
    with store.open("a", build) as folder:
        assert (folder / "decode.onnx").exists()
    assert not folder.exists()


def test_processes_that_build_at_once_all_get_a_whole_one(tmp_path: Path) -> None:
    start = threading.Barrier(4)
    contents: list[bytes] = []

    def build(folder: Path) -> None:
        start.wait(timeout=30)  # all have found it missing
        Builder()(folder)

    def work() -> None:
        with GraphStore(tmp_path, 2**20).open("a", build) as folder:
            contents.append((folder / "weights.bin").read_bytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [b"graph" * 100] * 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
