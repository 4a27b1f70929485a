"""Resolve the names of files that clients send, and let none lead out of the allowed folders."""

from __future__ import annotations

import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

_MAX_NAME_BYTES = 1024
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|.*\\", re.ASCII | re.DOTALL)
_MAX_DEPTH = 16  # of folders in a path


def spellings(name: str) -> list[str]:
    """The name itself; for `C:\\voices\\eve\\a.wav`, its ends `voices/eve/a.wav`, `eve/a.wav` and `a.wav`."""
    if not _WINDOWS_PATH.match(name):
        return [name]
    path = PureWindowsPath(name)
    parts = [part for part in path.parts if part != path.anchor][-_MAX_DEPTH:]
    return ["/".join(parts[start:]) for start in range(len(parts))] or [""]


def find_under(name: str, roots: Sequence[Path]) -> Path | None:
    """The regular file under one of the roots that a client's name means, if there is one.

    A relative name is looked for from the working directory, in each root, and beside each root.
    """
    if not _is_harmless(name):
        return None
    path = Path(name)
    for root in roots:
        for candidate in (path,) if path.is_absolute() else (path, root / path, root.parent / path):
            found = _file_under(candidate, root)
            if found is not None:
                return found
    return None


def _is_harmless(name: str) -> bool:
    """Whether a name can be tried as a path at all."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    if not name or len(encoded) > _MAX_NAME_BYTES or any(unicodedata.category(c) in ("Cc", "Cf") for c in name):
        return False
    # Full-width dots and slashes turn into plain ones where something downstream normalises.
    for spelling in (name, unicodedata.normalize("NFKC", name)):
        parts = re.split(r"[/\\]", spelling)
        if any((part.startswith(".") and part != ".") or len(part.encode()) > 255 for part in parts):
            return False
    return "\\" not in name and not name.startswith("~")


def _file_under(candidate: Path, root: Path) -> Path | None:
    """`candidate` with all links followed, if that is a regular file under `root`."""
    try:
        found = candidate.resolve(strict=True)
        if not found.is_relative_to(root.resolve()) or not stat.S_ISREG(found.stat().st_mode):
            return None
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, no permission
        return None
    return found
