"""Regular expressions that are compiled when a text first needs them: most texts need few, and start sooner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeAlias


class LazyPattern:
    """A pattern by its source, with the methods of `re.Pattern` that are used here.

    Args:
        needs: characters of which a text has at least one, or no match; any text may match where it is empty.
    """

    def __init__(self, source: str, flags: int = 0, *, needs: str = "") -> None:
        self._source, self._flags = source, flags
        self.needs = needs

    def may_match(self, text: str) -> bool:
        """Whether a text has one of the characters that every match has; a look that takes no compiling."""
        if len(self.needs) < 2:
            return self.needs in text
        for character in self.needs:  # noqa: SIM110  # twice as fast as any(), and this runs for every rule
            if character in text:
                return True
        return False

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self._source, self._flags)

    @cached_property
    def match(self) -> Callable[..., re.Match[str] | None]:
        return self.compiled.match

    @cached_property
    def search(self) -> Callable[..., re.Match[str] | None]:
        return self.compiled.search

    @cached_property
    def fullmatch(self) -> Callable[..., re.Match[str] | None]:
        return self.compiled.fullmatch

    @cached_property
    def finditer(self) -> Callable[..., Iterator[re.Match[str]]]:
        return self.compiled.finditer


Pattern: TypeAlias = re.Pattern[str] | LazyPattern


def compiled(pattern: Pattern) -> re.Pattern[str]:
    return pattern.compiled if isinstance(pattern, LazyPattern) else pattern


def may_match(pattern: Pattern, text: str) -> bool:
    return not isinstance(pattern, LazyPattern) or pattern.may_match(text)
