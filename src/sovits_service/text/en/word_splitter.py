"""Split words that are written together (`smartwatch`, `datacenter`) into their parts.

The most probable split by counts of words and word pairs, with the pair's probability backed off to the word's
(Segaran and Hammerbacher, Beautiful Data, 2009, chapter 14; the counts are Peter Norvig's).
"""

from __future__ import annotations

import math

from sovits_service.text.en.tables import SortedTable, load_table

LOG_TOTAL = math.log10(1024908267229)
MAX_PART = 24


def split_word(word: str) -> list[str]:
    """Parts of a lower-case word of a to z; one part where no split is more likely.

    Time grows with the length of the word; the search keeps the best way to each pair of neighbouring parts.
    """
    counts = load_table("word_counts.txt.gz")
    known = _known_parts(word, counts)
    # best[end][start]: the best score of a split of word[:end] whose last part is word[start:end], and the part before.
    best: list[dict[int, tuple[float, int]]] = [{} for _ in range(len(word) + 1)]
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - MAX_PART), end):
            log_count = known.get((start, end))
            alone = (log_count if log_count is not None else 1 - (end - start)) - LOG_TOTAL
            if start == 0:
                best[end][0] = (alone, -1)
                continue
            choices = []
            for before, (score, _) in best[start].items():
                step = alone
                log_before = known.get((before, start))
                if log_count is not None and log_before is not None:
                    pair = counts.find(f"{word[before:start]} {word[start:end]}")
                    if pair is not None:
                        step = math.log10(int(pair)) - log_before
                choices.append((score + step, before))
            best[end][start] = max(choices)
    parts: list[str] = []
    end = len(word)
    start = max(best[end], key=lambda s: best[end][s][0]) if word else -1
    while start >= 0:
        parts.append(word[start:end])
        start, end = best[end][start][1], start
    return parts[::-1]


def _known_parts(word: str, counts: SortedTable) -> dict[tuple[int, int], float]:
    """log10 of the counts of those stretches of the word that are words, by their ends."""
    known: dict[tuple[int, int], float] = {}
    for start in range(len(word)):
        for end in range(start + 1, min(len(word), start + MAX_PART) + 1):
            count = counts.find(word[start:end])
            if count is not None:
                known[start, end] = math.log10(int(count))
    return known
