"""The programs that tests talk to or build with, and the Debian packages that bring them."""

from __future__ import annotations

import os
import re
import shutil

import pytest

PACKAGES = {
    "curl": "curl",
    "faad": "faad",
    "redis-server": "redis-server",
    "clamd": "clamav-daemon",
    "chromium": "chromium",
    "cmake": "cmake",
    "g++": "g++",
    "/usr/include/nlohmann/json.hpp": "nlohmann-json3-dev",
}
_REASON = re.compile(r"needs (?P<program>\S+) \(Debian package (?P<package>\S+)\)")


def require_program(name: str) -> str:
    """The path of a program or header; without it the test is skipped, and the end of the run says so."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))  # daemons are not in a user's PATH
    program = shutil.which(name, path=path)
    if program is None and os.path.exists(name):  # a header, by its path
        program = name
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
