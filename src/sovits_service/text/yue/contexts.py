"""Cantonese characters with several readings: which one is said, by what stands around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_END = r"$|[,.!?…-]"
_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """A reading of a character between two patterns, compiled when first needed; None keeps the dictionary's."""

    said: str | None
    before: str
    after: str


def settle_readings(text: str, syllables: list[tuple[str, ...]]) -> None:
    """Give characters the reading of their context; `syllables`, one for each character, is changed in place."""
    rules = _rules()
    for place, character in enumerate(text):
        for rule in rules.get(character, ()):
            before, after = text[max(place - _WINDOW, 0) : place], text[place + 1 : place + 1 + _WINDOW]
            if re.search(rule.before, before) and re.match(rule.after, after):
                if rule.said is not None:
                    syllables[place] = (rule.said,)
                break


@lru_cache(maxsize=1)
def _rules() -> dict[str, list[Rule]]:
    """`data/contexts.tsv` by character."""
    table = (files("sovits_service.text.yue") / "data" / "contexts.tsv").read_text(encoding="utf-8")
    rules: dict[str, list[Rule]] = {}
    for line in table.splitlines():
        if not line or line.startswith("#"):
            continue
        character, said, before, after = line.replace("{end}", _END).split("\t")
        rule = Rule(None if said == "-" else said, before and f"(?:{before})$", after)
        rules.setdefault(character, []).append(rule)
    return rules
