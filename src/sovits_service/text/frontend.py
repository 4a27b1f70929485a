"""The text front end: from a request's text and language to segments of phoneme ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

from sovits_service.errors import InvalidRequestError, MissingExtraError
from sovits_service.text.emoji_names import named_emoji, silent_emoji, without_faces
from sovits_service.text.langid import INLINE_READING, LATIN_WORDS, is_japanese, language_runs
from sovits_service.text.lexicon import Lexicon, Readings
from sovits_service.text.markup import without_markup
from sovits_service.text.reading import Reader, Reading
from sovits_service.text.splitter import FRAGMENT_LIMIT_CHARACTERS, presegment, protect, reveal
from sovits_service.text.spoken import Span, Spoken
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
_MANDARIN = frozenset(("auto", "zh", "all_zh"))
_HAS_TONE_MARK = re.compile("[āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜ]")
_LONE_A = re.compile(r"\W*a\W*")
_SPACES = re.compile(r" {2,}")
_SLASH_AT_END = re.compile(r"(?<=[A-Za-z0-9])/$")
_WIDE_PAUSE_AT_END = re.compile(r"[，、；：](?=[.。]?$)")
_SILENT_PHONEMES = frozenset((*PUNCTUATION, "SP", "SP2", "SP3", "UNK", "_"))


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

    def segments(
        self,
        text: str,
        language: str,
        symbols: SymbolSet,
        split: SplitMethod,
        *,
        read_emoji: bool = False,
        between: Callable[[], None] = lambda: None,
    ) -> list[Segment]:
        """Split a text and read every fragment.

        Args:
            read_emoji: say the names of emoji; else they are silent.
            between: called before each fragment is read.

        Raises:
            InvalidRequestError: the language is not known to the symbol set, or there is nothing to read.
            MissingExtraError: the text needs a language whose packages are not installed.
        """
        mode = self._mode(language, symbols)
        whole = without_markup(without_faces(Spoken.of(text).sub(_UNPAIRED, "")), "." if mode == "en" else "。")
        japanese = is_japanese(whole.text)
        if mode in _MANDARIN and not japanese and _HAS_TONE_MARK.search(whole.text):
            from sovits_service.text.zh.pinyin import characters_for_pinyin

            whole = characters_for_pinyin(whole)
        whole = named_emoji(whole, _language_of(whole.text, mode, japanese)) if read_emoji else silent_emoji(whole)
        segments: list[Segment] = []
        lost: tuple[Span, ...] = ()  # letters of fragments that say nothing at all; the next one that does reports them
        for part, pause_s in _parts(whole):
            spoken: list[Segment] = []
            for fragment in map(reveal, presegment(protect(part), mode, split)):
                if not part.text.startswith(fragment.text[:2]):
                    fragment = _apart(fragment)
                between()
                segment = self._segment(fragment, mode, symbols, japanese)
                lost += segment.dropped
                if _is_spoken(segment, symbols):
                    spoken.append(replace(segment, dropped=lost))
                    lost = ()
            if pause_s is not None:
                _pause_after(spoken or segments, pause_s)
            segments += spoken
        if not segments:
            raise InvalidRequestError("text has nothing to read; send words in the language of text_lang")
        segments[-1] = replace(segments[-1], dropped=segments[-1].dropped + lost)
        return segments

    def transcript(self, text: str, language: str, symbols: SymbolSet, *, field: str = "prompt_text") -> Segment:
        """Read the transcript of a clip as one segment.

        Args:
            field: that the text came in, for messages.

        Raises:
            InvalidRequestError: the language is not known to the symbol set, or there is nothing to read.
        """
        mode = self._mode(language, symbols)
        whole = Spoken.of(text).sub(_PAUSE, "").sub(_UNPAIRED, "")
        whole = without_markup(whole, "." if mode == "en" else "。").strip("\n")
        if whole and whole.text[-1] not in "，。？！,.?!~:：—…":
            whole += "." if mode == "en" else "。"
        segment = self._segment(whole, mode, symbols, is_japanese(whole.text))
        if not _is_spoken(segment, symbols):
            clip = "reference" if field == "prompt_text" else "recording"
            raise InvalidRequestError(f"{field} has nothing to read; leave it empty or send what the {clip} says")
        return segment

    def _mode(self, language: str, symbols: SymbolSet) -> str:
        mode = language.lower()
        if mode not in SUPPORTED_LANGUAGES[symbols]:
            known = ", ".join(SUPPORTED_LANGUAGES[symbols])
            raise InvalidRequestError(
                f"text_lang: {language} is not supported in version {symbols}; use one of {known}"
            )
        return mode

    def _segment(self, text: Spoken, mode: str, symbols: SymbolSet, japanese: bool) -> Segment:
        text = text.sub(_SPACES, " ")
        segment = self._read(text, mode, symbols, japanese)
        if len(segment.phoneme_ids) < _SHORT_PHONEMES:
            # parity: very short texts get a dot in front, or the weights swallow them
            segment = self._read(_apart("." + text), mode, symbols, japanese)
        return segment

    def _read(self, text: Spoken, mode: str, symbols: SymbolSet, japanese: bool) -> Segment:
        runs: list[LanguageRun] = []
        dropped: list[Span] = []
        for spoken_in, run in _runs(text, mode, japanese):
            readings = self._readings(spoken_in, run, mode, symbols)
            if readings is None:
                dropped += (span for character, span in run.characters() if character.isalpha())
                continue
            for language, reading in readings:
                dropped += reading.dropped
                runs += _language_runs(language, reading, symbols)
        return Segment(tuple(_in_order(runs)), dropped=tuple(sorted(dropped)))

    def _readings(self, language: str, text: Spoken, mode: str, symbols: SymbolSet) -> list[tuple[str, Reading]] | None:
        """Read a run; None where the model has no phonemes for it."""
        if language not in _READABLE[symbols]:
            return None
        if language == "en" and mode != "en" and _LONE_A.fullmatch(text.text):
            text = text.each(str.upper)  # 若a=3: the letter, not the article
        if language == "zh":
            return self._read_chinese(text, symbols)
        try:
            reader = self._reader(language)
        except MissingExtraError:
            if mode in ("zh", "yue"):  # the user chose the language; a foreign word in it must not fail the text
                return None
            raise
        if language == "yue" and INLINE_READING.search(text.text):
            from sovits_service.text.yue.marked import read_marked

            return [(language, read_marked(reader, text, symbols))]
        return [(language, reader.read(text, symbols))]

    def _read_chinese(self, text: Spoken, symbols: SymbolSet) -> list[tuple[str, Reading]]:
        """Chinese and the Latin letters that formulas and units within it leave over."""
        reader = self._chinese_reader()
        normalized = reader.normalize(text)
        said = normalized.text
        readings: list[tuple[str, Reading]] = []
        end = 0
        for match in LATIN_WORDS.finditer(said.text):
            readings.append(("zh", reader.read_normalized(said[end : match.start()], symbols)))
            word = said[match.start() : match.end()]
            word = word.each(str.upper) if _LONE_A.fullmatch(word.text) else word
            readings.append(("en", self._reader("en").read(word, symbols)))
            end = match.end()
        last = reader.read_normalized(said[end:], symbols)
        return [*readings, ("zh", replace(last, dropped=last.dropped + normalized.dropped))]

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


def _language_of(text: str, mode: str, japanese: bool) -> str:
    """The language that names what has none, such as an emoji."""
    if mode not in ("auto", "auto_yue"):
        return mode.removeprefix("all_")
    languages = [
        run.language for run in language_runs(text, mode, japanese=japanese) if run.language in _READABLE["v2"]
    ]
    return max(languages, key=languages.count, default="en")


def _apart(text: Spoken) -> Spoken:
    """A dot that was put before a number must not make it a decimal."""
    return text[:1] + " " + text[1:] if text.text[:1] == "." and text.text[1:2].isdigit() else text


def _runs(text: Spoken, mode: str, japanese: bool) -> list[tuple[str, Spoken]]:
    """Runs of one language, without marks at the end of English ones that are not said."""
    runs: list[tuple[str, Spoken]] = []
    start = 0
    found = language_runs(text.text, mode, japanese=japanese)
    for run, after in zip_longest(found, found[1:]):
        piece = text[start : start + len(run.text)]
        start += len(run.text)
        if run.language == "en" and mode != "en":
            if after is None:
                # parity: the original says no pause after English at the end of a fragment
                piece = piece.sub(_WIDE_PAUSE_AT_END, "")
            elif after.language in ("zh", "yue"):  # 5G/4G网络
                piece = piece.sub(_SLASH_AT_END, " ")
        runs.append((run.language, piece))
    return runs


def _parts(text: Spoken) -> list[tuple[Spoken, float | None]]:
    """The text between pause marks, each with the pause that follows it."""
    parts: list[tuple[Spoken, float | None]] = []
    start = 0
    for match in _PAUSE.finditer(text.text):
        parts.append((text[start : match.start()], min(float(match.group(1)), _LONGEST_PAUSE_S)))
        start = match.end()
    parts.append((text[start:], None))
    return parts


def _pause_after(segments: list[Segment], pause_s: float) -> None:
    if segments:
        longest_s = min((segments[-1].pause_s or 0.0) + pause_s, _LONGEST_PAUSE_S)
        segments[-1] = replace(segments[-1], pause_s=longest_s)


def _is_spoken(segment: Segment, symbols: SymbolSet) -> bool:
    return not _silent_ids(symbols).issuperset(segment.phoneme_ids)


@lru_cache(maxsize=2)
def _silent_ids(symbols: SymbolSet) -> frozenset[int]:
    return frozenset(phoneme_ids(_SILENT_PHONEMES, symbols))


def _in_order(runs: list[LanguageRun]) -> Iterator[LanguageRun]:
    """The runs with places that never go back: what is said of a place after later ones belongs to the last of these.

    Money is said after its amount, and a pause may be put into words that are all of one place.
    """
    last: Span = (0, 0)
    for run in runs:
        if all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise((last, *run.spans))):
            last = run.spans[-1] if run.spans else last
            yield run
            continue
        spans: list[Span] = []
        for span in run.spans:
            last = max(span, (last[0], max(last[1], span[1])))
            spans.append(last)
        yield replace(run, spans=tuple(spans))


def _language_runs(language: str, reading: Reading, symbols: SymbolSet) -> list[LanguageRun]:
    ids = phoneme_ids(reading.phonemes, symbols)
    if language != "zh" or reading.word2ph is None:
        return [LanguageRun(language, reading.norm_text, ids, spans=reading.spans)] if ids else []
    # BERT reads 510 characters at a time, and reading numbers out makes a text longer
    runs: list[LanguageRun] = []
    position = 0
    for start in range(0, len(reading.norm_text), FRAGMENT_LIMIT_CHARACTERS):
        norm_text = reading.norm_text[start : start + FRAGMENT_LIMIT_CHARACTERS]
        word2ph = reading.word2ph[start : start + FRAGMENT_LIMIT_CHARACTERS]
        length = sum(word2ph)
        end = position + length
        runs.append(LanguageRun("zh", norm_text, ids[position:end], word2ph, reading.spans[position:end]))
        position = end
    return runs
