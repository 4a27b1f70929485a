"""The programs that tests talk to, and the Debian packages that bring them."""

from __future__ import annotations

import os
import re
import shutil

import pytest

PACKAGES = {"curl": "curl", "faad": "faad", "redis-server": "redis-server", "clamd": "clamav-daemon"}
_REASON = re.compile(r"needs (?P<program>\S+) \(Debian package (?P<package>\S+)\)")


def require_program(name: str) -> str:
    """The path of a program; the test is skipped where it is missing, and the end of the run says so."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))  # daemons are not in a user's PATH
    program = shutil.which(name, path=path)
    if program is None:
        pytest.skip(f"needs {name} (Debian package {PACKAGES[name]})")
    return program


def describe_skips(reasons: list[str]) -> str:
    """One line on the skipped tests, by reason, with the command that brings the missing programs; empty for none."""
    counts = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    parts, packages = [], []
    for reason, count in counts.items():
        found = _REASON.search(reason)
        parts.append(f"{count} (needs {found['program']})" if found else f"{count} ({reason})")
        packages += [found["package"]] if found else []
    if not parts:
        return ""
    how = f"; to run them: apt-get install {' '.join(packages)}" if packages else ""
    return f"skipped tests: {', '.join(parts)}{how}"
