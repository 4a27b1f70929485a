"""English text as written in, text as spoken out: words, apostrophes, hyphens and the pauses . , ? !"""

from __future__ import annotations

import re
from collections.abc import Callable

from sovits_service.text.en.dates import read_dates
from sovits_service.text.en.figures import read_figures
from sovits_service.text.en.quantities import read_quantities
from sovits_service.text.en.spellings import read_abbreviations, read_capitals, read_roman_numerals
from sovits_service.text.en.typography import plain_text, strip_accents
from sovits_service.text.en.web import read_addresses

MAX_PIECE_CHARACTERS = 1000  # patterns look ahead and back; in pieces of this size their time stays linear in the text

_PIECE = re.compile(rf".{{1,{MAX_PIECE_CHARACTERS}}}(?=\s|$)|.{{1,{MAX_PIECE_CHARACTERS}}}", re.DOTALL)
_WORD_SIGNS = (
    (re.compile(r"(?<![A-Za-z])([A-GJ-Z])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"\b([A-Za-z])\+\+"), r"\1 plus plus"),
    (re.compile(r"(?<=\w)\+(?!\w)"), " plus"),
    (re.compile(r"(?<=[A-Za-z])\+(?=[A-Za-z])"), " plus "),
    (re.compile(r"(?<=\s)\.(?=[a-z]{2})"), "dot "),
    (re.compile(r"(?<=[a-z_]{2})(?<!\betc)\.(?=[a-z_]{2})"), " dot "),
    (re.compile(r"'n'"), " and "),
    (re.compile(r"\s*&\s*"), " and "),
    (re.compile(r"(?<!\S)@(?!\S)|(?<=\d)@(?=\d)"), " at "),
    (re.compile(r"(?<![A-Za-z])a/(?=[A-Za-z])"), "A slash "),
    (re.compile(r"(?<=[A-Za-z])/(?=[A-Za-z])"), " slash "),
    (re.compile(r"\bTCP slash IP\b"), "TCP IP"),
    # A label's colon (`Age: 42`), and what ends a run, is a pause.
    (re.compile(r"((?:^|[.!?;,])\s*(?:[A-Za-z']+ )?[A-Za-z']+):(?=\s)"), r"\1,"),
    (re.compile(r"[:;](?=\s*$|\s[A-Za-z]+,)"), ","),
    # parity: within a sentence the weights hear no pause for them; cut5, the default, cuts there.
    (re.compile(r"[:;]"), " "),
    (re.compile(r"[_/\\|()\[\]{}<>\"*~^`=]"), " "),
)
_EDGE_HYPHEN = re.compile(r"(?<![A-Za-z\-])-+(?=[A-Za-z])|(?<=[A-Za-z])-+(?![A-Za-z\-])")
_SPACE_BEFORE_PAUSE = re.compile(r"\s+(?=[,.!?])")
_KEPT = re.compile(r"[^ A-Za-z'.,?!\-\ue000-\uf8ff]")


def normalize(text: str, mark_words: Callable[[str], str] = str) -> tuple[str, int]:
    """Spoken form, and the count of letters that have no reading; takes time in proportion to the text.

    mark_words: puts private-use characters in place of words that the user's lexicon reads; no rule touches those.
    """
    spoken: list[str] = []
    dropped = 0
    for piece in _PIECE.findall(mark_words(plain_text(text))):
        said, lost = _normalize_piece(piece)
        spoken.append(said)
        dropped += lost
    return re.sub(" {2,}", " ", " ".join(spoken)).strip(), min(dropped, len(text))


def _normalize_piece(text: str) -> tuple[str, int]:
    text = read_addresses(text)
    text = read_dates(text)
    text = read_quantities(text)
    text = read_abbreviations(text)
    text = read_roman_numerals(text)
    text = read_figures(text)
    for pattern, words in _WORD_SIGNS:
        text = pattern.sub(words, text)
    text = strip_accents(text)
    text = read_capitals(text)
    dropped = sum(c.isalpha() for c in _KEPT.findall(text))
    text = _KEPT.sub("", text.replace("\n", " "))
    return _tidy_pauses(text), dropped


def _tidy_pauses(text: str) -> str:
    """One mark for each pause, at its word: runs of them make the model echo the reference."""
    text = _SPACE_BEFORE_PAUSE.sub("", re.sub(r"\s{2,}", " ", _EDGE_HYPHEN.sub(" ", text)))
    return re.sub(r"([!?,.\-])[!?,.\-]+", r"\1", text)
