"""Whether a text is written as a language is."""

from __future__ import annotations

import re

from sovits_service.text.langid import HAN, HANGUL, KANA, LATIN

_UNITS = re.compile(rf"(?P<han>[{HAN}])|(?P<kana>[{KANA}])|(?P<hangul>[{HANGUL}])|(?P<latin>[{LATIN}]+)")
_SCRIPTS = {
    "en": ("latin",),
    "zh": ("han",),
    "yue": ("han",),
    "ja": ("han", "kana"),
    "ko": ("hangul",),
}


def fits_language(text: str, language: str) -> bool:
    """Whether at least half of a text is in the script of its language; a word in Latin letters counts as a character.

    Args:
        language: of a request; `auto` and `auto_yue` fit everything.
    """
    scripts = _SCRIPTS.get(language.lower().removeprefix("all_"))
    found = [match.lastgroup for match in _UNITS.finditer(text)]
    return scripts is None or not found or 2 * sum(script in scripts for script in found) >= len(found)
