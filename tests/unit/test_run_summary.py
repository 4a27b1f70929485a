"""The line at the end of a test run that says what was skipped, and how to get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import describe_skips, require_program

ROOT = Path(__file__).parents[2]
TEST = """
import pytest
from tests.programs import require_program

@pytest.mark.parametrize("program", ["faad", "faad", "no-such-sh"])
def test_of_a_program(program, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.programs.PACKAGES", {"faad": "faad", "no-such-sh": "shells"})
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    assert require_program(program)

def test_of_nothing():
    pass
"""


def test_no_skipped_test_needs_no_line() -> None:
    assert describe_skips([]) == ""


def test_programs_are_named_with_their_packages_and_other_reasons_as_they_are() -> None:
    reasons = ["needs clamd (Debian package clamav-daemon)"] * 2 + ["this machine has CUDA"]
    line = "skipped tests: 2 (needs clamd), 1 (this machine has CUDA); to run them: apt-get install clamav-daemon"
    assert describe_skips(reasons) == line


def test_a_daemon_is_found_outside_a_users_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def which(name: str, path: str) -> str:
        asked.append(path)
        return f"/usr/sbin/{name}"

    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setattr("shutil.which", which)
    assert require_program("clamd") == "/usr/sbin/clamd"
    assert asked == ["/usr/bin:/usr/sbin"]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_ends_with_one_line_on_what_was_skipped(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_programs.py").write_text(TEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "tests.conftest"]
    command += ["-n", processes, "--durations=3", "-p", "no:cacheprovider", str(tmp_path)]
    outer = {name for name in os.environ if name.startswith("PYTEST_")}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = result.stdout.splitlines()
    about_skips = [line for line in lines if "skipped tests" in line or line.startswith("SKIPPED")]
    assert about_skips == [
        "skipped tests: 2 (needs faad), 1 (needs no-such-sh); to run them: apt-get install faad shells"
    ], result.stdout
    assert "1 passed, 3 skipped" in lines[-1]
    assert [line.split()[1:4] for line in lines if " MB worker " in line]
    assert any(" MB " in line and line.endswith("::test_of_nothing") for line in lines)
