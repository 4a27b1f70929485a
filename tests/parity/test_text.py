"""`tools/text_parity.py` on the recorded readings, and on rows that are not as the front end reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "text"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "text_parity.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_recorded_row_is_equal_or_known_to_be_better() -> None:
    result = _run("--bound", "1.0", GOLDEN / "public.jsonl", GOLDEN / "edge_public.jsonl")
    assert result.returncode == 0, result.stdout
    lines = [line for line in result.stdout.splitlines() if line]
    assert all(line.endswith("100.0% ok") for line in lines)
    for group in ("clean zh v1", "clean zh v2 model path", "clean en v1", "clean ja v2", "clean ko v2", "clean yue v2"):
        assert any(line.startswith(group) for line in lines)


def test_rows_that_differ_are_printed_and_fail(tmp_path: Path) -> None:
    rows = [
        {"kind": "cut", "method": "cut5", "lang": "zh", "text": "你好，世界。", "segments": ["你好，世界。"]},
        {"kind": "cut", "method": "cut0", "lang": "zh", "text": "你好", "segments": ["你好"]},
        {"kind": "cut", "method": "cut1", "lang": "zh", "text": "", "error": "IndexError"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    result = _run(path)
    assert result.returncode == 1
    assert "1 of    2 equal: 50.0% below 100%" in result.stdout
    assert "你好，世界。" in result.stdout
