"""English text normalisation: words, apostrophes, hyphens and the pauses . , ? !"""

from __future__ import annotations

import re
from collections.abc import Callable

from sovits_service.text.en import kinds
from sovits_service.text.en.dates import read_words, read_zones
from sovits_service.text.en.spellings import read_abbreviations, read_capitals, read_roman_numerals
from sovits_service.text.en.typography import plain_text, strip_accents
from sovits_service.text.en.web import read_addresses
from sovits_service.text.spoken import Span, Spoken

MAX_PIECE_CHARACTERS = 1000  # patterns look ahead and back; in pieces of this size their time stays linear in the text

_PIECE = re.compile(rf".{{1,{MAX_PIECE_CHARACTERS}}}(?=\s|$)|.{{1,{MAX_PIECE_CHARACTERS}}}", re.DOTALL)
_COMPASS_POINTS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_SHORT_BEFORE_FIGURES = {
    "apt": "apartment", "p": "page", "pg": "page", "pp": "pages", "ch": "chapter", "chap": "chapter",
    "sec": "section", "eq": "equation", "rm": "room", "fig": "figure", "vol": "volume", "ste": "suite",
}  # fmt: skip
_BEFORE_FIGURES = (
    (re.compile(r"\bRs\.? ?(?=\d)"), "₹"),
    (re.compile(r"(?<=\d )([A-Z])s\b"), r"\1's"),
    (
        re.compile(rf"\b({'|'.join(_SHORT_BEFORE_FIGURES)})\. ?(?=[#(]?\d)", re.IGNORECASE),
        lambda m: f"{_short_before_figure(m[1])} ",
    ),
    (re.compile(r"(?<![A-Za-z])([a-z])([a-z])\^"), lambda m: f"{m[1].upper()} {m[2].upper()}^"),
    (re.compile(r"(?<=[\d ])sq\.? (?=(?:ft|m|km|mi|in|yd|cm|mm)\b)"), "sq"),
    (re.compile(r"(?<=[\d ])cu\.? (?=(?:ft|m|km|cm|mm)\b)"), "cu"),
    (re.compile(r"(?<=\d)( ?)fl\. ?oz\b"), r"\1floz"),
    (re.compile(r"(?<=\d)( ?)(tb?sp)s\b"), r"\1\2"),
    (re.compile(r"(?<=\d) in\.? (?=(?:wide|long|tall|deep|high|thick|by|x)\b)"), " inches "),
    (re.compile(r"(?<=\b1) in\.(?=,|\s*$)"), lambda m: " inch" + ("" if m.string[m.end() :].strip() else ".")),
    (re.compile(r"(?<=\d) in\.(?=,|\s*$)"), lambda m: " inches" + ("" if m.string[m.end() :].strip() else ".")),
    (
        re.compile(
            r"(?<=\d )([NSEW])\. ?(?=\d|[A-Z][a-z])"
            r"|(?<![\w.])([NSEW])\. (?=(?:Carolina|Dakota|Virginia|Korea|America)\b)"
        ),
        lambda m: f"{_COMPASS_POINTS[m[1] or m[2]].capitalize()} ",
    ),
    (re.compile(r"(?<=[Pp]ress )\*|(?<=[Dd]ial )\*"), "star"),
    (re.compile(r"(?<=\s)#(?=[\s.,!?]|$)"), "pound"),
    (
        re.compile(r"\b([Ss]cene|[Aa]ct|[Cc]hapter|[Pp]art|[Vv]olume|[Pp]ages?) ([ivx]{1,5})\b"),
        lambda m: f"{m[1]} {m[2].upper()}",
    ),
    (re.compile(r"(?<=\d)° ?([NSEW])(?!\w)"), lambda m: f"° {_COMPASS_POINTS[m[1]]}"),
    (re.compile(r"(?<=[\d)]) ?[×*·] ?(?=\()|(?<=\)) ?[x×*·] ?(?=[\d(])|(?<=\d%) [*] (?=\d)"), " times "),
)


def _short_before_figure(word: str) -> str:
    said = _SHORT_BEFORE_FIGURES[word.lower()]
    return said.capitalize() if word[0].isupper() else said


_WORD_SIGNS = (
    (re.compile(r"\s?%"), " percent"),
    (re.compile(r"\bm/s\b"), "meters per second"),
    (re.compile(r"\bkm/h\b"), "kilometers per hour"),
    (re.compile(r"(?<=[\w)])\^\(?(?:2|two)\)?(?!\w)"), " squared"),
    (re.compile(r"(?<=[\w)])\^\(?(?:3|three)\)?(?!\w)"), " cubed"),
    (re.compile(r"(?<=[\w)])\^\(?([a-z-]+)\)?"), r" to the power of \1"),
    (re.compile(r" ?× ?"), " times "),
    (re.compile(r" ?÷ ?"), " divided by "),
    (re.compile(r"(?<=[A-Za-z)]) \+ (?=[\w(])"), " plus "),
    (re.compile(r" ?== ?| ?(?<![=<>!])=(?![=>]) ?"), " equals "),
    (re.compile(r" ?!= ?"), " does not equal "),
    (re.compile(r" ?<= ?(?=\w)"), " is at most "),
    (re.compile(r" ?>= ?(?=\w)"), " is at least "),
    (re.compile(r" ?[-=]+> ?"), " to "),
    (re.compile(r"(?<=[\w)]) ?< ?(?=[\w(])"), " is less than "),
    (re.compile(r"(?<=[\w)])>(?=[\w(])"), " is greater than "),
    (re.compile(r"(?<=\w) > (?=[A-Z])"), ", "),  # Settings > General
    (re.compile(r"(?<=[\w)]) > (?=[\w(])"), " is greater than "),
    (re.compile(r"(?<![A-Za-z])([A-GJ-Z])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"\b([A-Za-z])\+\+"), r"\1 plus plus"),
    (re.compile(r"(?<=\w)\+(?!\w)"), " plus"),
    (re.compile(r"(?<=[A-Za-z])\+(?=[A-Za-z])"), " plus "),
    (re.compile(r"(?<=\s)\.(?=[a-z]{2})"), "dot "),
    (re.compile(r"(?<=[a-z_]{2})(?<!\betc)\.(?=[a-z_]{2})"), " dot "),
    (re.compile(r"'n'"), " and "),
    (re.compile(r"(?<=[a-z]in)'(?!\w)|(?<=[a-z]s)'(?=\s+[a-z])"), ""),
    (re.compile(r"\s*&\s*"), " and "),
    (re.compile(r"(?<!\S)@(?!\S)|(?<=\d)@(?=\d)"), " at "),
    (re.compile(r"(?<![A-Za-z])a/(?=[A-Za-z])"), "A slash "),
    (re.compile(r"(?<=[A-Za-z])/(?=[A-Za-z])"), " slash "),
    (re.compile(r"\bTCP slash IP\b"), "TCP IP"),
    # A colon, a semicolon and a bracket beside words are pauses, as people read them.
    (re.compile(r"\s?[;:](?=\s|$)"), ","),
    (re.compile(r"(?<=[\w.,%'\"]) [(\[{](?=\S[^()\[\]{}]{2,200}[)\]}](?!\w))"), ", "),
    (re.compile(r"(?<=\w)[)\]}](?= [\w(\[{])"), ","),
    (re.compile(r"[:;]"), " "),
    (re.compile(r"[_/\\|()\[\]{}<>\"*~^`=]"), " "),
)
_EDGE_HYPHEN = re.compile(r"(?<![A-Za-z\-])-+(?=[A-Za-z])|(?<=[A-Za-z])-+(?![A-Za-z\-])")
_SPACES = re.compile(" {2,}")
_WIDE_SPACE = re.compile(r"\s{2,}")
_REPEATED_PAUSES = re.compile(r"([!?,.\-])[!?,.\-]+")
_SPACE_BEFORE_PAUSE = re.compile(r"\s+(?=[,.!?])")
_UNREAD = re.compile(r"[^ A-Za-z'.,?!\-\ue000-\uf8ff]")


def normalize(text: Spoken, mark_words: Callable[[Spoken], Spoken] = lambda text: text) -> tuple[Spoken, list[Span]]:
    """Spoken form, and the places of letters that have no reading; takes time in proportion to the text.

    mark_words: puts private-use characters in place of words that the user's lexicon reads; no rule touches those.
    """
    text = mark_words(plain_text(text))
    dropped: list[Span] = []
    pieces = [_normalize_piece(text[m.start() : m.end()], dropped) for m in _PIECE.finditer(text.text)]
    return Spoken.join(pieces, " ").sub(_SPACES, " ").strip(), dropped


def _normalize_piece(text: Spoken, dropped: list[Span]) -> Spoken:
    text = read_addresses(text)
    for pattern, words in _BEFORE_FIGURES:
        text = text.sub(pattern, words)
    text = read_zones(kinds.read(read_words(text)))
    text = read_abbreviations(text)
    text = read_roman_numerals(text)
    for pattern, words in _WORD_SIGNS:
        text = text.sub(pattern, words)
    text = read_capitals(strip_accents(text))
    # a letter that was taken apart (한 into its jamo) is dropped once
    dropped += dict.fromkeys(span for c, span in text.characters() if _UNREAD.match(c) and c.isalpha())
    return _tidy_pauses(text.replace("\n", " ").sub(_UNREAD, ""))


def _tidy_pauses(text: Spoken) -> Spoken:
    """One mark for each pause, at its word: runs of them make the model echo the reference."""
    text = text.sub(_EDGE_HYPHEN, " ").sub(_WIDE_SPACE, " ").sub(_SPACE_BEFORE_PAUSE, "")
    return text.sub(_REPEATED_PAUSES, r"\1")
