"""Periodic work goes on whatever happens to it, and says what happened."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from sovits_service.service.periodic import PeriodicWork


class Flaky:
    """Fails until told otherwise, and tells when it has run so often."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.runs = 0
        self.has_run_often = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.runs == 5:
            self.has_run_often.set()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [PermissionError("/secret"), ValueError("foreign"), AssertionError(), KeyError("k")])
async def test_an_unforeseen_exception_ends_neither_that_work_nor_another(error: Exception) -> None:
    periodic, failing, sound = PeriodicWork(), Flaky(error), Flaky(None)
    periodic.add("failing", failing, 0.001)
    periodic.add("sound", sound, 0.001)
    with capture_logs() as lines:
        periodic.start()
        await asyncio.gather(failing.has_run_often.wait(), sound.has_run_often.wait())
        await periodic.stop()
    assert periodic.failures["failing"] >= 5 - 1  # the fifth run may have been cut off
    assert periodic.failures["sound"] == 0
    assert {(line["event"], line["work"]) for line in lines} == {("periodic_work_failed", "failing")}


async def test_a_run_on_demand_says_whether_it_succeeded() -> None:
    periodic, work = PeriodicWork(), Flaky(OSError())
    periodic.add("work", work, 3600.0)
    assert not await periodic.run("work")
    work.error = None
    assert await periodic.run("work")
    assert periodic.failures == {"work": 1}


async def test_stopping_ends_what_runs() -> None:
    periodic, began, ended = PeriodicWork(), asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    periodic.add("endless", endless, 0.001)
    periodic.start()
    await began.wait()
    await periodic.stop()
    assert ended.is_set()
