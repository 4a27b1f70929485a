"""Deadlines of requests; time spent waiting for a slow listener does not count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from sovits_service.errors import DeadlineExceededError

T = TypeVar("T")


class Deadline:
    """A request's allowance of waiting, spent by each `wait`. Waits of one deadline must not be nested.

    Args:
        timeout_s: the whole allowance.
        spent_s: what the request has waited before this object was made.
    """

    def __init__(self, timeout_s: float, spent_s: float = 0.0) -> None:
        self._timeout_s = timeout_s
        self._left_s = timeout_s - spent_s

    @property
    def left_s(self) -> float:
        return self._left_s

    async def wait(self, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled when the allowance is used up.

        Raises:
            DeadlineExceededError: the allowance is used up.
        """
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self._left_s)) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceededError(
                f"the speech was not ready within the deadline of {self._timeout_s:g} s; "
                "allow more time (timeout_s) or send a shorter text"
            ) from error
        finally:
            self._left_s -= time.monotonic() - started_s
