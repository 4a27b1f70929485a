"""tests/unit/text/kinds.tsv in, the table of kinds in docs/text.md out: `python tools/text_kinds_table.py`.

The rows of the file are tests, so the page says what is read.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "tests" / "unit" / "text" / "kinds.tsv"
PAGE = ROOT / "docs" / "text.md"
START, END = "<!-- kinds: made by tools/text_kinds_table.py -->", "<!-- end of kinds -->"
LANGUAGES = ("zh", "en", "ja", "ko", "yue")


def kinds() -> list[tuple[str, str, str, str]]:
    """Kind, language, what is written, what is said."""
    lines = ROWS.read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return [(kind, language, written, said) for kind, language, written, said in rows]


def table(rows: list[tuple[str, str, str, str]]) -> str:
    """Markdown: a line for each kind, a column for each language."""
    cells: dict[str, dict[str, str]] = {}
    for kind, language, written, said in rows:
        cells.setdefault(kind, {})[language] = f"{written.replace('|', '/')} → {said}"
    head = f"| | {' | '.join(LANGUAGES)} |\n|---|{'---|' * len(LANGUAGES)}"
    body = (f"| {kind} | {' | '.join(said.get(name, '') for name in LANGUAGES)} |" for kind, said in cells.items())
    return "\n".join((head, *body))


def update(page: str, lines: str) -> str:
    """The page with the table between its two marks."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{lines}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(update(PAGE.read_text(encoding="utf-8"), table(kinds())), encoding="utf-8")
