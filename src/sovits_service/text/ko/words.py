"""Hangul text in, the same text with the words of `data/words.tsv` spelt as they sound out."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from sovits_service.text.spoken import Spoken


def respell(text: Spoken) -> Spoken:
    """Words that no rule gives: 발전 -> 발쩐."""
    pattern, words = _words()
    return text.sub(pattern, lambda match: words[match[0]])


@lru_cache(maxsize=1)
def _words() -> tuple[re.Pattern[str], dict[str, str]]:
    table = (files("sovits_service.text.ko") / "data" / "words.tsv").read_text(encoding="utf-8")
    words = dict(line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return re.compile("|".join(map(re.escape, words))), words
