"""Read a run of Japanese text: phonemes and pitch marks with their places."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import Any

from sovits_service.errors import MissingExtraError
from sovits_service.text.chunking import chunks
from sovits_service.text.ja.homographs import settle_homographs
from sovits_service.text.ja.labels import phonemes_with_pitch
from sovits_service.text.ja.normalize import normalize
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.reading import Reading
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import UNKNOWN, symbol_ids
from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_MISSING = "Japanese text needs the extra ja, on Python 3.11 to 3.13: pip install 'sovits-service[ja]'"
# OpenJTalk copies a text into a buffer of fixed size and crashes beyond it (8192 bytes).
_STRETCH_CHARACTERS = 150
_CONTEXT_CHARACTERS = 24
_REPEATED_MARKS = re.compile(r"([!?…,.\-])[!?…,.\-]+")
# What is read, a decimal point included; everything else is a mark between two stretches.
_STRETCH = re.compile(r"(?:[A-Za-z\d々〆\u3040-\u30ff\u31f0-\u31ff\u4e00-\u9fff\u3400-\u4dbf]|(?<=\d)\.(?=\d))+")
_MARKS = {"：": ",", "；": ",", "，": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "、": ",", "．": "."}
_TO_KATAKANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_SMALL_KANA = str.maketrans("ㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿヷヸヹヺ", "クシストヌハヒフヘホムラリルレロワイエオ")
_TO_NARROW = {code + 0xFEE0: code for code in range(0x21, 0x7F)} | {0x3000: 0x20}
_KANJI_NUMERALS = frozenset("〇一二三四五六七八九十百千万億兆.")
_REMEMBERED_SPELLINGS = 4096
_LATIN = re.compile(r"[A-Za-z]{3,}")


class JapaneseReader:
    """Reads Japanese with OpenJTalk. Safe to call from threads.

    Args:
        lexicon: words and their readings in kana, which win over the dictionary.

    Raises:
        MissingExtraError: the package of the extra `ja` is not installed.
    """

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]] = _NO_WORDS) -> None:
        if importlib.util.find_spec("pyopenjtalk") is None:
            raise MissingExtraError(_MISSING)
        self._readings = {word: "".join(kana).translate(_TO_KATAKANA) for word, kana in lexicon.items()}
        self._words = re.compile(alternatives(self._readings)) if lexicon else None
        self._openjtalk: Any = None
        self._spellings: dict[str, str] = {}
        self._lock = Lock()

    def read(self, text: Spoken, symbols: SymbolSet) -> Reading:
        """Normalise a run and turn it into phonemes; any Unicode text has an answer, if an empty one."""
        known = symbol_ids(symbols)
        if self._words:
            text = text.sub(self._words, lambda match: self._readings[match[0]])
        spoken: list[str] = []
        phonemes: list[tuple[str, Span]] = []
        dropped: list[Span] = []
        for chunk in chunks(text.sub(_REPEATED_MARKS, r"\1")):
            norm = normalize(chunk)
            spoken.append(norm.text)
            position = 0
            for stretch in _STRETCH.finditer(norm.text):
                _add_marks(phonemes, norm[position : stretch.start()], dropped)
                position = stretch.end()
                before = norm.text[max(stretch.start() - _CONTEXT_CHARACTERS, 0) : stretch.start()]
                after = norm.text[position : position + _CONTEXT_CHARACTERS]
                for piece in chunks(norm[stretch.start() : position], _STRETCH_CHARACTERS):
                    phonemes += self._pronounce(piece, before, after, dropped)
            _add_marks(phonemes, norm[position:], dropped)
        names = tuple(name if name in known else UNKNOWN for name, _ in phonemes)
        return Reading("".join(spoken), names, None, tuple(span for _, span in phonemes), tuple(dropped))

    def _pronounce(self, text: Spoken, before: str, after: str, dropped: list[Span]) -> list[tuple[str, Span]]:
        text = text.translate(_SMALL_KANA)
        text = text[len(text) - len(text.text.lstrip("ー")) :]  # nothing to lengthen
        if not text:
            return []
        with self._lock:
            if self._openjtalk is None:
                self._openjtalk = _load_openjtalk()
            text = text.sub(_LATIN, lambda match: self._known_spelling(match[0]))
            words = settle_homographs(self._openjtalk.run_frontend(text.text), before, after)
            places = _places([word["string"] for word in words], text)
            for word, place in zip(words, places, strict=True):
                if word["pron"] == "、":
                    dropped += [place] * len(word["string"])
            if all(word["mora_size"] == 0 for word in words):
                return []
            phonemes = phonemes_with_pitch(self._openjtalk.make_label(words))
        morae = [place for word, place in zip(words, places, strict=True) for _ in range(word["mora_size"])]
        if phonemes and phonemes[-1][1] + 1 != len(morae):  # a long vowel that begins a phrase is not said
            morae = [(text.spans[0][0], text.spans[-1][1])] * (phonemes[-1][1] + 1)
        return [(name, morae[number]) for name, number in phonemes]

    def _known_spelling(self, word: str) -> str:
        """The capitals in which the dictionary has a Latin word (Google, iPhone), or the word as it is."""
        if word not in self._spellings:
            if len(self._spellings) >= _REMEMBERED_SPELLINGS:
                self._spellings.clear()
            self._spellings[word] = next(
                (
                    spelling
                    for spelling in (word, word.capitalize(), word.upper())
                    if len(found := self._openjtalk.run_frontend(spelling)) == 1 and found[0]["pos"] != "記号"
                ),
                word,
            )
        return self._spellings[word]


def _places(surfaces: list[str], text: Spoken) -> list[Span]:
    """Where each of OpenJTalk's words is from: it writes digits as kanji, and Latin letters wide."""
    places: list[Span] = []
    written: list[tuple[int, int]] = []
    position = waiting = 0
    for surface in (surface.translate(_TO_NARROW) for surface in surfaces):
        is_number = text.text[position : position + 1].isdigit() and surface[:1] in _KANJI_NUMERALS
        start = position if text.text.startswith(surface, position) else -1
        if start < 0 and waiting and not is_number:
            start = text.text.find(surface, position + 1)
        if start < 0 or not surface:
            waiting += 1
            continue
        written += [(position, start)] * waiting + [(start if waiting else position, start + len(surface))]
        position, waiting = start + len(surface), 0
    written += [(position, len(text))] * waiting
    for start, end in written:
        after = text.spans[start - 1][1] if start else text.spans[0][0]
        places.append((text.spans[start][0], text.spans[end - 1][1]) if start < end else (after, after))
    return places


def _add_marks(phonemes: list[tuple[str, Span]], marks: Spoken, dropped: list[Span]) -> None:
    """Append punctuation, and to `dropped` the letters among the marks, which have no reading."""
    for mark, span in marks.characters():
        if mark != " ":
            phonemes.append((_MARKS.get(mark, mark), span))
            if mark.isalnum():
                dropped.append(span)


def _load_openjtalk() -> Any:
    import pyopenjtalk

    if not os.path.isdir(pyopenjtalk.OPEN_JTALK_DICT_DIR):  # some builds would download it now
        raise MissingExtraError(_MISSING)
    return pyopenjtalk.OpenJTalk(dn_mecab=pyopenjtalk.OPEN_JTALK_DICT_DIR)
