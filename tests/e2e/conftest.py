"""The service as a user has it: its own process, on a loopback port, in a folder like a fresh checkout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.process_log import ProcessLog

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sovits_service"]


def make_checkout(folder: Path) -> Path:
    """What a checkout has that the service reads; the models are not copied, so that a test may add files beside."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("configs", "voices"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "pretrained_models").mkdir()
    (folder / "pretrained_models/demo").symlink_to(ROOT / "pretrained_models/demo", target_is_directory=True)
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent, target_is_directory=True)
    return folder


def environment() -> dict[str, str]:
    """The machine's, without its settings of the service; one thread, as tests run side by side."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SOVITS_")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run_python(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a Python program printed, when it has ended."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment() | dict(variables or {}),
        check=False,
    )


def run_command(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command of the service printed, when it has ended."""
    return run_python(folder, *COMMAND[1:], *arguments, variables=variables)


@dataclass
class Served:
    """A running server.

    Attributes:
        log: what it writes to stderr.
        url: where it listens.
    """

    process: subprocess.Popen[bytes]
    log: ProcessLog
    folder: Path
    url: str = ""
    _listening_at: int = 0

    def wait_until_listening(self) -> None:
        """Until the line with the address is there; the next one, when it is called after a restart."""
        found = self.log.wait_for(r"url=(http\S+)", since=self._listening_at)
        self.url, self._listening_at = found[1], found.end()

    def wait_until_ready(self) -> None:
        """Until the model is warm."""
        self.log.wait_for(r"\] ready\b", since=self._listening_at)
        assert httpx.get(f"{self.url}/ready", timeout=60).status_code == 200

    def processor_s(self) -> float:
        """The processor time that it has taken, in steps of a hundredth of a second."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def start_server(folder: Path, *flags: str, variables: dict[str, str] | None = None) -> Served:
    """Starts it and waits until it listens, which is before the model is loaded."""
    command = [*COMMAND, "serve", "-p", "0", *flags]
    variables = environment() | (variables or {})
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, env=variables)
    assert process.stderr is not None
    served = Served(process, ProcessLog(process.stderr), folder)
    served.wait_until_listening()
    return served


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A warm server with the shipped configuration, shared by all tests of a process."""
    served = start_server(make_checkout(tmp_path_factory.mktemp("served") / "checkout"))
    try:
        served.wait_until_ready()
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()
