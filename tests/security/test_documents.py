"""SECURITY.md's table of limits speaks of settings and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from sovits_service.settings import ServiceSettings

ROOT = Path(__file__).parents[2]


def rows() -> list[list[str]]:
    """The cells of each row below the table's head."""
    lines = (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| what | limit | setting | test |") + 2
    table = [line for line in lines[start:] if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def setting_names() -> set[str]:
    names = set()
    for name, field in ServiceSettings.model_fields.items():
        names.add(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= {f"{name}.{key}" for key in field.annotation.model_fields}
    return names


def test_the_limits_are_settings_and_have_tests() -> None:
    assert len(rows()) > 10
    for what, limit, setting, tests in rows():
        assert what
        assert limit
        assert set(re.findall(r"`([^`]+)`", setting)) <= setting_names(), what
        files = re.findall(r"`([^`]+)`", tests)
        assert files, what
        for file in files:
            assert (ROOT / "tests" / file).is_file(), file
