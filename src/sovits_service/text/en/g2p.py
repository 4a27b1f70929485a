"""English grapheme-to-phoneme conversion: ARPAbet with stress, by the conventions that the weights know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from sovits_service.text.en.homographs import read_homographs
from sovits_service.text.en.letters_to_sounds import letters_to_sounds
from sovits_service.text.en.tables import load_table, modern_words
from sovits_service.text.en.word_splitter import split_word
from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.symbols import PUNCTUATION

Phonemes = tuple[str, ...]

MAX_WORD_LETTERS = 48  # longer ones are read in pieces: no word has more, and the splitter's time grows with length
MAX_SENTENCE_TOKENS = 400

# A short form that starts with an apostrophe, a word with inner apostrophes or hyphens, a plain word, a word of the
# lexicon, dots, or any other character (as NLTK's TweetTokenizer cuts, but for the short forms).
_TOKEN = re.compile(
    r"(?i:(?<!\w)'(?:tis|twas|em|til|cause|bout|cuz|n)\b(?!'))|[A-Za-z](?:[A-Za-z]|['\-])+[A-Za-z]|[A-Za-z]+|"
    r"[\ue000-\uf8ff]'s|\.(?:\s*\.)+|\S"
)
_CONTRACTION = re.compile(r"([a-z'\-]*[a-z])('s|'d|'ll|'ve|'re|'m|n't)")
_CONTRACTED: dict[str, Phonemes] = {
    "'ll": ("AH0", "L"),
    "'re": ("ER0",),
    "'m": ("AH0", "M"),
    "n't": ("AH0", "N", "T"),
}
_PREFIXES = {
    "kilo": "K IH1 L AH0", "mega": "M EH1 G AH0", "giga": "G IH1 G AH0", "tera": "T EH1 R AH0", "peta": "P EH1 T AH0",
    "hecto": "HH EH1 K T AH0", "deci": "D EH1 S AH0", "centi": "S EH1 N T AH0", "milli": "M IH1 L AH0",
    "micro": "M AY1 K R OW0", "nano": "N AE1 N OW0",
    "kibi": "K IH1 B IY0", "mebi": "M EH1 B IY0", "gibi": "G IH1 B IY0",
}  # fmt: skip
_PREFIXED = frozenset((
    "ampere", "amp", "bit", "byte", "calorie", "farad", "gram", "hertz", "joule", "liter", "litre", "meter", "metre",
    "mole", "newton", "ohm", "pascal", "second", "volt", "watt",
))  # fmt: skip
_VOWEL = re.compile("[012]$")
_HISS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
_VOICELESS = frozenset(("P", "T", "K", "F", "TH", "HH"))


def tokenize(text: Spoken) -> list[Spoken]:
    """Words and punctuation marks; words of more than 48 letters in pieces."""
    return [
        text[start : min(start + MAX_WORD_LETTERS, match.end())]
        for match in _TOKEN.finditer(text.text)
        for start in range(match.start(), match.end(), MAX_WORD_LETTERS)
    ]


def phonemes(text: Spoken, marked: Mapping[str, Phonemes]) -> list[tuple[str, Span]]:
    """ARPAbet and punctuation of normalised text, each with its place in the request's text.

    marked: what private-use characters of the text stand for.
    """
    tokens = tokenize(text)
    said: list[tuple[str, Span]] = []
    for start in range(0, len(tokens), MAX_SENTENCE_TOKENS):
        sentence = tokens[start : start + MAX_SENTENCE_TOKENS]
        sounds = _sentence([token.text for token in sentence], marked)
        for token, sound in zip(sentence, sounds, strict=True):
            span = (token.spans[0][0], token.spans[-1][1])
            said += ((phoneme, span) for phoneme in sound)
    return said


def _sentence(tokens: list[str], marked: Mapping[str, Phonemes]) -> list[Phonemes]:
    readings = read_homographs(tokens)
    said: list[Phonemes] = []
    for i, token in enumerate(tokens):
        word = token.lower()
        if token[0] in marked:
            reading = marked[token[0]]
            said.append((*reading, *possessive_ending(reading)) if len(token) > 1 else reading)
        elif not word.strip("'")[:1].isalpha():
            said.append(_punctuation(token))
        elif len(word) == 1:
            said.append(("EY1",) if token == "A" else _letter(word))  # parity: a lone capital A is the letter
        else:
            said.append(readings[i] if i in readings else read_word(token))
    return said


def _punctuation(token: str) -> tuple[str, ...]:
    if token[0] == "'":
        return ("-",)  # parity: an apostrophe that belongs to no word is heard as a dash
    return (token[0],) if token[0] in PUNCTUATION else ()


@lru_cache(maxsize=20_000)
def read_word(token: str) -> Phonemes:
    """ARPAbet of one word: dictionary, names, letters, possessive, parts, and at last the neural guess."""
    word = token.lower()
    if word in modern_words():
        return modern_words()[word]
    said = load_table("pronunciations.txt.gz").find(word) if len(word) > 1 else None
    if said is None and token.istitle():
        said = load_table("names.txt.gz").find(word)
    if said is not None:
        return tuple(said.split(" "))
    contraction = _CONTRACTION.fullmatch(word)
    if contraction and (len(word) > 3 or len(contraction[1]) == 1):
        stem = read_word(contraction[1]) if len(contraction[1]) > 1 else _letter(contraction[1])
        return stem + _ending(contraction[2], stem)
    if len(word) <= 3:
        return tuple(sound for letter in word for sound in _letter_of_word(letter))
    if word.startswith("re-") and len(word) > 4:
        return ("R", "IY0", *read_word(word[3:]))
    pieces = [piece for piece in re.split("['\\-]", word) if piece]
    has_letter = "'" not in word and len(pieces[0]) == 1  # K-pop
    ends_in_letter = "'" not in word and len(pieces[-1]) == 1  # pre-K
    if len(pieces) > 1 and all(_is_known(piece) for piece in pieces[has_letter : len(pieces) - ends_in_letter]):
        return tuple(sound for piece in pieces for sound in (_letter(piece) if len(piece) == 1 else read_word(piece)))
    letters = "".join(pieces)
    if letters != word and _is_known(letters):
        return read_word(letters)
    if (measure := _measure_word(letters)) is not None:
        return measure
    if len(word) > 4 and word == letters and word[-1] == "s" and word[-2] not in "sui" and _is_known(word[:-1]):
        stem = read_word(word[:-1])
        return stem + possessive_ending(stem)
    parts = split_word(letters)
    if len(parts) <= 1:
        return letters_to_sounds().guess(letters)
    return tuple(sound for part in parts for sound in read_word(part))


def _measure_word(word: str) -> Phonemes | None:
    """`hectopascals`: a prefix and the unit it multiplies, whose stress is the second."""
    for prefix, said in _PREFIXES.items():
        base = word.removeprefix(prefix)
        if base != word and base.removesuffix("s") in _PREFIXED:
            return (*said.split(" "), *(sound.replace("1", "2") for sound in read_word(base)))
    return None


def _is_known(word: str) -> bool:
    return (
        word == "a"
        or word in modern_words()
        or (len(word) > 1 and load_table("pronunciations.txt.gz").find(word) is not None)
    )


def _ending(ending: str, stem: Phonemes) -> Phonemes:
    """The sounds of a contracted word after those of the word it leans on."""
    last = stem[-1] if stem else ""
    if ending == "'s":
        return possessive_ending(stem)
    if ending == "'d":
        return ("AH0", "D") if last in ("T", "D") else ("D",)
    if ending == "'ve":
        return ("V",) if _VOWEL.search(last) else ("AH0", "V")
    return _CONTRACTED[ending]


def possessive_ending(owner: Phonemes) -> Phonemes:
    """The sounds of `'s` after the sounds of its word."""
    last = owner[-1] if owner else ""
    if last in _HISS:
        return ("AH0", "Z")
    return ("S",) if last in _VOICELESS else ("Z",)


def _letter(letter: str) -> Phonemes:
    said = load_table("pronunciations.txt.gz").find(letter)
    return tuple(said.split(" ")) if said else ()


def _letter_of_word(letter: str) -> Phonemes:
    if letter == "a":
        return ("EY1",)
    if letter.isalpha():
        return _letter(letter)
    return ("-",) if letter in "'-" else ()
