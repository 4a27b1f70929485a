"""Phoneme ids, in the order that the weights were trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from sovits_service.types import SymbolSet

PUNCTUATION = ("!", "?", "…", ",", ".", "-")
UNKNOWN = "UNK"


@lru_cache(maxsize=2)
def symbol_ids(symbols: SymbolSet) -> Mapping[str, int]:
    """Every phoneme of a symbol set with its id: 322 in v1, 732 in v2."""
    table = json.loads((files("sovits_service.text") / "data" / "symbols.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: i for i, name in enumerate(table[symbols])})


def phoneme_ids(phonemes: Iterable[str], symbols: SymbolSet) -> tuple[int, ...]:
    """Ids of phonemes; a name that the set does not know becomes `UNK`, as in training."""
    ids = symbol_ids(symbols)
    unknown = ids[UNKNOWN]
    return tuple(ids.get(name, unknown) for name in phonemes)


def pause_ids(symbols: SymbolSet) -> frozenset[int]:
    """Ids of the punctuation marks, at which a voice pauses."""
    return frozenset(phoneme_ids(PUNCTUATION, symbols))
