"""Patterns that are compiled when a text first needs them: what they say they need is what every match has."""

from __future__ import annotations

import importlib
import pkgutil
import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from typing import Any

import pytest

from sovits_service import text as package
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken


def _patterns() -> Iterator[tuple[str, LazyPattern]]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        waiting = list(vars(importlib.import_module(module.name)).items())
        while waiting:
            name, value = waiting.pop()
            if isinstance(value, LazyPattern):
                yield f"{module.name}.{name}", value
            elif isinstance(value, (tuple, list)):
                waiting += ((f"{name}[{i}]", item) for i, item in enumerate(value))
            elif isinstance(value, dict) and not name.startswith("__"):
                waiting += ((f"{name}[{key}]", item) for key, item in value.items())


def _always_has(parsed: Any, needed: set[str], ignored: bool) -> bool:
    """Whether every match, or what it looks at, has one of the needed characters."""
    return any(_has(code, argument, needed, ignored) for code, argument in parsed)


def _has(code: Any, argument: Any, needed: set[str], ignored: bool) -> bool:
    if code is codes.LITERAL:
        return _all_needed(argument, argument, needed, ignored)
    if code is codes.IN:
        ranges = [(kind, (value, value) if kind is codes.LITERAL else value) for kind, value in argument]
        return all(
            kind in (codes.LITERAL, codes.RANGE) and _all_needed(value[0], value[1], needed, ignored)
            for kind, value in ranges
        )
    if code is codes.BRANCH:
        return all(_always_has(branch, needed, ignored) for branch in argument[1])
    if code is codes.SUBPATTERN:
        _, added, removed, inner = argument
        return _always_has(inner, needed, (ignored or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return argument[0] > 0 and _always_has(argument[2], needed, ignored)
    return code is codes.ASSERT and _always_has(argument[1], needed, ignored)


def _all_needed(first: int, last: int, needed: set[str], ignored: bool) -> bool:
    if last - first > 30:
        return False
    characters = map(chr, range(first, last + 1))
    return all({c, c.lower(), c.upper()} <= needed if ignored else c in needed for c in characters)


def test_what_a_pattern_needs_is_in_every_match() -> None:
    checked = 0
    for name, pattern in _patterns():
        if pattern.needs:
            parsed = parser.parse(pattern.compiled.pattern, pattern.compiled.flags & ~re.UNICODE)
            assert _always_has(parsed, set(pattern.needs), bool(pattern.compiled.flags & re.IGNORECASE)), name
            checked += 1
    assert checked > 200


@pytest.mark.parametrize(("text", "said"), [("5%", "5 percent"), ("five", "five")])
def test_a_text_without_what_is_needed_stays(text: str, said: str) -> None:
    pattern = LazyPattern("%", needs="%")
    assert Spoken.of(text).sub(pattern, " percent").text == said
    assert ("compiled" in vars(pattern)) == (text != said)
