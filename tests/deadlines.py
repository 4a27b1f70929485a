"""Deadlines of requests that pass when a test says so."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace
from typing import TypeVar

import anyio
import pytest

from sovits_service.deadline import Deadline

T = TypeVar("T")


class Deadlines:
    """Knows every deadline that is waited with, and its waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waits: dict[Deadline, list[anyio.CancelScope]] = {}
        begun: list[anyio.CancelScope] = []
        wait = Deadline.wait

        async def known_wait(deadline: Deadline, work: Awaitable[T]) -> T:
            nonlocal begun
            begun = self._waits.setdefault(deadline, [])
            return await wait(deadline, work)  # which goes on to its `fail_after` at once

        @contextlib.contextmanager
        def fail_after(delay_s: float) -> Iterator[anyio.CancelScope]:
            with anyio.fail_after(delay_s) as scope:
                begun.append(scope)
                yield scope

        monkeypatch.setattr(Deadline, "wait", known_wait)
        monkeypatch.setattr("sovits_service.deadline.anyio", SimpleNamespace(fail_after=fail_after))

    def expire(self, timeout_s: float) -> None:
        """The time of requests that asked for `timeout_s` is up."""
        for deadline, waits in self._waits.items():
            if deadline._timeout_s == timeout_s:
                deadline._left_s = -math.inf
                for scope in waits:
                    scope.deadline = -math.inf
