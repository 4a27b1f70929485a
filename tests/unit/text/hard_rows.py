"""The hard-cases tables: text, mode and the reading that a speaker of the language gives it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids

_SILENT = frozenset("!?…,.-_[]") | {"UNK", "SP", "SP2", "SP3", "空", "停"}


def hard_rows(language: str) -> list[tuple[str, str, str]]:
    """Every row of `hard_{language}.tsv`; its first line names the columns."""
    lines = (Path(__file__).parent / f"hard_{language}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [(text, mode, reading) for text, mode, reading in (line.split("\t") for line in lines if line)]


def sounds(text: str, mode: str) -> list[str]:
    """The phonemes of a text read by the front end, without pauses and pitch marks."""
    names = {i: name for name, i in symbol_ids("v2").items()}
    segments = _frontend().segments(text, mode, "v2", "cut0")
    return audible([names[i] for segment in segments for i in segment.phoneme_ids])


def audible(phonemes: list[str] | tuple[str, ...]) -> list[str]:
    return [phoneme for phoneme in phonemes if phoneme not in _SILENT]


@lru_cache(maxsize=1)
def _frontend() -> Frontend:
    return Frontend()
