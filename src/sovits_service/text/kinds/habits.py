"""What differs by language and country in the writing of the same things, as one table for each language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from sovits_service.text.lazy_pattern import Pattern

OwnRule = tuple[Pattern, Callable[[re.Match[str]], str | None]]
"""What only one language has: where it begins, and how it is said; None where it is something else."""


_NOTHING: Mapping[str, str] = MappingProxyType({})


class Habits(NamedTuple):
    """How amounts, telephones and ranges are written.

    Attributes:
        currencies: signs, codes and words of currencies.
        scales: a pattern of what multiplies a number (`万`, `million`).
        money_scales: a pattern of letters that do so behind a currency (`$5M`).
        telephones: the country's numbers; each group of a pattern is a group of digits, one called `plus` a country's.
        between: a pattern of what stands in a range.
        no_sign_after: a character class before which, on the left, a minus is a hyphen.
        more: a pattern of "and more" behind a number.
        per: signs and words that may follow a slash.
        unit_end: what may not follow a unit.
        apart_units: a pattern of the units that may stand apart from their number.
        touching_units: a pattern of those that may not.
        money_scales: a pattern of letters that multiply an amount of money.
        letter_scales: the words of those letters; without one, the number is written out.
        own: rules of the language alone, tried before the common ones.
        last: such rules for what the language has left to them.
    """

    currencies: Iterable[str]
    scales: str
    telephones: tuple[Pattern, ...] = ()
    between: str = r"\s?[-~～〜–—]\s?"
    no_sign_after: str = r"A-Za-z\d)"
    more: str = r"\+"
    per: Mapping[str, str] = _NOTHING
    apart_units: str = ""
    touching_units: str = r"(?!)"
    unit_end: str = r"(?![A-Za-z\d²³])"
    money_scales: str = r"(?:bn|mn|tn|[BMKkT])(?![A-Za-z])"
    letter_scales: Mapping[str, str] = _NOTHING
    own: tuple[OwnRule, ...] = ()
    last: tuple[OwnRule, ...] = ()
