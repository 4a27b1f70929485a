"""Regular expressions that are compiled when a text first needs them: most texts need few, and start sooner."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property


class LazyPattern:
    """A pattern by its source."""

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source, self._flags = source, flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self._source, self._flags)

    @cached_property
    def match(self) -> Callable[[str, int], re.Match[str] | None]:
        """`match` of the compiled pattern, at a position."""
        return self.compiled.match
