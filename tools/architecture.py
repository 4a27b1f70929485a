"""Draw docs/architecture.svg from the code: `python tools/architecture.py`, or `--check` to fail where it is stale.

Rows are the layers of import-linter's contract in pyproject.toml, boxes the modules of the package. An arrow is an
import that no chain of other arrows implies, which keeps the picture readable and says as much.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "sovits_service"
BOX_HEIGHT, ROW_STEP, MARGIN, ASIDE, CHARACTER = 30, 74, 40, 90, 7.6
WIDTH = 860

Imports = Mapping[str, set[str]]
Box = tuple[float, float, float]  # left, top, width


def layers() -> list[list[str]]:
    """The rows, from the top."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [contract] = [contract for contract in linter["contracts"] if contract.get("containers") == [PACKAGE]]
    rows = [layer.replace("|", ":").split(":") for layer in contract["layers"]]
    return [[name.strip(" ()") for name in row] for row in rows]


def imports(names: Sequence[str]) -> Imports:
    """What each top-level module imports of the others, for types too: `api` knows the service by its type alone."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found: dict[str, set[str]] = {name: set() for name in names}
    for module in graph.modules - {PACKAGE}:
        for target in graph.find_modules_directly_imported_by(module) - {PACKAGE}:
            source, imported = module.split(".")[1], target.split(".")[1]
            if source != imported:
                found[source].add(imported)
    return found


def without_implied(found: Imports) -> dict[str, list[str]]:
    """The imports that no longer path gives."""

    def reachable(name: str) -> set[str]:
        return set.union(found[name], *map(reachable, found[name])) if found[name] else set()

    return {
        name: sorted(target for target in targets if not any(target in reachable(other) for other in targets))
        for name, targets in found.items()
    }


def place(rows: Sequence[Sequence[str]], arrows: Mapping[str, Sequence[str]]) -> dict[str, Box]:
    """Rows of boxes, each about below what imports it; a box alone in its row stands beside the middle in turn."""
    boxes: dict[str, Box] = {}
    for number, row in enumerate(rows):
        importers = {name: [boxes[a][0] for a in boxes if name in arrows[a]] or [WIDTH / 2] for name in row}
        ordered = sorted(row, key=lambda name: (sum(importers[name]) / len(importers[name]), name))
        for position, name in enumerate(ordered):
            width = len(name) * CHARACTER + 20
            middle = WIDTH * (position + 0.5) / len(row) + (ASIDE * (-1) ** number if len(row) == 1 else 0)
            boxes[name] = (middle - width / 2, MARGIN + number * ROW_STEP, width)
    return boxes


def draw(rows: Sequence[Sequence[str]], arrows: Mapping[str, Sequence[str]]) -> str:
    """The picture as SVG, with colours for light and dark pages."""
    boxes = place(rows, arrows)
    height = 2 * MARGIN + (len(rows) - 1) * ROW_STEP + BOX_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Layers of {PACKAGE} and the imports between its modules</title>",
        "<!-- made by tools/architecture.py -->",
        "<style>rect{fill:#eef2ff;stroke:#4f5fa8}text{font:13px monospace;fill:#1c2340;text-anchor:middle}"
        "path{fill:none;stroke:#8a93b8;stroke-width:1.2}marker path{fill:#8a93b8;stroke:none}"
        "@media(prefers-color-scheme:dark){rect{fill:#2a3050;stroke:#8f9ce0}text{fill:#e8ebff}}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    for source, targets in arrows.items():
        for target in targets:
            lines.append(arrow(boxes[source], boxes[target]))
    for name, (left, top, width) in boxes.items():
        lines.append(f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"/>')
        lines.append(f'<text x="{left + width / 2:.0f}" y="{top + 19.5:.1f}">{escape(name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def arrow(source: Box, target: Box) -> str:
    """A curve from the lower edge of a box to the upper edge of one below, or over the boxes of the same row."""
    start, end = source[0] + source[2] / 2, target[0] + target[2] / 2
    bottom = target[1]
    if source[1] == bottom:
        curve = f"M{start:.0f} {bottom:.0f}C{start:.0f} {bottom - 30:.0f} {end:.0f} {bottom - 30:.0f}"
    else:
        top = source[1] + BOX_HEIGHT
        bend = (bottom - top) / 2
        curve = f"M{start:.0f} {top:.0f}C{start:.0f} {top + bend:.0f} {end:.0f} {bottom - bend:.0f}"
    return f'<path d="{curve} {end:.0f} {bottom:.0f}" marker-end="url(#tip)"/>'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the picture is stale")
    check = parser.parse_args().check
    rows = layers()
    picture = draw(rows, without_implied(imports([name for row in rows for name in row])))
    if not check:
        PICTURE.write_text(picture, encoding="utf-8")
    elif not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != picture:
        print(f"{PICTURE.relative_to(ROOT)} is stale: run python tools/architecture.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
