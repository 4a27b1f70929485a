"""From normalised Chinese to initials and finals with tones, with their count for each character."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files

from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import PUNCTUATION
from sovits_service.text.zh.dictionary import dictionary_syllables, is_word
from sovits_service.text.zh.figure_tones import settle_ones
from sovits_service.text.zh.polyphones import FULL_READINGS, replace_words, settle_polyphones
from sovits_service.text.zh.segmenter import Segmenter
from sovits_service.text.zh.tone_sandhi import Word, apply_erhua, apply_sandhi, merge_words
from sovits_service.types import SymbolSet

SentenceModel = Callable[[str], list[str | None]]
"""A clause in, a syllable with tone number for each character out; None where it has no opinion."""

_CLAUSE_END = re.compile(r"(?<=[!?…,.\-])")
_MARKS = frozenset(PUNCTUATION)
_ADVERBS = frozenset("已曾也再又刚才将未先要会能没")
_FIRST_READING_MARK = 0xF0000
_READING_MARKS = 0x1000  # room for every syllable with tone


class ChineseG2p:
    """Reads normalised clauses.

    Args:
        lexicon: words of the user with one syllable for each character; they win over everything but the sandhi.
        model: a polyphone model over whole clauses; without one, words and their neighbours decide.
    """

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]], model: SentenceModel | None = None) -> None:
        self._segmenter = Segmenter()
        self._lexicon = lexicon
        self._longest_entry = max(map(len, lexicon), default=0)
        self._model = model

    def phonemes(
        self, norm_text: str, symbols: SymbolSet, fixed: Mapping[int, str] | None = None
    ) -> tuple[list[str], list[int]]:
        """Read a text of Han characters with readings and of punctuation marks.

        Args:
            fixed: syllables by position that the user wrote; they are spoken as they stand.

        Returns:
            Phonemes, and how many of them each character of `norm_text` has.
        """
        phonemes: list[str] = []
        word2ph: list[int] = []
        position = 0
        for clause in _CLAUSE_END.split(norm_text):
            syllables = self._clause(clause, symbols) if clause else []
            for character, syllable in zip(clause, syllables, strict=True):
                if fixed and position in fixed:
                    syllable = fixed[position]
                phones = (character,) if character in _MARKS else split_syllable(syllable)
                phonemes += phones
                word2ph.append(len(phones))
                position += 1
        return phonemes, word2ph

    def _clause(self, clause: str, symbols: SymbolSet) -> list[str]:
        words = merge_words(self._segmenter.words(clause), dictionary_syllables)
        settled = [syllable for word in words for syllable in dictionary_syllables(word.text)]
        settle_polyphones(clause, words, settled)
        base = settled if self._model is None else _model_syllables(words, self._model(clause))
        replace_words(clause, self._lexicon, self._longest_entry, base)
        spoken: list[str] = []
        for word in words:
            start, last = len(spoken), len(spoken) + len(word.text) - 1
            is_particle = settled[last] not in FULL_READINGS or base[last] != settled[last]
            if word.text == "过" and clause[start - 1 : start] in _ADVERBS:
                is_particle = False  # 已过万重山
            syllables = apply_sandhi(word, base[start : last + 1], self._segmenter.subwords, is_particle=is_particle)
            if symbols != "v1":
                syllables = apply_erhua(word, syllables)
            spoken += syllables
        settle_ones(clause, spoken)
        return spoken


def _model_syllables(words: list[Word], guesses: list[str | None]) -> list[str]:
    base: list[str] = []
    for word in words:
        base += corrected_syllables(word.text, guesses[len(base) : len(base) + len(word.text)])
    return base


def corrected_syllables(word: str, guessed: list[str | None]) -> list[str]:
    """A model's guess for a word, unless the dictionary has the word: phrases are more certain than the model."""
    corrections = _corrections()
    if word in corrections:
        return list(corrections[word])
    if is_word(word):
        return dictionary_syllables(word)
    plain = dictionary_syllables(word)
    return [
        corrections[character][0] if character in corrections else guess or plain[i]
        for i, (character, guess) in enumerate(zip(word, guessed, strict=True))
    ]


@lru_cache(maxsize=1)
def _corrections() -> Mapping[str, list[str]]:
    table = json.loads((files("sovits_service.text.zh") / "data" / "corrections.json").read_text(encoding="utf-8"))
    return {word: reading.split() for word, reading in table.items()}


@lru_cache(maxsize=1)
def _syllable_table() -> Mapping[str, tuple[str, str]]:
    table = json.loads((files("sovits_service.text.zh") / "data" / "syllables.json").read_text(encoding="utf-8"))
    return {pinyin: (parts.split()[0], parts.split()[1]) for pinyin, parts in table.items()}


def split_syllable(syllable: str) -> tuple[str, str]:
    """`zhang3` -> (`zh`, `ang3`), in the phonemes of the weights; a syllable out of the table reads as 额."""
    base, tone = syllable[:-1].replace("ü", "v"), syllable[-1]
    initial, final = _syllable_table().get(base, ("EE", "e"))
    return initial, final + tone


@lru_cache(maxsize=1)
def _writable_syllables() -> tuple[str, ...]:
    """Every syllable with tone that a user may write beside a character; the interjections m, n and ng are units."""
    bases = [base for base in sorted(_syllable_table()) if any(vowel in base for vowel in "aeiouvê")]
    return tuple(base + tone for base in bases for tone in "12345")


def reading_mark(syllable: str) -> str | None:
    """A private character that carries a written reading through normalisation; None for what is no syllable."""
    syllables = _writable_syllables()
    plain = syllable.replace("ü", "v")
    return chr(_FIRST_READING_MARK + syllables.index(plain)) if plain in syllables else None


def is_reading_mark(character: str) -> bool:
    return _FIRST_READING_MARK <= ord(character) < _FIRST_READING_MARK + _READING_MARKS


def take_reading_marks(text: Spoken) -> tuple[Spoken, dict[int, str]]:
    """The text without reading marks, and the syllables they carry by the position of their character."""
    plain: list[str] = []
    spans: list[Span] = []
    fixed: dict[int, str] = {}
    for character, span in text.characters():
        if not is_reading_mark(character):
            plain.append(character)
            spans.append(span)
        elif plain:
            fixed[len(plain) - 1] = _writable_syllables()[ord(character) - _FIRST_READING_MARK]
            spans[-1] = (spans[-1][0], span[1])
    return Spoken("".join(plain), tuple(spans)), fixed
