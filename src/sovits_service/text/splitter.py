"""Split a request's text into the fragments that are spoken one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken
from sovits_service.types import SplitMethod

FRAGMENT_LIMIT_CHARACTERS = 510  # BERT reads 512 tokens, two of them are its own

_SENTENCE_ENDS = frozenset("，。？！,.?!~:：—…")
_EVERY_MARK = frozenset(",.;?!、，。？！：…")
_SILENT = frozenset("!?…,.- ")
_RUN_OF_MARKS = LazyPattern(r"([!?…,.\-])(?:[!?…,.]|-(?!\d)|(?<!,)-)+")
_SENTENCE_END = LazyPattern(f"([{''.join(re.escape(mark) for mark in sorted(_SENTENCE_ENDS))}])")
_ENGLISH_STOP = LazyPattern(r"(?<!\d)\.(?!\d)", needs=".")
_CHINESE_STOP = LazyPattern("。", needs="。")
_LINE_END = LazyPattern("\n", needs="\n")
_WORD = LazyPattern(r"\w")
_PROTECTED = LazyPattern(
    r"""
    (?:https?://|ftp://|www\.)[A-Za-z0-9\-._~:/?\#\[\]@!$&'()*+;=%]*[A-Za-z0-9/=_-]
    |(?<![A-Za-z0-9])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+
    |(?<![A-Za-z0-9.])[A-Za-z][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.(?:com|cn|org|net|io|ai|edu|gov|dev|app|jp|kr|hk|tw|uk|tv|js|py)
        (?![A-Za-z0-9])(?:/[A-Za-z0-9._~/?&=%\#-]*[A-Za-z0-9/=_-])?
    |(?<=[0-9０-９])[.,:：．、](?=[0-9０-９])
    |(?<![A-Za-z])(?:Dr|Mr|Mrs|Ms|St|Prof|Rev|Gen|Sgt|Capt|Lt|Sr|Jr|vs|No|Inc|Ltd|Co|Corp|Mt|Fig|Vol|approx|dept|est)\.(?=\s*[^\s])
    |(?<![A-Za-z])(?:Mon|Tues?|Weds?|Thu|Thurs?|Fri|Sat|Sun|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.
        (?=[-–—/,]|\s?[0-9]|\s[a-z])
    |(?<![A-Za-z.])(?:[A-Za-z]\.){2,}(?=\s*[^\s])
    |(?<![A-Za-z.])[A-Z]\.(?=\s[A-Z])
    |(?<![A-Za-z.])(?i:ca?|chs?|secs?|figs?|eqs?|pp?|vols?|nos?|art|par|ver?|rm|apt|ste|fl|ext|tel|max|min|eds?)\.(?=\s*[(0-9])
    |(?<![A-Za-z])(?:Art|Sec|Ch|Vol|Pt|Amend)\.(?=\s[IVX]{1,5}(?![A-Za-z]))|(?<=[a-z]\s)v\.(?=\s[A-Z])
    |(?<=/mo|/yr|/wk)\.(?=\s[a-z])|(?<![A-Za-z])(?:Rte|Hwy)\.(?=\s?[0-9])
    |(?<=[0-9]\s)[NSEW]\.(?=\s*(?:[0-9]|[A-Z][a-z]))
    |(?<=[0-9]\s)fl\.(?=\s?oz)|(?<![A-Za-z])(?:oz|lbs?|ft|in|yd|mi|gal|pt|qt|tsp|tbsp|hrs?|mins?)\.(?=\s[a-z])
    |(?<=\s)\.(?=[A-Za-z])
    |(?<=[A-Za-z])\.(?=[A-Za-z,;])
    """,
    re.VERBOSE,
)
_HIDDEN_MARKS = ".,:：．、?!~-;…"
_HIDE = str.maketrans({mark: chr(0xE000 + i) for i, mark in enumerate(_HIDDEN_MARKS)})
_REVEAL = str.maketrans({chr(0xE000 + i): mark for i, mark in enumerate(_HIDDEN_MARKS)})
_NO_PRIVATE = str.maketrans(dict.fromkeys((chr(0xE000 + i) for i in range(len(_HIDDEN_MARKS))), ""))
_SHORT_START_CHARACTERS = 4
_SHORT_FRAGMENT_CHARACTERS = 5
_SENTENCES_PER_FRAGMENT = 4
_CHARACTERS_PER_FRAGMENT = 50


def cut(text: Spoken, method: SplitMethod) -> list[Spoken]:
    """Cut a text by one of the six methods; lines of the text stay lines, empty ones included."""
    return _METHODS[method](text).split(_LINE_END)


def presegment(text: Spoken, language: str, method: SplitMethod) -> list[Spoken]:
    """Fragments of a text as they are handed to the readers: every one ends in a mark and has something to read.

    Args:
        text: the whole text of a request.
        language: as in the request; only `en` matters, whose full stop is ".".
        method: where to cut.

    Returns:
        Fragments in order, each at most 510 characters long; none when there is nothing to read.
    """
    full_stop = "." if language == "en" else "。"
    text = text.sub(_RUN_OF_MARKS, r"\1").strip("\n")
    if not text:
        return []
    # parity: the original guards a short first sentence with a leading mark, since the weights swallow it otherwise
    if text.text[0] not in _SENTENCE_ENDS and len(_first_sentence(text.text)) < _SHORT_START_CHARACTERS:
        text = full_stop + text
    pieces = [piece for piece in cut(text, method) if piece.text not in ("", " ")]
    fragments: list[Spoken] = []
    for piece in _join_short(pieces):
        if not _WORD.search(piece.text):
            continue
        ended = piece if piece.text[-1] in _SENTENCE_ENDS else piece + full_stop
        fragments.extend(_limit(ended))
    return fragments


def protect(text: Spoken) -> Spoken:
    """Hide marks that end no sentence from `presegment`: in numbers, links, abbreviations and initials."""
    return text.translate(_NO_PRIVATE).sub(_PROTECTED, lambda match: match.group().translate(_HIDE))


def hide_inner_marks(text: str) -> str:
    """The text, as long as it was, with the marks that end no sentence made unreadable, as `protect` does."""
    return _PROTECTED.compiled.sub(lambda match: match.group().translate(_HIDE), text)


def reveal(fragment: Spoken) -> Spoken:
    """Bring back the marks that `protect` hid."""
    return fragment.translate(_REVEAL)


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.compiled.split(text, maxsplit=1)[0].strip()


def _join_short(pieces: list[Spoken]) -> list[Spoken]:
    """Join pieces until each has five characters; a short rest goes to the piece before it."""
    if len(pieces) < 2:
        return pieces
    joined: list[Spoken] = []
    waiting: list[Spoken] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= _SHORT_FRAGMENT_CHARACTERS:
            joined.append(Spoken.join(waiting))
            waiting = []
    if waiting:
        rest = Spoken.join(waiting)
        if joined:
            joined[-1] += rest
        else:
            joined.append(rest)
    return joined


def _limit(fragment: Spoken) -> list[Spoken]:
    """Cut a fragment that is too long for BERT: at its marks, and between characters where it has none."""
    if len(fragment) <= FRAGMENT_LIMIT_CHARACTERS:
        return [fragment]
    parts: list[Spoken] = []
    start = end = 0
    for piece in fragment.split(_SENTENCE_END):
        if end + len(piece) - start > FRAGMENT_LIMIT_CHARACTERS:
            parts.append(fragment[start:end])
            start = end
        end += len(piece)
    parts.append(fragment[start:])
    return [chunk for part in parts for chunk in _hard_limit(part) if _WORD.search(chunk.text)]


def _hard_limit(part: Spoken) -> Iterable[Spoken]:
    start = 0
    while len(part) - start > FRAGMENT_LIMIT_CHARACTERS:
        limit = start + FRAGMENT_LIMIT_CHARACTERS
        space = part.text.rfind(" ", start + FRAGMENT_LIMIT_CHARACTERS // 2, limit)
        end = space + 1 if space > 0 else limit
        yield part[start:end]
        start = end
    yield part[start:]


def _sentences(text: Spoken) -> list[Spoken]:
    """Sentences with their marks; the last one gets a mark if it has none."""
    text = text.replace("……", "。").replace("——", "，")
    if not text:
        return []
    if text.text[-1] not in _SENTENCE_ENDS:
        text += "。"
    pieces = text.split(_SENTENCE_END)
    return [body + mark for body, mark in zip(pieces[0::2], pieces[1::2], strict=False)]


def _spoken(pieces: Iterable[Spoken], silent: frozenset[str] = _SILENT) -> Spoken:
    return Spoken.join((piece for piece in pieces if not silent.issuperset(piece.text)), "\n")


def _cut_nothing(text: Spoken) -> Spoken:
    return text[:0] + "\n" if _SILENT.issuperset(text.text) else text


def _cut_every_four_sentences(text: Spoken) -> Spoken:
    text = text.strip("\n")
    sentences = _sentences(text)
    starts = range(0, len(sentences), _SENTENCES_PER_FRAGMENT)
    if len(starts) < 2:
        return _spoken([text])
    # parity: the last group takes what is left, up to seven sentences
    groups = [*(sentences[start : start + _SENTENCES_PER_FRAGMENT] for start in starts[:-2]), sentences[starts[-2] :]]
    return _spoken(Spoken.join(group) for group in groups)


def _cut_every_fifty_characters(text: Spoken) -> Spoken:
    text = text.strip("\n")
    sentences = _sentences(text)
    if len(sentences) < 2:
        return text
    groups: list[Spoken] = []
    current: list[Spoken] = []
    length = 0
    for sentence in sentences:
        current.append(sentence)
        length += len(sentence)
        if length > _CHARACTERS_PER_FRAGMENT:
            groups.append(Spoken.join(current))
            current, length = [], 0
    if current:
        groups.append(Spoken.join(current))
    if len(groups) > 1 and len(groups[-1]) < _CHARACTERS_PER_FRAGMENT:
        last = groups.pop()
        groups[-1] += last
    return _spoken(groups)


def _cut_at_chinese_stops(text: Spoken) -> Spoken:
    return _spoken(text.strip("\n").strip("。").split(_CHINESE_STOP))


def _cut_at_english_stops(text: Spoken) -> Spoken:
    return _spoken(text.strip("\n").strip(".").split(_ENGLISH_STOP))


def _cut_at_every_mark(text: Spoken) -> Spoken:
    text = text.strip("\n")
    plain = text.text
    pieces: list[Spoken] = []
    start = 0
    for i, character in enumerate(plain):
        if character not in _EVERY_MARK:
            continue
        if character == "." and plain[i - 1 : i].isdigit() and plain[i + 1 : i + 2].isdigit():
            continue
        pieces.append(text[start : i + 1])
        start = i + 1
    if start < len(text):
        pieces.append(text[start:])
    return _spoken(pieces, _EVERY_MARK)


_METHODS: dict[SplitMethod, Callable[[Spoken], Spoken]] = {
    "cut0": _cut_nothing,
    "cut1": _cut_every_four_sentences,
    "cut2": _cut_every_fifty_characters,
    "cut3": _cut_at_chinese_stops,
    "cut4": _cut_at_english_stops,
    "cut5": _cut_at_every_mark,
}
