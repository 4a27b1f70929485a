"""SHA-256 of files, remembered while a file is unchanged.

A file is as it was where its path, size, inode and both of its times are. The time of the last change of status is
among them: it moves with every write, and no program can set it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
import time
from pathlib import Path

# A file that was changed so shortly before it was read may be changed again within the clock's same tick.
_SETTLED_NS = 2 * 10**9
_MOST_FILES = 256

State = list[int]


class Digests:
    """Digests of files, kept in a JSON file that several processes may share.

    Args:
        memory: the file; where it cannot be written, files are read each time.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """The SHA-256 of a file's content, in hexadecimal.

        Raises:
            OSError: the file cannot be read.
        """
        key = str(path.resolve())
        state = _state(path)
        kept = self._read().get(key)
        if kept is not None and kept[0] == state:
            return kept[1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _state(path) == state and time.time_ns() - max(state[2:]) > _SETTLED_NS:
            self._remember(key, state, digest)
        return digest

    def _read(self) -> dict[str, tuple[State, str]]:
        try:
            entries = json.loads(self._memory.read_text(encoding="utf-8"))
            return {
                str(key): ([int(value) for value in state], str(digest)) for key, (state, digest) in entries.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # none yet, or a damaged one

    def _remember(self, key: str, state: State, digest: str) -> None:
        with self._lock:
            entries = self._read()
            entries.pop(key, None)
            entries[key] = (state, digest)
            latest = dict(list(entries.items())[-_MOST_FILES:])
            temporary = self._memory.with_name(f"{self._memory.name}.{secrets.token_hex(4)}")
            try:
                temporary.write_text(json.dumps(latest), encoding="utf-8")
                temporary.replace(self._memory)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)


def _state(path: Path) -> State:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
