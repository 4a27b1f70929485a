"""A function that tells who waits for it that it was called, from whatever thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

_PATIENCE_S = 60.0  # for what never happens


class Calls:
    """Stands in for a function and does what it does.

    Attributes:
        count: how often it was called.
    """

    def __init__(self, original: Callable[..., Any]) -> None:
        self.count = 0
        self._original = original
        self._called = threading.Condition()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._called:
            self.count += 1
            self._called.notify_all()
        return self._original(*args, **kwargs)

    async def reach(self, count: int) -> None:
        """Returns when it has been called so often."""
        await asyncio.to_thread(self._wait_for, count)

    def _wait_for(self, count: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self.count >= count, _PATIENCE_S), f"{self.count} calls of {count}"
