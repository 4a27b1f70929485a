"""No library reports to its maker from a machine that serves speech."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["sovits_service.models.onnx.sessions", "sovits_service.cli"])
def test_onnx_runtime_sends_no_telemetry(module: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    program = f"import importlib; importlib.import_module({module!r}); import onnxruntime"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
