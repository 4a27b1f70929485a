"""English text normalisation: words, apostrophes, hyphens and the pauses . , ? !"""

from __future__ import annotations

import re
from collections.abc import Callable

from sovits_service.text.en import kinds
from sovits_service.text.en.dates import read_words, read_zones
from sovits_service.text.en.spellings import read_abbreviations, read_capitals, read_roman_numerals
from sovits_service.text.en.typography import plain_text, strip_accents
from sovits_service.text.en.web import read_addresses
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Span, Spoken

MAX_PIECE_CHARACTERS = 1000  # patterns look ahead and back; in pieces of this size their time stays linear in the text

_PIECE = LazyPattern(rf".{{1,{MAX_PIECE_CHARACTERS}}}(?=\s|$)|.{{1,{MAX_PIECE_CHARACTERS}}}", re.DOTALL)
_COMPASS_POINTS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_SHORT_BEFORE_FIGURES = {
    "apt": "apartment", "p": "page", "pg": "page", "pp": "pages", "ch": "chapter", "chap": "chapter",
    "sec": "section", "eq": "equation", "rm": "room", "rte": "route", "hwy": "highway", "art": "article",
    "fig": "figure", "vol": "volume", "ste": "suite",
}  # fmt: skip
_BEFORE_FIGURES = (
    (LazyPattern(r"\bRs\.? ?(?=\d)", needs="R"), "₹"),
    (LazyPattern(r"(?<=\d )([A-Z])s\b", needs="s"), r"\1's"),
    (
        LazyPattern(
            rf"\b({'|'.join(_SHORT_BEFORE_FIGURES)})\. ?(?=[#(]?\d|(?-i:[IVX]{{1,5}})\b(?!'))", re.IGNORECASE, needs="."
        ),
        lambda m: f"{_short_before_figure(m[1])} ",
    ),
    (LazyPattern(r"(?<=\w)\*\*(?=-?\w)", needs="*"), "^"),
    (
        LazyPattern(r"(?<![\d.])(\d{1,2}) ?(?:bd|br)s? ?[/,] ?(\d{1,2}(?:\.\d)?) ?bas?\b", needs=",/"),
        r"\1 bedrooms, \2 baths",
    ),
    (LazyPattern(r"(?<=[A-Za-z])/(?=\d{1,4} ?[a-z]{2,5}\b)", needs="/"), " "),
    (
        LazyPattern(r"(?<=\ban )(A)-(?=[\s.,!?;]|$)|(?<=\ba )([BCDF])-(?=[\s.,!?;]|$)", needs="-A"),
        lambda m: f"{m[1] or m[2]} minus",
    ),
    (LazyPattern(r"(?<![A-Za-z])([a-z])([a-z])\^", needs="^"), lambda m: f"{m[1].upper()} {m[2].upper()}^"),
    (LazyPattern(r"(?<=[\d ])sq\.? (?=(?:ft|m|km|mi|in|yd|cm|mm)\b)", needs="s"), "sq"),
    (LazyPattern(r"(?<=[\d ])cu\.? (?=(?:ft|m|km|cm|mm)\b)", needs="c"), "cu"),
    (LazyPattern(r"(?<=\d)( ?)fl\. ?oz\b", needs="."), r"\1floz"),
    (LazyPattern(r"(?<=\d)( ?)(tb?sp)s\b", needs="t"), r"\1\2"),
    (LazyPattern(r"(?<=\d) in\.? (?=(?:wide|long|tall|deep|high|thick|by|x)\b)", needs="i"), " inches "),
    (
        LazyPattern(r"(?<=\b1) in\.(?=,|\s*$)", needs="1"),
        lambda m: " inch" + ("" if m.string[m.end() :].strip() else "."),
    ),
    (
        LazyPattern(r"(?<=\d) in\.(?=,|\s*$)", needs="."),
        lambda m: " inches" + ("" if m.string[m.end() :].strip() else "."),
    ),
    (
        LazyPattern(
            r"(?<=\d )([NSEW])\. ?(?=\d|[A-Z][a-z])"
            r"|(?<![\w.])([NSEW])\. (?=(?:Carolina|Dakota|Virginia|Korea|America)\b)",
            needs="ENSW",
        ),
        lambda m: f"{_COMPASS_POINTS[m[1] or m[2]].capitalize()} ",
    ),
    (LazyPattern(r"(?<=[Pp]ress )\*|(?<=[Dd]ial )\*", needs="*"), "star"),
    (LazyPattern(r"(?<=\s)#(?=[\s.,!?]|$)", needs="#"), "pound"),
    (
        LazyPattern(r"\b([Ss]cene|[Aa]ct|[Cc]hapter|[Pp]art|[Vv]olume|[Pp]ages?) ([ivx]{1,5})\b"),
        lambda m: f"{m[1]} {m[2].upper()}",
    ),
    (LazyPattern(r"(?<=\d)° ?([NSEW])(?!\w)", needs="°"), lambda m: f"° {_COMPASS_POINTS[m[1]]}"),
    (LazyPattern(r"(?<=[\d)]) ?[×*·] ?(?=\()|(?<=\)) ?[x×*·] ?(?=[\d(])|(?<=\d%) [*] (?=\d)", needs="%()"), " times "),
)


def _short_before_figure(word: str) -> str:
    said = _SHORT_BEFORE_FIGURES[word.lower()]
    return said.capitalize() if word[0].isupper() else said


_WORD_SIGNS = (
    (LazyPattern(r"\s?%", needs="%"), " percent"),
    (LazyPattern(r"\bm/s\b", needs="/"), "meters per second"),
    (LazyPattern(r"\bkm/h\b", needs="/"), "kilometers per hour"),
    (LazyPattern(r"(?<=[\w)])\^\(?(?:2|two)\)?(?!\w)", needs="^"), " squared"),
    (LazyPattern(r"(?<=[\w)])\^\(?(?:3|three)\)?(?!\w)", needs="^"), " cubed"),
    (LazyPattern(r"(?<=[\w)])\^\(?([a-z-]+)\)?", needs="^"), r" to the power of \1"),
    (LazyPattern(r"(?<=\w) / (?=\w)", needs="/"), ", "),
    (LazyPattern(r" ?× ?", needs="×"), " times "),
    (LazyPattern(r" ?÷ ?", needs="÷"), " divided by "),
    (LazyPattern(r"(?<=[A-Za-z)]) \+ (?=[\w(])", needs="+"), " plus "),
    (LazyPattern(r" ?== ?| ?(?<![=<>!])=(?![=>]) ?", needs="="), " equals "),
    (LazyPattern(r" ?!= ?", needs="!"), " does not equal "),
    (LazyPattern(r" ?<= ?(?=\w)", needs="<"), " is at most "),
    (LazyPattern(r" ?>= ?(?=\w)", needs=">"), " is at least "),
    (LazyPattern(r" ?[-=]+> ?", needs=">"), " to "),
    (LazyPattern(r"(?<=[\w)]) ?< ?(?=[\w(])", needs="<"), " is less than "),
    (LazyPattern(r"(?<=[\w)])>(?=[\w(])", needs=">"), " is greater than "),
    (LazyPattern(r"(?<=\w) > (?=[A-Z])", needs=">"), ", "),  # Settings > General
    (LazyPattern(r"(?<=[\w)]) > (?=[\w(])", needs=">"), " is greater than "),
    (LazyPattern(r"(?<![A-Za-z])([A-GJ-Z])#(?!\w)", needs="#"), r"\1 sharp"),
    (LazyPattern(r"\b([A-Za-z])\+\+", needs="+"), r"\1 plus plus"),
    (LazyPattern(r"(?<=\w)\+(?!\w)", needs="+"), " plus"),
    (LazyPattern(r"(?<=[A-Za-z])\+(?=[A-Za-z])", needs="+"), " plus "),
    (LazyPattern(r"(?<=\s)\.(?=[a-z]{2})", needs="."), "dot "),
    (LazyPattern(r"(?<=[a-z_]{2})(?<!\betc)\.(?=[a-z_]{2})", needs="."), " dot "),
    (LazyPattern(r"'n'", needs="'"), " and "),
    (LazyPattern(r"(?<=[a-z]in)'(?!\w)|(?<=[a-z]s)'(?=\s+[a-z])", needs="'"), ""),
    (LazyPattern(r"\s*&\s*", needs="&"), " and "),
    (LazyPattern(r"(?<!\S)@(?!\S)|(?<=\d)@(?=\d)", needs="@"), " at "),
    (LazyPattern(r"(?<![A-Za-z])a/(?=[A-Za-z])", needs="/"), "A slash "),
    (LazyPattern(r"(?<=[A-Za-z])/(?=[A-Za-z])", needs="/"), " slash "),
    (LazyPattern(r"\bTCP slash IP\b", needs="T"), "TCP IP"),
    # A colon, a semicolon and a bracket beside words are pauses, as people read them.
    (LazyPattern(r"\s?[;:](?=\s|$)", needs=":;"), ","),
    (LazyPattern(r"(?<=[\w.,%'\"]) [(\[{](?=\S[^()\[\]{}]{2,200}[)\]}](?!\w))", needs="([{"), ", "),
    (LazyPattern(r"(?<=\w)[)\]}](?= [\w(\[{])", needs=")]}"), ","),
    (LazyPattern(r"[:;]", needs=":;"), " "),
    (LazyPattern(r"[_/\\|()\[\]{}<>\"*~^`=]"), " "),
)
_EDGE_HYPHEN = LazyPattern(r"(?<![A-Za-z\-])-+(?=[A-Za-z])|(?<=[A-Za-z])-+(?![A-Za-z\-])", needs="-")
_SPACES = LazyPattern(" {2,}")
_WIDE_SPACE = LazyPattern(r"\s{2,}")
_REPEATED_PAUSES = LazyPattern(r"([!?,.\-])[!?,.\-]+")
_SPACE_BEFORE_PAUSE = LazyPattern(r"\s+(?=[,.!?])")
_UNREAD = LazyPattern(r"[^ A-Za-z'.,?!\-\ue000-\uf8ff]")


def normalize(text: Spoken, mark_words: Callable[[Spoken], Spoken] = lambda text: text) -> tuple[Spoken, list[Span]]:
    """Spoken form, and the places of letters that have no reading; takes time in proportion to the text.

    mark_words: puts private-use characters in place of words that the user's lexicon reads; no rule touches those.
    """
    letter = text.strip()
    if len(letter) == 1 and letter.text.isascii() and letter.text.isalpha():
        return mark_words(letter), []  # of a formula in another language: no rule has anything to say of it
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
