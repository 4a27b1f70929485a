"""A dedicated thread pool, so that one kind of work does not hold up another."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def run_in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread of `pool`; work whose caller has gone before it began is not begun."""
    context = contextvars.copy_context()  # the request's id, for the log
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(work))
