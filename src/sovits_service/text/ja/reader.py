"""A run of Japanese text in, its phonemes and pitch marks as the weights know them out."""

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
from sovits_service.text.ja.labels import phonemes_with_pitch
from sovits_service.text.ja.normalize import normalize
from sovits_service.text.reading import Reading
from sovits_service.text.symbols import UNKNOWN, symbol_ids
from sovits_service.types import SymbolSet

_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_MISSING = "Japanese text needs the extra ja: pip install 'sovits-service[ja]'"
# OpenJTalk copies a text into a buffer of fixed size and crashes beyond it (8192 bytes).
_STRETCH_CHARACTERS = 150
_REPEATED_MARKS = re.compile(r"([!?…,.\-])[!?…,.\-]+")
# What is read, a decimal point included; everything else is a mark between two stretches.
_STRETCH = re.compile(r"(?:[A-Za-z\d々〆\u3040-\u30ff\u31f0-\u31ff\u4e00-\u9fff\u3400-\u4dbf]|(?<=\d)\.(?=\d))+")
_MARKS = {"：": ",", "；": ",", "，": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "、": ",", "．": "."}
_TO_KATAKANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_SMALL_KANA = str.maketrans("ㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿヷヸヹヺ", "クシストヌハヒフヘホムラリルレロワイエオ")
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
        words = sorted(self._readings, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words))) if words else None
        self._openjtalk: Any = None
        self._spellings: dict[str, str] = {}
        self._lock = Lock()

    def read(self, text: str, symbols: SymbolSet) -> Reading:
        """Normalise a run and turn it into phonemes; any Unicode text has an answer, if an empty one."""
        known = symbol_ids(symbols)
        if self._words:
            text = self._words.sub(lambda match: self._readings[match[0]], text)
        spoken: list[str] = []
        phonemes: list[str] = []
        dropped = 0
        for chunk in chunks(_REPEATED_MARKS.sub(r"\1", text)):
            norm = normalize(chunk)
            spoken.append(norm)
            found, unread = self._phonemes(norm)
            phonemes += found
            dropped += unread
        return Reading("".join(spoken), tuple(name if name in known else UNKNOWN for name in phonemes), None, dropped)

    def _phonemes(self, text: str) -> tuple[list[str], int]:
        phonemes: list[str] = []
        dropped = position = 0
        for stretch in _STRETCH.finditer(text):
            dropped += _add_marks(phonemes, text[position : stretch.start()])
            for piece in chunks(stretch[0], _STRETCH_CHARACTERS):
                found, unread = self._pronounce(piece)
                phonemes += found
                dropped += unread
            position = stretch.end()
        dropped += _add_marks(phonemes, text[position:])
        return phonemes, dropped

    def _pronounce(self, text: str) -> tuple[list[str], int]:
        text = text.translate(_SMALL_KANA).lstrip("ー")  # nothing to lengthen
        if not text:
            return [], 0
        with self._lock:
            if self._openjtalk is None:
                self._openjtalk = _load_openjtalk()
            text = _LATIN.sub(lambda match: self._known_spelling(match[0]), text)
            words = self._openjtalk.run_frontend(text)
            unread = sum(len(word["string"]) for word in words if word["pron"] == "、")
            if all(word["mora_size"] == 0 for word in words):
                return [], unread
            return phonemes_with_pitch(self._openjtalk.make_label(words)), unread

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


def _add_marks(phonemes: list[str], marks: str) -> int:
    """Append punctuation; returns how many letters among the marks have no reading."""
    dropped = 0
    for mark in marks:
        if mark != " ":
            phonemes.append(_MARKS.get(mark, mark))
            dropped += mark.isalnum()
    return dropped


def _load_openjtalk() -> Any:
    import pyopenjtalk

    if not os.path.isdir(pyopenjtalk.OPEN_JTALK_DICT_DIR):  # some builds would download it now
        raise MissingExtraError(_MISSING)
    return pyopenjtalk.OpenJTalk(dn_mecab=pyopenjtalk.OPEN_JTALK_DICT_DIR)
