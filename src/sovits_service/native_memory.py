"""Bound what native libraries keep (allocator arenas, oneDNN's cache), and return free memory to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # M_... of malloc.h
# Each arena of glibc keeps what its threads had at their peak, and by default every thread may get one.
_ARENAS = 2
# A larger block is the system's again when it is freed; the generator's, which come again and again, are smaller. By
# default the bound rises to that of the largest block that was freed, and what long texts took would stay.
_OWN_BLOCK_BYTES = 8 * 2**20
_KEPT_AT_TOP_BYTES = 32 * 2**20
# oneDNN keeps the code of so many operations, each of one length; a model takes some hundreds. Its default is 1,024.
_PRIMITIVES = 768


def bound_native_memory() -> None:
    """Set the bounds before torch is loaded; variables that glibc and oneDNN know by themselves win over them."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PRIMITIVES))
    bounds = (
        ("MALLOC_ARENA_MAX", _ARENA_MAX, _ARENAS),
        ("MALLOC_MMAP_THRESHOLD_", _MMAP_THRESHOLD, _OWN_BLOCK_BYTES),
        ("MALLOC_TRIM_THRESHOLD_", _TRIM_THRESHOLD, _KEPT_AT_TOP_BYTES),
    )
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        for variable, parameter, value in bounds:
            if variable not in os.environ:
                ctypes.CDLL(None).mallopt(parameter, value)


def return_free_memory() -> None:
    """Give free pages back to the system: glibc keeps what lies below a block that is in use. Takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
