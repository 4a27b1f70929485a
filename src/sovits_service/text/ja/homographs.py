"""Japanese homographs: the reading of OpenJTalk's words, by the words around them."""

from __future__ import annotations

import re
from typing import Any

from sovits_service.text.ja.homograph_tables import COMPOUNDS, HOMOGRAPHS, Homograph

_SMALL = frozenset("ァィゥェォャュョ’")


def settle_homographs(words: list[dict[str, Any]], before: str = "", after: str = "") -> list[dict[str, Any]]:
    """Give homographs the reading of their context, and compounds that were cut apart theirs.

    Args:
        words: features of one stretch as `run_frontend` gives them, accents settled; not changed.
        before, after: the text around the stretch, beginning and ending in a mark.

    Returns:
        Words in order, whose strings joined are those of before.
    """
    words = _join_compounds(words, before)
    stretch = "".join(word["string"] for word in words)
    text = before + stretch + after
    settled = []
    start = len(before)
    for word in words:
        surface = word["string"]
        end = start + len(surface)
        for rule in HOMOGRAPHS.get(surface, ()):
            if _applies(rule, text, start, end, word["pron"], stretch):
                word = word if rule.said is None else _read(word, rule.said, rule.accent)
                break
        settled.append(word)
        start = end
    return settled


def _applies(rule: Homograph, text: str, start: int, end: int, pronounced: str, near: str) -> bool:
    return (
        (not rule.old or pronounced in rule.old)
        and (not rule.before or re.search(rule.before, text[max(start - 24, 0) : start]) is not None)
        and (not rule.after or re.match(rule.after, text[end : end + 24]) is not None)
        and (not rule.near or re.search(rule.near, near) is not None)
    )


def _join_compounds(words: list[dict[str, Any]], before_all: str) -> list[dict[str, Any]]:
    surfaces = {word["string"] for word in words}
    compounds = [compound for compound in COMPOUNDS if surfaces.issuperset(compound[0])]
    if not compounds:
        return words
    joined: list[dict[str, Any]] = []
    place = 0
    while place < len(words):
        for parts, rule in compounds:
            if [word["string"] for word in words[place : place + len(parts)]] != list(parts):
                continue
            before = before_all + "".join(word["string"] for word in words[max(place - 3, 0) : place])
            following = words[place + len(parts) : place + len(parts) + 3]
            after = "".join(word["string"] for word in following)
            if _applies(rule, before + after, len(before), len(before), "", "") and rule.said:
                whole = {**words[place], "string": "".join(parts), "pos": "名詞", "pos_group1": "一般"}
                joined.append(_read(whole, rule.said, rule.accent))
                place += len(parts)
                break
        else:
            joined.append(words[place])
            place += 1
    return joined


def _read(word: dict[str, Any], said: str, accent: int | None) -> dict[str, Any]:
    morae = sum(kana not in _SMALL for kana in said)
    return {
        **word,
        "read": said,
        "pron": said,
        "mora_size": morae,
        "acc": word["acc"] if accent is None else accent,
    }
