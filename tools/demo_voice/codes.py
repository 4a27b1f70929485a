"""Phones with durations in, exact semantic tokens (25 a second) out: a code for each third of each phone with its tone."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOKENS_PER_SECOND = 25
N_CODES, END = 1024, 1024
PARTS = 3
PUNCTUATION = ",.?!"

_ZH_INITIALS = "AA EE OO b p m f d t n l g k h j q x zh ch sh r z c s y w".split()
_ZH_FINALS = (
    "E En a ai an ang ao e ei en eng er i i0 ia ian iang iao ie in ing iong ir iu o ong ou u ua uai uan uang ui un uo v van ve vn"
).split()
_EN_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_EN_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
PHONES = (
    "SIL",
    *_ZH_INITIALS,
    *(f + t for f in _ZH_FINALS for t in "12345"),
    *_EN_CONSONANTS,
    *(v + s for v in _EN_VOWELS for s in "012"),
)
PHONE_INDEX = {phone: index for index, phone in enumerate(PHONES)}
SILENCE = 0
N_USED_CODES = len(PHONES) * PARTS
VOWELS = frozenset(p for p in PHONES if p[-1].isdigit())


def base_of(phone: str) -> str:
    """The phone without its tone or stress ("i04" is "i0" with tone 4)."""
    return phone[:-1] if phone in VOWELS else phone


def tone_of(phone: str) -> str:
    """Tone or stress of a phone, "" for the others; the two languages do not share classes."""
    if phone not in VOWELS:
        return ""
    return ("en" if phone[:-1] in _EN_VOWELS else "zh") + phone[-1]


@dataclass(frozen=True)
class Tokens:
    """An utterance as tokens.

    Attributes:
        codes: one code a token.
        owners: for each token the index of its phone in `symbols`.
        symbols: the phones as the text front end writes them, punctuation included, without silences.
        edges: seconds in the recording where each token begins, and where the last one ends: a phone's seconds in equal
            parts.
    """

    codes: tuple[int, ...]
    owners: tuple[int, ...]
    symbols: tuple[str, ...]
    edges: tuple[float, ...]


def part_codes(phone: int, count: int) -> list[int]:
    """The codes of a phone that lasts `count` tokens: first, middle and last third; a silence counts up instead."""
    if phone == SILENCE:
        return [0 if j == 0 else 1 if j < 4 else 2 for j in range(count)]
    return [phone * PARTS + int(PARTS * (j + 0.5) / count) for j in range(count)]


def grid(seconds: Sequence[float], optional: Sequence[bool]) -> list[int]:
    """Seconds of consecutive phones to whole tokens; each phone gets one at least, but for the optional ones."""
    edges, total = [0.0], 0.0
    for s in seconds:
        total += s
        edges.append(total * TOKENS_PER_SECOND)
    ticks = [round(e) for e in edges]
    for i, skip in enumerate(optional):  # push right where a phone would vanish, ...
        ticks[i + 1] = max(ticks[i + 1], ticks[i] + (0 if skip else 1))
    end = max(round(edges[-1]), sum(not skip for skip in optional))
    for i in range(len(optional) - 1, -1, -1):  # ... then back left, so that the total stays
        ticks[i + 1] = min(ticks[i + 1], end)
        end = ticks[i + 1] - (0 if optional[i] else 1)
    return [b - a for a, b in itertools.pairwise(ticks)]


def fix_pauses(phones: Sequence[str], seconds: Sequence[float], rng: random.Random) -> list[float]:
    """Move the pause that duration predictors hide in the last phone before a punctuation mark into that mark."""
    out = list(seconds)
    for i in range(1, len(out)):
        if phones[i] in PUNCTUATION and phones[i - 1] not in (*PUNCTUATION, "SIL"):
            spoken = (0.2 if phones[i - 1] in VOWELS else 0.11) * rng.uniform(0.85, 1.2)
            if out[i - 1] > spoken + 0.06:
                out[i] += out[i - 1] - spoken
                out[i - 1] = spoken
    return out


def encode(phones: Sequence[str], seconds: Sequence[float]) -> Tokens:
    """Exact tokens of an utterance that starts and ends with "SIL"."""
    symbols: list[str] = []
    owners: list[int] = []
    codes: list[int] = []
    optional = [p == "SIL" or p in PUNCTUATION for p in phones]
    counts = grid(seconds, optional)
    starts = [0.0, *itertools.accumulate(seconds)]
    edges = [starts[i] + seconds[i] * k / n for i, n in enumerate(counts) for k in range(n)]
    i = 0
    while i < len(phones):
        if not optional[i]:
            symbols.append(phones[i])
            codes += part_codes(PHONE_INDEX[phones[i]], counts[i])
            owners += [len(symbols) - 1] * counts[i]
            i += 1
            continue
        count = 0  # a run of marks and silences is one silence, owned by the first mark
        first = len(symbols)
        while i < len(phones) and optional[i]:
            count += counts[i]
            if phones[i] != "SIL":
                symbols.append(phones[i])
            i += 1
        codes += part_codes(SILENCE, count)
        owners += [min(first, len(symbols) - 1) if len(symbols) > first else max(first - 1, 0)] * count
    return Tokens(tuple(codes), tuple(owners), tuple(symbols), (*edges, starts[-1]))


def collapse(codes: Iterable[int]) -> list[str]:
    """Codes to phones, without silences: a new one starts where the phone changes or its part falls back."""
    out: list[str] = []
    last_phone, last_part = -1, 0
    for code in codes:
        phone, part = divmod(code, PARTS)
        if code >= N_USED_CODES:
            continue
        if phone != last_phone or part < last_part:
            out.append(PHONES[phone])
        last_phone, last_part = phone, part
    return [p for p in out if p != "SIL"]


def edit_rate(expected: Sequence[str], got: Sequence[str]) -> float:
    """Levenshtein distance over the length of `expected`."""
    row = list(range(len(got) + 1))
    for i, a in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(got, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1] / max(1, len(expected))


def read_rows(path: Path) -> list[dict[str, object]]:
    """The complete lines of a manifest (the last one may be half written)."""
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]
