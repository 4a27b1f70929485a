"""Sorted text tables of `data/`, searched as bytes so that they load in milliseconds."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.resources import files

import numpy as np

DATA = files("sovits_service.text.en") / "data"


class SortedTable:
    """Lines of `key TAB value`, sorted by key as bytes. A dict of them would take ten times the memory and time."""

    def __init__(self, lines: bytes) -> None:
        ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        self._lines = lines
        self._starts = np.concatenate(([0], ends + 1)).astype(np.uint32)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def find(self, key: str) -> str | None:
        """The value of `key`, or None."""
        wanted = key.encode("utf-8", "surrogatepass") + b"\t"
        size = len(wanted)
        lines, starts = self._lines, self._starts
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            start = int(starts[middle])
            if lines[start : start + size] < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(starts) - 1:
            return None
        start, end = int(starts[low]), int(starts[low + 1]) - 1
        return lines[start + size : end].decode() if lines[start : start + size] == wanted else None


@lru_cache(maxsize=8)
def load_table(name: str) -> SortedTable:
    """A table of `data/`, unpacked once in a process."""
    return SortedTable(gzip.decompress((DATA / name).read_bytes()))


@lru_cache(maxsize=1)
def modern_words() -> dict[str, tuple[str, ...]]:
    """Words that are younger than the dictionary and that the guess gets wrong."""
    lines = (DATA / "modern_words.tsv").read_text(encoding="utf-8").splitlines()
    return {word: tuple(said.split(" ")) for word, said in (line.split("\t") for line in lines)}
