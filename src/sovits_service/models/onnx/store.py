"""A bounded store of built graphs, keyed by the hash of their weights; damaged graphs are built again."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from sovits_service.models.onnx.digests import Digests

log = structlog.get_logger(__name__)

MANIFEST, DIGESTS = "manifest.json", "digests.json"
_TEMPORARY = ".tmp"
_LEFTOVER_S = 3600.0  # a younger folder may still be written by another process


class GraphStore:
    """A folder of built graphs that several processes may share.

    Args:
        folder: made where it is missing.
        max_bytes: of all that is kept; what was used longest ago goes first, the newest always stays.

    Attributes:
        digests: of the files in it, and of weights; a file that has not changed is not read again for it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.digests = Digests(folder / DIGESTS)

    @contextmanager
    def open(self, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
        """The folder of a key, built where it is missing or damaged.

        A folder that cannot be written costs the cache, not the service: the graphs are built in a temporary one then,
        which is deleted when the context ends. What has been read from it by then stays usable.

        Args:
            key: a name that is safe in a path.
            build: writes files into the empty folder that it is given.
        """
        target = self._folder / key
        if not self._is_whole(target):
            try:
                self._build(target, build)
            except OSError as error:
                log.warning("graphs_not_kept", reason=type(error).__name__, advice="graphs_dir cannot be written")
                with tempfile.TemporaryDirectory(prefix="sovits-graphs-") as temporary:
                    build(Path(temporary))
                    yield Path(temporary)
                return
        self._touch(target)
        self._evict(target)
        yield target

    def _build(self, target: Path, build: Callable[[Path], None]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._folder / f"{target.name}.{secrets.token_hex(4)}{_TEMPORARY}"
        temporary.mkdir()
        try:
            build(temporary)
            self._write_manifest(temporary)
            if target.exists():  # damaged, or another process was faster
                if self._is_whole(target):
                    return
                log.warning("damaged_graphs_replaced", key=target.name)
                damaged = temporary.with_name(f"{temporary.name}.old{_TEMPORARY}")
                target.rename(damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            try:
                temporary.rename(target)
            except OSError:
                if not self._is_whole(target):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _is_whole(self, folder: Path) -> bool:
        """Whether every file is there as it was written."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            return bool(manifest) and all(self.digests.of(folder / name) == digest for name, digest in manifest.items())
        except (OSError, ValueError, AttributeError):
            return False

    def _write_manifest(self, folder: Path) -> None:
        digests = {path.name: self.digests.of(path) for path in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")

    def _touch(self, target: Path) -> None:
        try:
            (target / MANIFEST).touch()
        except OSError:
            return  # a folder that may be read alone: nothing is evicted from it either

    def _evict(self, newest: Path) -> None:
        try:
            entries = [entry for entry in self._folder.iterdir() if entry.is_dir() and entry != newest]
        except OSError:
            return
        kept = _size_bytes(newest)
        for entry in sorted(entries, key=_used_s, reverse=True):
            is_leftover = entry.name.endswith(_TEMPORARY)
            if is_leftover and time.time() - _used_s(entry) < _LEFTOVER_S:
                continue
            kept += _size_bytes(entry)
            if is_leftover or kept > self._max_bytes:
                # A process that has them mapped keeps them until it ends.
                shutil.rmtree(entry, ignore_errors=True)


def _size_bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:
        return 0


def _used_s(folder: Path) -> float:
    for path in (folder / MANIFEST, folder):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0
