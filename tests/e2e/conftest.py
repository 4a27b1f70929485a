"""The service as a user has it: its own process, on a loopback port, in a folder like a fresh checkout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sovits_service"]
_START_S = 180.0


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


@dataclass
class Served:
    """A running server.

    Attributes:
        log: what it wrote to stderr, a file that grows.
    """

    process: subprocess.Popen[bytes]
    log: Path
    folder: Path
    url: str = ""

    def wait_until_listening(self, *, times: int = 1) -> None:
        """Until the line with the address is there, for the second time after a restart."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if "url=http" in line]
            if len(lines) == times:
                self.url = lines[-1].split("url=")[1].strip()
                return
            time.sleep(0.05)
        pytest.fail(f"the server does not listen:\n{self.log.read_text(encoding='utf-8')}")

    def wait_until_ready(self) -> None:
        """Until the model is warm."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if httpx.get(f"{self.url}/ready", timeout=_START_S).status_code == 200:
                return
            time.sleep(0.1)
        pytest.fail(f"the server does not get ready:\n{self.log.read_text(encoding='utf-8')}")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def start_server(folder: Path, *flags: str, variables: dict[str, str] | None = None) -> Served:
    """Starts it and waits until it listens, which is before the model is loaded."""
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*COMMAND, "serve", "-p", "0", *flags], cwd=folder, stderr=sink, env=environment() | (variables or {})
        )
    served = Served(process, log, folder)
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
