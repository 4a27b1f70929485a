"""What tests share, and what the end of a run says: skipped tests and why, with `--durations` the memory they took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deadlines import Deadlines
from tests.programs import describe_skips

WITHOUT_ONEDNN = "TESTS_WITHOUT_ONEDNN"  # what it is set to does not matter; see `make test-matrix`
_LARGEST = 10
_RETURNED_MB = 250  # what tests may leave behind before it is returned, which takes a fraction of a second
_STATUS = Path("/proc/self/status")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(WITHOUT_ONEDNN):
        import torch

        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    config.pluginmanager.register(RunSummary(has_memory=bool(config.option.durations) and _STATUS.exists()))


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> Deadlines:
    return Deadlines(monkeypatch)


class RunSummary:
    """Collects, in the process that prints, what the tests of all workers report."""

    def __init__(self, *, has_memory: bool) -> None:
        self._has_memory = has_memory
        self._kept_mb = 500  # with the libraries, before any dictionary
        self._skip_reasons: list[str] = []
        self._peaks: list[tuple[int, str, str]] = []  # MB, worker, test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        with contextlib.suppress(OSError):  # then the peak is that of all tests so far
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            if self._has_memory:
                worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
                item.user_properties.append(("peak memory", (_memory_mb("VmHWM"), worker)))
                if _memory_mb("VmRSS") > self._kept_mb + _RETURNED_MB:
                    _return_what_is_free()
                    self._kept_mb = _memory_mb("VmRSS")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skip_reasons.append(report.longrepr[2].removeprefix("Skipped: "))
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == "peak memory":
                    assert isinstance(value, tuple | list)
                    self._peaks.append((*value, report.nodeid))

    @pytest.hookimpl(trylast=True)  # below the slowest tests, where it is seen
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._peaks:
            terminalreporter.section("peak memory")
            for worker in sorted({worker for _, worker, _ in self._peaks}):
                peak_mb = max(peak_mb for peak_mb, of, _ in self._peaks if of == worker)
                terminalreporter.write_line(f"{peak_mb:5d} MB worker {worker}")
            for peak_mb, _, test in sorted(self._peaks, reverse=True)[:_LARGEST]:
                terminalreporter.write_line(f"{peak_mb:5d} MB {test}")
        if self._skip_reasons:
            terminalreporter.write_line(describe_skips(self._skip_reasons), yellow=True)


def _memory_mb(name: str) -> int:
    """What this process holds (`VmRSS`), or the most that it held since the test's setup began (`VmHWM`)."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1024


def _return_what_is_free() -> None:
    """Gives the system what models of past tests took, which the C library would keep for others of their size."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
