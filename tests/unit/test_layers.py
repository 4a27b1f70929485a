"""The layers hold, and the contracts notice a violation when one is planted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy of the source tree, in a process of its own."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package's Python files and of the configuration."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for source in (ROOT / "src").rglob("*.py"):
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return tmp_path


def test_the_layers_hold(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("text/splitter.py", "import torch", "no torch where there are no tensors"),
        ("storage/voices/voice_folder.py", "import transformers", "no torch where there are no tensors"),
        ("engine/scheduler.py", "import torch", "no torch where there are no tensors"),
        ("text/splitter.py", "import sovits_service.models.gpt", "layers of the package"),
        ("audio/join.py", "import sovits_service.storage.voices.voice_folder", "layers of the package"),
        ("errors.py", "import sovits_service.settings", "layers of the package"),
        ("engine/engine.py", "import sovits_service.service.service", "layers of the package"),
        ("api/app.py", "import sovits_service.engine.engine", "the engine is imported by the service alone"),
        ("cli.py", "import sovits_service.models.gpt", "the engine is imported by the service alone"),
        ("service/service.py", "import fastapi", "no web framework below the API"),
        ("service/loaded_models.py", "import sovits_service.service.service", "layers of the service"),
        ("engine/engine.py", "import starlette", "no web framework below the API"),
    ],
)
def test_a_planted_violation_fails(tree: Path, module: str, statement: str, contract: str) -> None:
    source = tree / "src/sovits_service" / module
    source.write_text(source.read_text(encoding="utf-8") + f"\n{statement}\n", encoding="utf-8")
    result = lint(tree)
    assert result.returncode == 1, result.stdout
    assert f"{contract} BROKEN" in result.stdout


def test_a_new_top_level_file_fails_until_it_has_a_layer(tree: Path) -> None:
    (tree / "src/sovits_service/utils.py").write_text("", encoding="utf-8")
    result = lint(tree)
    assert result.returncode == 1, result.stdout
    assert "utils" in result.stdout


def test_sub_packages_are_no_modules() -> None:
    package = ROOT / "src/sovits_service"
    for marker in package.rglob("__init__.py"):
        assert marker.parent == package or marker.read_text(encoding="utf-8") == "", marker
