"""A deadline is spent by waiting for the service alone, and ends a wait that would go beyond it."""

from __future__ import annotations

import asyncio

import pytest

from sovits_service.deadline import Deadline
from sovits_service.errors import DeadlineExceededError


async def _after(clock: list[float], duration_s: float) -> str:
    clock[0] += duration_s
    return "done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("sovits_service.deadline.time.monotonic", lambda: now[0])
    return now


async def test_waits_add_up_and_what_lies_between_them_does_not_count(clock: list[float]) -> None:
    deadline = Deadline(10.0, spent_s=1.0)
    assert await deadline.wait(_after(clock, 4.0)) == "done"
    clock[0] += 1_000.0
    assert deadline.left_s == 5.0
    await deadline.wait(_after(clock, 4.0))
    assert deadline.left_s == 1.0


async def test_a_wait_beyond_the_allowance_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(DeadlineExceededError, match=r"0\.01 s"):
        await Deadline(0.01).wait(endless())
    assert cancelled.is_set()


async def test_nothing_is_waited_for_once_the_allowance_is_used_up() -> None:
    with pytest.raises(DeadlineExceededError):
        await Deadline(1.0, spent_s=2.0).wait(asyncio.Event().wait())


async def test_a_timeout_of_the_work_itself_is_not_the_deadline_s() -> None:
    async def failing() -> None:
        raise TimeoutError("another")

    with pytest.raises(TimeoutError, match="another"):
        await Deadline(60.0).wait(failing())
