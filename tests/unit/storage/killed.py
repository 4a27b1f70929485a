"""A writer that is killed at its work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def kill_at_work(program: str, folder: Path, lines: int) -> None:
    """Run a Python program that writes into `folder` and prints a line after each write; `kill -9` after so many."""
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.kill()
    process.communicate()
