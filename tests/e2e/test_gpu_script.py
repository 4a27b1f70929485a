"""`make gpu TINY=1`: every part of the script for CUDA cards, where no more is installed than it says it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Stands before site-packages: what the service needs beside the engine cannot be imported.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
"""
BLOCKED = {
    "av",
    "jieba",
    "soxr",
    "structlog",
    "fastapi",
    "onnxruntime",
    "onnx",
    "pydantic",
    "soundfile",
    "anyio",
    "yaml",
}


def test_every_part_runs_with_torch_and_little_else(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(blocked=BLOCKED), encoding="utf-8")
    source = os.environ.get("PYTHONPATH", str(ROOT / "src"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), source])}
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {line["part"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(parts) == list("abcdefg")
    assert parts["a"]["audio_s"] > 0
    assert parts["a"]["not_needed"] == []
    assert max(parts["b"]["error_over_bound"].values()) <= 1
    assert parts["c"]["alone_as_together"]
    assert parts["c"]["alone_as_together_in_bfloat16"]
    assert parts["c"]["wave_error_in_company"] < 1e-4
    assert parts["c"]["wave_error_captured"] < 1e-4
    for measured in ("tokens_per_s", "prefill_ms", "window_ms"):
        with_graphs = {name for name in parts["d"][measured] if not name.endswith("_without_graphs")}
        assert {f"{name}_without_graphs" for name in with_graphs} < set(parts["d"][measured])
    assert set(parts["e"]) >= {"batching", "batching_plain_waves"}
    assert parts["f"]["still_speaks"]
    assert parts["f"]["stuck"] == 0


def test_without_a_card_it_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "TINY=1" in done.stderr
