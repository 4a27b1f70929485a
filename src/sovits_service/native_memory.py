"""What native libraries keep: bounds for the allocator's arenas and oneDNN's cache, and what is free given back."""

from __future__ import annotations

import contextlib
import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
# Each arena of glibc keeps what its threads had at their peak, and by default every thread may get one.
_ARENAS = 2
# oneDNN keeps the code of so many operations, each of one length; a model takes some hundreds. Its default is 1,024.
_PRIMITIVES = 768


def bound_native_memory() -> None:
    """Set the bounds before torch is loaded, unless MALLOC_ARENA_MAX and ONEDNN_PRIMITIVE_CACHE_CAPACITY say others."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PRIMITIVES))
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Give free pages back to the system: glibc keeps what lies below a block that is in use. Takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
