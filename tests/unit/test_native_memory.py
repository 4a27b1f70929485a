"""What the allocator keeps, seen in a process of its own: its bounds are set once, before anything is allocated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROBE = """
import ctypes, os, sys
from sovits_service.native_memory import bound_native_memory, return_free_memory
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
def take(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block
"""


def run(code: str, **variables: str) -> list[str]:
    names = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in names} | variables
    command = [sys.executable, "-c", PROBE + code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


# The block above keeps the heap from shrinking; small blocks fill the holes below the large one before they come to lie
# above it. Freed blocks of 24 MB make glibc's own bound rise to their size.
HOLD = """
libc.free(take(24 * 2**20))
before = resident_mb()
large, above = take(20 * 2**20), take(1000)
while above < large < libc.sbrk(0):
    above = take(1000)
libc.free(large)
print(resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_a_large_block_took_is_given_back_at_once() -> None:
    (kept_by_default,) = run(HOLD)
    (kept,) = run("bound_native_memory()" + HOLD)
    assert float(kept_by_default) > 15
    assert float(kept) < 5


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_free_memory_between_blocks_in_use_is_given_back() -> None:
    kept, after = run(
        "blocks = [take(2**16) for _ in range(640)]\n"
        "before = resident_mb()\n"
        "for block in blocks[:-1]: libc.free(block)\n"
        "print(before - resident_mb()); return_free_memory(); print(before - resident_mb())"
    )
    assert float(kept) < 10
    assert float(after) > 30


def test_onednn_is_bounded_unless_the_environment_says_otherwise() -> None:
    show = "bound_native_memory(); print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    assert run(show) == ["768"]
    assert run(show, ONEDNN_PRIMITIVE_CACHE_CAPACITY="32") == ["32"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_bound_of_the_environment_wins() -> None:
    variables = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1048576"}
    (kept,) = run("bound_native_memory()" + HOLD, **variables)
    assert float(kept) > 15
