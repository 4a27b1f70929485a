"""A request's text and language in, segments of phoneme ids for the engine out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from sovits_service.errors import InvalidRequestError, MissingExtraError
from sovits_service.text.langid import INLINE_READING, LATIN_WORDS, Run, is_japanese, language_runs
from sovits_service.text.lexicon import Lexicon, Readings
from sovits_service.text.reading import Reading
from sovits_service.text.splitter import FRAGMENT_LIMIT_CHARACTERS, presegment, protect, reveal
from sovits_service.text.symbols import PUNCTUATION, phoneme_ids
from sovits_service.types import LanguageRun, Segment, SplitMethod, SymbolSet

if TYPE_CHECKING:
    from sovits_service.text.zh.g2pw import G2pwModel
    from sovits_service.text.zh.reader import ChineseReader

SUPPORTED_LANGUAGES: Mapping[SymbolSet, tuple[str, ...]] = MappingProxyType(
    {
        "v1": ("auto", "en", "zh", "ja", "all_zh", "all_ja"),
        "v2": ("auto", "auto_yue", "en", "zh", "ja", "yue", "ko", "all_zh", "all_ja", "all_yue", "all_ko"),
    }
)
_READABLE: Mapping[SymbolSet, frozenset[str]] = MappingProxyType(
    {"v1": frozenset({"zh", "en", "ja"}), "v2": frozenset({"zh", "en", "ja", "ko", "yue"})}
)
_SHORT_PHONEMES = 6
_PAUSE = re.compile(r"\[pause:\s*(\d+(?:\.\d+)?|\.\d+)\s*s?\s*\]", re.IGNORECASE)
_LONGEST_PAUSE_S = 10.0
_UNPAIRED = re.compile("[\ud800-\udfff\x00]")  # no encoding has a place for these
_SPACES = re.compile(r" {2,}")
_SLASH_AT_END = re.compile(r"(?<=[A-Za-z0-9])/$")
_WIDE_PAUSE_AT_END = re.compile(r"[，、；：](?=[.。]?$)")
_SILENT_PHONEMES = frozenset((*PUNCTUATION, "SP", "SP2", "SP3", "UNK", "_"))


class Reader(Protocol):
    """Reads runs of one language."""

    def read(self, text: str, symbols: SymbolSet) -> Reading: ...


class Frontend:
    """Turns text into segments; readers load at the first text in their language. Safe to call from threads.

    Args:
        lexicon: the users' pronunciations.
        g2pw_dir: the folder of the Chinese polyphone model; None does without it.
    """

    def __init__(self, *, lexicon: Lexicon | None = None, g2pw_dir: Path | None = None) -> None:
        self._lexicon = lexicon or Lexicon()
        self._g2pw_dir = g2pw_dir
        self._readers: dict[str, Reader] = {}
        self._chinese: ChineseReader | None = None
        self._g2pw: G2pwModel | None = None
        self._lock = Lock()

    def use_lexicon(self, lexicon: Lexicon) -> None:
        """Take other pronunciations for later texts."""
        with self._lock:
            self._lexicon = lexicon
            self._readers = {}
            self._chinese = None

    def segments(self, text: str, language: str, symbols: SymbolSet, split: SplitMethod) -> list[Segment]:
        """Split a text and read every fragment.

        Raises:
            InvalidRequestError: the language is not known to the symbol set, or there is nothing to read.
            MissingExtraError: the text needs a language whose packages are not installed.
        """
        mode = self._mode(language, symbols)
        text = _UNPAIRED.sub("", text)
        japanese = is_japanese(text)
        segments: list[Segment] = []
        lost = 0  # letters of fragments that say nothing at all; the next one that does reports them
        for part, pause_s in _parts(text):
            spoken: list[Segment] = []
            for fragment in presegment(protect(part), mode, split):
                fragment = reveal(fragment)
                if not part.startswith(fragment[:2]):
                    fragment = _apart(fragment)
                segment = self._segment(fragment, mode, symbols, japanese)
                lost += segment.dropped_characters
                if _is_spoken(segment, symbols):
                    spoken.append(replace(segment, dropped_characters=lost))
                    lost = 0
            if pause_s is not None:
                _pause_after(spoken or segments, pause_s)
            segments += spoken
        if not segments:
            raise InvalidRequestError("text has nothing to read; send words in the language of text_lang")
        segments[-1] = replace(segments[-1], dropped_characters=segments[-1].dropped_characters + lost)
        return segments

    def transcript(self, text: str, language: str, symbols: SymbolSet) -> Segment:
        """Read the transcript of a reference as one segment.

        Raises:
            InvalidRequestError: the language is not known to the symbol set, or there is nothing to read.
        """
        mode = self._mode(language, symbols)
        text = _UNPAIRED.sub("", _PAUSE.sub("", text)).strip("\n")
        if text and text[-1] not in "，。？！,.?!~:：—…":
            text += "." if mode == "en" else "。"
        segment = self._segment(text, mode, symbols, is_japanese(text))
        if not _is_spoken(segment, symbols):
            raise InvalidRequestError("prompt_text has nothing to read; leave it empty or send what the reference says")
        return segment

    def _mode(self, language: str, symbols: SymbolSet) -> str:
        mode = language.lower()
        if mode not in SUPPORTED_LANGUAGES[symbols]:
            known = ", ".join(SUPPORTED_LANGUAGES[symbols])
            raise InvalidRequestError(
                f"text_lang: {language} is not supported in version {symbols}; use one of {known}"
            )
        return mode

    def _segment(self, text: str, mode: str, symbols: SymbolSet, japanese: bool) -> Segment:
        text = _SPACES.sub(" ", text)
        segment = self._read(text, mode, symbols, japanese)
        if len(segment.phoneme_ids) < _SHORT_PHONEMES:
            # parity: very short texts get a dot in front, or the weights swallow them
            segment = self._read(_apart("." + text), mode, symbols, japanese)
        return segment

    def _read(self, text: str, mode: str, symbols: SymbolSet, japanese: bool) -> Segment:
        runs: list[LanguageRun] = []
        dropped = 0
        found = language_runs(text, mode, japanese=japanese)
        if mode != "en":
            _tidy_english(found)
        for run in found:
            readings = self._readings(run, mode, symbols)
            if readings is None:
                dropped += sum(character.isalpha() for character in run.text)
                continue
            for language, reading in readings:
                dropped += reading.dropped_characters
                runs += _language_runs(language, reading, symbols)
        return Segment(tuple(runs), dropped_characters=dropped)

    def _readings(self, run: Run, mode: str, symbols: SymbolSet) -> list[tuple[str, Reading]] | None:
        """Read a run; None where the model has no phonemes for it."""
        if run.language not in _READABLE[symbols]:
            return None
        if run.language == "zh":
            return self._read_chinese(run.text, symbols)
        try:
            reader = self._reader(run.language)
        except MissingExtraError:
            if mode in ("zh", "yue"):  # the user chose the language; a foreign word in it must not fail the text
                return None
            raise
        if run.language == "yue" and INLINE_READING.search(run.text):
            from sovits_service.text.yue.marked import read_marked

            return [(run.language, read_marked(reader, run.text, symbols))]
        return [(run.language, reader.read(run.text, symbols))]

    def _read_chinese(self, text: str, symbols: SymbolSet) -> list[tuple[str, Reading]]:
        """Chinese and the Latin letters that formulas and units within it leave over."""
        reader = self._chinese_reader()
        normalized = reader.normalize(text)
        readings: list[tuple[str, Reading]] = []
        end = 0
        for match in LATIN_WORDS.finditer(normalized.text):
            readings.append(("zh", reader.read_normalized(normalized.text[end : match.start()], symbols)))
            readings.append(("en", self._reader("en").read(match.group(), symbols)))
            end = match.end()
        readings.append(("zh", reader.read_normalized(normalized.text[end:], symbols)))
        last = readings[-1][1]
        dropped = last.dropped_characters + normalized.dropped_characters
        readings[-1] = ("zh", Reading(last.norm_text, last.phonemes, last.word2ph, dropped))
        return readings

    def _chinese_reader(self) -> ChineseReader:
        reader = self._chinese
        if reader is None:
            with self._lock:
                reader = self._chinese
                if reader is None:
                    reader = self._chinese = self._make_chinese_reader()
        return reader

    def _make_chinese_reader(self) -> ChineseReader:
        from sovits_service.text.zh.reader import ChineseReader

        if self._g2pw_dir is not None and self._g2pw is None:
            from sovits_service.text.zh.g2pw import G2pwModel

            self._g2pw = G2pwModel(self._g2pw_dir)
        return ChineseReader(self._lexicon.readings("zh"), self._g2pw)

    def _reader(self, language: str) -> Reader:
        reader = self._readers.get(language)
        if reader is None:
            with self._lock:
                reader = self._readers.get(language)
                if reader is None:
                    reader = self._readers[language] = make_reader(language, self._lexicon.readings(language))
        return reader


def make_reader(language: str, lexicon: Readings) -> Reader:
    """The reader of a language; its module is imported here, since each brings its own dictionaries."""
    if language == "en":
        from sovits_service.text.en.reader import EnglishReader

        return EnglishReader(lexicon)
    if language == "ko":
        from sovits_service.text.ko.reader import KoreanReader

        return KoreanReader(lexicon)
    if language == "yue":
        from sovits_service.text.yue.reader import CantoneseReader

        return CantoneseReader(lexicon)
    from sovits_service.text.ja.reader import JapaneseReader

    return JapaneseReader(lexicon)


def _apart(text: str) -> str:
    """A dot that was put before a number must not make it a decimal."""
    return ". " + text[1:] if text[0] == "." and text[1:2].isdigit() else text


def _tidy_english(runs: list[Run]) -> None:
    """Take out marks at the end of English runs that are not said: 5G/4G网络, and a wide comma that ends all."""
    for run, after in pairwise(runs):
        if run.language == "en" and after.language in ("zh", "yue"):
            run.text = _SLASH_AT_END.sub(" ", run.text)
    if runs and runs[-1].language == "en":
        # parity: the original says no pause after English at the end of a fragment
        runs[-1].text = _WIDE_PAUSE_AT_END.sub("", runs[-1].text)


def _parts(text: str) -> list[tuple[str, float | None]]:
    """The text between pause marks, each with the pause that follows it."""
    parts: list[tuple[str, float | None]] = []
    start = 0
    for match in _PAUSE.finditer(text):
        parts.append((text[start : match.start()], min(float(match.group(1)), _LONGEST_PAUSE_S)))
        start = match.end()
    parts.append((text[start:], None))
    return parts


def _pause_after(segments: list[Segment], pause_s: float) -> None:
    if segments:
        segments[-1] = replace(segments[-1], pause_s=(segments[-1].pause_s or 0.0) + pause_s)


def _is_spoken(segment: Segment, symbols: SymbolSet) -> bool:
    silent = frozenset(phoneme_ids(_SILENT_PHONEMES, symbols))
    return not silent.issuperset(segment.phoneme_ids)


def _language_runs(language: str, reading: Reading, symbols: SymbolSet) -> list[LanguageRun]:
    ids = phoneme_ids(reading.phonemes, symbols)
    if language != "zh" or reading.word2ph is None:
        return [LanguageRun(language, reading.norm_text, ids)] if ids else []
    # BERT reads 510 characters at a time, and reading numbers out makes a text longer
    runs: list[LanguageRun] = []
    position = 0
    for start in range(0, len(reading.norm_text), FRAGMENT_LIMIT_CHARACTERS):
        norm_text = reading.norm_text[start : start + FRAGMENT_LIMIT_CHARACTERS]
        word2ph = reading.word2ph[start : start + FRAGMENT_LIMIT_CHARACTERS]
        length = sum(word2ph)
        runs.append(LanguageRun("zh", norm_text, ids[position : position + length], word2ph))
        position += length
    return runs
