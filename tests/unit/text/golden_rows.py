"""Recorded readings of the original, and the rows of them that are read better here."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

_GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "text"
_BETTER = Path(__file__).parent / "better_readings.tsv"


def readings(language: str) -> list[dict[str, Any]]:
    """Rows of kind clean and edge of one language that the original could read."""
    rows = [
        json.loads(line)
        for name in ("public.jsonl", "edge_public.jsonl")
        for line in (_GOLDEN / name).read_text(encoding="utf-8").splitlines()
    ]
    return [row for row in rows if row["kind"] in ("clean", "edge") and row["lang"] == language and "error" not in row]


def is_read_better(row: dict[str, Any]) -> bool:
    with _BETTER.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return any((row["kind"], row["lang"], row["text"]) == (b["kind"], b["lang"], b["text"]) for b in table)
