"""Deadlines of requests that pass when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import TypeVar

import pytest

from sovits_service.deadline import Deadline

T = TypeVar("T")


class Deadlines:
    """Knows every deadline that is waited with, and its waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waits: dict[Deadline, list[asyncio.Timeout]] = {}
        begun: list[asyncio.Timeout] = []
        wait = Deadline.wait

        async def known_wait(deadline: Deadline, work: Awaitable[T]) -> T:
            nonlocal begun
            begun = self._waits.setdefault(deadline, [])
            return await wait(deadline, work)  # which goes on to its `timeout` at once

        def timeout(delay_s: float) -> asyncio.Timeout:
            begun.append(asyncio.timeout(delay_s))
            return begun[-1]

        monkeypatch.setattr(Deadline, "wait", known_wait)
        monkeypatch.setattr("sovits_service.deadline.asyncio", SimpleNamespace(timeout=timeout))

    def expire(self, timeout_s: float) -> None:
        """The time of requests that asked for `timeout_s` is up."""
        for deadline, waits in self._waits.items():
            if deadline._timeout_s == timeout_s:
                deadline._left_s = -math.inf
                for limit in waits:
                    with contextlib.suppress(RuntimeError):  # its wait has ended
                        limit.reschedule(-math.inf)
