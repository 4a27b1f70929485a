"""What a process prints, line by line as it comes: a test waits for a line in place of looking again and again."""

from __future__ import annotations

import re
import threading
from typing import IO

import pytest

_PATIENCE_S = 180.0  # only a process that hangs is given up: one that ends has printed its last line


class ProcessLog:
    """Reads a pipe to its end in a thread of its own, so that the process never waits for the test."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._text = ""
        self._has_ended = False
        self._changed = threading.Condition()  # guards both
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """What a regular expression finds in what is printed from character `since` on.

        The test fails when the process ends without it.
        """
        wanted = re.compile(pattern, re.MULTILINE)
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or wanted.search(self._text, since), _PATIENCE_S)
            found = wanted.search(self._text, since)
        if found is None:
            pytest.fail(f"the process has not printed {pattern!r}:\n{self._text}")
        return found

    def wait_for_end(self) -> str:
        """All that was printed, when there will be no more."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._has_ended, _PATIENCE_S), "the process does not end"
        return self._text

    def _read(self) -> None:
        with self._pipe:
            for line in self._pipe:
                with self._changed:
                    self._text += line.decode()
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
