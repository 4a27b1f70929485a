"""Versions, supported Pythons and pins that stand in several files of the repository agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def document(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    chart = document("deploy/helm/sovits-service/Chart.yaml")
    citation = document("CITATION.cff")
    newest = re.findall(r"^## \[(\d.*?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = {PROJECT["version"], chart["version"], chart["appVersion"], citation["version"], newest[0][0]}
    assert versions == {PROJECT["version"]}
    assert citation["date-released"] == newest[0][1]


def test_every_supported_python_is_tested() -> None:
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    matrix = document(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(low), int(high))]


def test_commits_are_formatted_by_the_pinned_ruff() -> None:
    [rev] = [repo["rev"] for repo in document(".pre-commit-config.yaml")["repos"] if "ruff" in repo["repo"]]
    assert f"ruff=={rev.removeprefix('v')}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md", "docs/own-voice.md"])
def test_every_file_that_is_named_exists(name: str) -> None:
    named = re.findall(
        r"`([\w.-]+(?:/[\w.-]+)*/[\w.-]+|[\w-]+\.(?:toml|txt|cff|md))`", (ROOT / name).read_text(encoding="utf-8")
    )
    places = (ROOT, ROOT / "src/sovits_service")
    missing = [
        path
        for path in named
        if "xx/" not in path and "NAME" not in path and not any((place / path).exists() for place in places)
    ]
    assert not missing
    assert named


def test_the_table_of_layers_has_every_module_in_its_row() -> None:
    contracts = [part for part in PYPROJECT["tool"]["importlinter"]["contracts"] if part["type"] == "layers"]
    rows = [[set(re.findall(r"\w+", layer)) for layer in contract["layers"]] for contract in contracts]
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| layer \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    told = [
        [
            set(re.findall(r"`(\w+)`", re.split(r"(?<!\\)\|", line)[1]))
            for line in table.splitlines()
            if line.startswith("| `")
        ]
        for table in tables
    ]
    assert told == rows
