"""Threads of which one kind of work does not hold up another: pools, priorities, what stops them all, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_PREFIX = "sovits-"
_GRACE_S = 1.0


async def run_in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread of `pool`; work whose caller has gone before it began is not begun."""
    context = contextvars.copy_context()  # the request's id, for the log
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(work))


def lower_priority(niceness: int) -> None:
    """Has this thread step back, from where the process stands, where there are too few cores."""
    if niceness and hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):  # a system without priorities of threads
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


def keep_from_collector() -> None:
    """Take what is loaded out of what the garbage collector looks through.

    A full collection reads every dictionary and model, and stops all threads meanwhile: 0.2 s, in which nobody hears
    anything.
    """
    gc.collect()
    gc.freeze()


def end_with_threads(code: int) -> int:
    """Return an exit code once all threads of the service have ended; where one does not end, exit at once.

    A thread that reads weights cannot be interrupted, and the interpreter would wait for it.
    """
    for thread in threading.enumerate():
        if thread.name.startswith(_PREFIX) and not thread.daemon:
            thread.join(_GRACE_S)
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    return code
