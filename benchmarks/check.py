"""`python -m benchmarks.check STORED NEW`: 1 where a ratio between back ends fell by more than a fifth.

Ratios of one run are compared, not times, so the two runs may be of different days; not of different kinds of machines.
To be run by hand: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import ratios

ALLOWED_FALL = 0.2


def falls(stored: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """A line for each ratio that is in both reports and fell by more than is allowed."""
    for run, columns in stored["runs"].items():
        if run not in new["runs"]:
            continue
        after = ratios(new["runs"][run])
        for column, before in ratios(columns).items():
            for name, ratio in before.items():
                found = after.get(column, {}).get(name)
                if found is not None and found < (1 - ALLOWED_FALL) * ratio:
                    yield f"{run}, {column}: {name} was {ratio:.2f} times as good as the first column, now {found:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stored", type=Path)
    parser.add_argument("new", type=Path)
    args = parser.parse_args()
    stored, new = (json.loads(path.read_text(encoding="utf-8")) for path in (args.stored, args.new))
    if stored["machine"]["processor"] != new["machine"]["processor"] or stored["clock"] != new["clock"]:
        print("the two runs are of different processors or clocks: their ratios do not compare", file=sys.stderr)
        return 2
    found = list(falls(stored, new))
    print("\n".join(found) or "no ratio fell by more than a fifth")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
