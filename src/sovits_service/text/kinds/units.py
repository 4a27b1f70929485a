"""Units: a table of names in every language, one of prefixes, and powers by rule.

Names are those of the Unicode CLDR (units, long form), but shorter where people say less: 度 for 摄氏度, 瓦 for 瓦特.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

LANGUAGES = ("en", "zh", "yue", "ja", "ko")
_SQUARE_AND_CUBE = {"en": ("square ", "cubic "), "zh": ("平方", "立方"), "yue": ("平方", "立方"),
                    "ja": ("平方", "立方"), "ko": ("제곱", "세제곱")}  # fmt: skip
_METRES = ("m", "km", "cm", "mm", "dm")


@lru_cache(maxsize=5)
def unit_names(language: str) -> Mapping[str, str]:
    """Sign to name; in English the plural stands behind a slash where it is not the name with an s."""
    column = LANGUAGES.index(language) + 2
    prefixes: dict[str, str] = {}
    names: dict[str, str] = {}
    for line in (files("sovits_service.text.kinds") / "data" / "units.tsv").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        cells = line.split("\t")
        name = cells[column]
        if cells[0] == "prefix":
            prefixes[cells[1]] = name
        elif name != "-":
            for sign in cells[1].split():
                names.setdefault(sign, name)
            base = cells[1].split()[0]
            for prefix in cells[0].strip("-"):
                said = "/".join(prefixes[prefix] + part if part else "" for part in name.split("/"))
                names.setdefault(prefix + base, said)
    square, cube = _SQUARE_AND_CUBE[language]
    for metre in _METRES:
        for power, signs in ((square, "²2"), (cube, "³3")):
            names |= {metre + sign: power + names[metre] for sign in signs}
    return MappingProxyType(names)


def alternatives(signs: Iterable[str]) -> str:
    """A pattern for any of the signs, the longest first."""
    return "|".join(re.escape(sign) for sign in sorted(signs, key=len, reverse=True))
