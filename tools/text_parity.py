"""Compare the text front end with recorded readings of the original: `python tools/text_parity.py FILE.jsonl ...`.

Rows are of the kinds clean, edge, cut, preseg, langseg and pipeline. Prints the agreement for each kind, language and
version, then the rows that differ. Rows that are read better on purpose (tests/unit/text/better_readings.tsv) are
counted apart. Exits 1 when of a kind, language and version fewer rows are equal than the bound: all of cut and preseg,
65 % of clean, half of pipeline, edge and langseg, or the share given by --bound; rows known to be read better are not
counted. In Japanese, pitch marks may differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pypinyin import Style, pinyin

from sovits_service.errors import InvalidRequestError, MissingExtraError
from sovits_service.text.frontend import Frontend, make_reader
from sovits_service.text.langid import language_runs
from sovits_service.text.reading import Reader, Reading
from sovits_service.text.splitter import cut, presegment
from sovits_service.text.spoken import Spoken
from sovits_service.text.zh.reader import ChineseReader

BETTER_READINGS = Path(__file__).parent.parent / "tests" / "unit" / "text" / "better_readings.tsv"
BOUNDS = {"cut": 1.0, "preseg": 1.0, "clean": 0.65, "pipeline": 0.5, "edge": 0.5, "langseg": 0.5}
"""Least share of equal rows: the rest of a file that is not known here are numbers, units and languages read better."""
PITCH_MARKS = frozenset("[]")
Row = Mapping[str, Any]


@dataclass(slots=True)
class Tally:
    """Counts of one kind, language and version."""

    rows: int = 0
    equal: int = 0
    better: int = 0
    skipped: int = 0
    equal_but_for_pitch: int = 0
    differing: list[str] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        counted = self.rows - self.better - self.skipped
        return self.equal / counted if counted else 1.0


class Comparison:
    """Reads rows with the front end and tells whether the original read them the same."""

    def __init__(self) -> None:
        self._frontend = Frontend()
        self._readers: dict[str, Reader] = {
            "zh": ChineseReader({}),
            "zh, stubbed model": ChineseReader({}, _sentence_pypinyin),
        }

    def outcome(self, row: Row) -> tuple[object, object]:
        """What is read here, and what the original read; equal where the two agree."""
        compare: Mapping[str, Callable[[Row], tuple[object, object]]] = {
            "clean": self._clean,
            "edge": self._clean,
            "cut": lambda row: ([part.text for part in cut(Spoken.of(row["text"]), row["method"])], row["segments"]),
            "preseg": lambda row: (
                [part.text for part in presegment(Spoken.of(row["text"]), row["lang"], row["method"])],
                row["segments"],
            ),
            "langseg": _runs,
            "pipeline": self._pipeline,
        }
        return compare[row["kind"]](row)

    def _clean(self, row: Row) -> tuple[object, object]:
        reading = self._read(row)
        word2ph = list(reading.word2ph) if reading.word2ph is not None else None
        expected_word2ph = row.get("word2ph")
        return (
            (list(reading.phonemes), word2ph if expected_word2ph is not None else None),
            (row["phones"], expected_word2ph),
        )

    def _read(self, row: Row) -> Reading:
        language = row["lang"]
        if language == "zh" and "stubbed" in row.get("engine", ""):
            language = "zh, stubbed model"
        if language not in self._readers:
            self._readers[language] = make_reader(language, {})
        return self._readers[language].read(Spoken.of(row["text"]), row["version"])

    def _pipeline(self, row: Row) -> tuple[object, object]:
        try:
            segments = self._frontend.segments(row["text"], row["mode"], row["version"], row["method"])
        except InvalidRequestError:
            segments = []
        return [list(segment.phoneme_ids) for segment in segments], [item["phone_ids"] for item in row["items"]]


def _runs(row: Row) -> tuple[object, object]:
    return (
        [(run.language, run.text) for run in language_runs(row["text"], row["mode"])],
        [(segment["lang"], segment["text"]) for segment in row["segments"]],
    )


def _sentence_pypinyin(clause: str) -> list[str | None]:
    """The stand-in for the polyphone model with which the rows of that engine were made."""
    return [readings[0] for readings in pinyin(clause, style=Style.TONE3, neutral_tone_with_five=True)]


def read_rows(paths: Iterable[Path]) -> Iterator[Row]:
    """Rows of JSON lines; rows on which the original failed have nothing to compare and are left out."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if "error" not in row:
                    yield row


def read_better(path: Path) -> set[tuple[str, str, str]]:
    """Rows that are read better than by the original, as (kind, language, text)."""
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(row["kind"], row["lang"], row["text"].replace("\\n", "\n")) for row in rows}


def tally(rows: Iterable[Row], better: set[tuple[str, str, str]]) -> dict[tuple[str, ...], Tally]:
    """Compare all rows, by kind, language, version and engine."""
    comparison = Comparison()
    tallies: dict[tuple[str, ...], Tally] = defaultdict(Tally)
    for row in rows:
        language = row.get("mode") if row["kind"] in ("langseg", "pipeline") else row["lang"]
        engine = "model path" if "stubbed" in row.get("engine", "") else ""
        group = tallies[tuple(filter(None, (row["kind"], language, row.get("version"), engine)))]
        group.rows += 1
        try:
            here, original = comparison.outcome(row)
        except MissingExtraError as error:
            group.skipped += 1
            group.differing.append(f"{row['text']!r}: {error}")
            continue
        if here == original:
            group.equal += 1
            group.equal_but_for_pitch += 1
        elif (row["kind"], row["lang"], row["text"]) in better or (row["kind"], "*", row["text"]) in better:
            group.better += 1
        else:
            group.equal_but_for_pitch += _without_pitch(here) == _without_pitch(original)
            group.differing.append(f"{row['text']!r}\n      here     {here}\n      original {original}")
    return tallies


def _without_pitch(outcome: object) -> object:
    if isinstance(outcome, tuple) and isinstance(outcome[0], list):
        return [phoneme for phoneme in outcome[0] if phoneme not in PITCH_MARKS]
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="JSON lines with recorded readings")
    parser.add_argument("--better", type=Path, default=BETTER_READINGS, help="table of rows that are read better")
    parser.add_argument(
        "--bound", type=float, help="least share of equal rows for every kind, in place of the bounds above"
    )
    arguments = parser.parse_args()
    tallies = tally(read_rows(arguments.files), read_better(arguments.better))
    failed = False
    for group, counts in sorted(tallies.items()):
        bound = BOUNDS[group[0]] if arguments.bound is None else arguments.bound
        agreement = counts.agreement
        if group[0] in ("clean", "edge") and group[1] == "ja":
            counted = counts.rows - counts.better - counts.skipped
            agreement = counts.equal_but_for_pitch / counted if counted else 1.0
        verdict = "ok" if agreement >= bound else f"below {bound:.0%}"
        failed |= agreement < bound
        notes = f", {counts.better} read better" if counts.better else ""
        notes += f", {counts.skipped} need an extra" if counts.skipped else ""
        if group[1] == "ja":
            notes += f", {counts.equal_but_for_pitch} equal but for pitch marks"
        print(f"{' '.join(group):32} {counts.equal:4} of {counts.rows:4} equal{notes}: {agreement:.1%} {verdict}")
    for group, counts in sorted(tallies.items()):
        for difference in counts.differing:
            print(f"\n{' '.join(group)}\n  {difference}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
