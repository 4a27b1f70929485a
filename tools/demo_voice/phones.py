"""Text in, the phones that our front end reads in it out, each with the source synthesizer's phonemes that say it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import jieba
from misaki.zh import ZHG2P
from pypinyin import Style, pinyin

from sovits_service.text.en.g2p import phonemes
from sovits_service.text.frontend import Frontend
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids

PUNCTUATION = ",.?!"
INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcsyw")
# Zero-initial syllables take a pseudo initial by their first vowel, as the published inventory has it.
PSEUDO_INITIAL = {"a": "AA", "e": "EE", "o": "OO"}
Y_FINALS = {"an": "En", "e": "E", "u": "v", "uan": "van", "ue": "ve", "un": "vn"}

ARPABET_TO_IPA = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʤ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
UNSTRESSED = frozenset(
    """a an the of to in on at by for from with and but or so if as is was are were be been am do did has have had will
    would can could should must i you he she we they it his her my your our their its this that there not than then""".split()
)


@dataclass(frozen=True)
class Phone:
    """A phone of the service's inventory and the source phonemes (one character each) that it covers."""

    symbol: str
    source: str


def pinyin_to_phones(pinyin: str) -> tuple[str, str]:
    """A numbered pinyin syllable ("zhong1", neutral tone 5) as (initial, final + tone)."""
    body, tone = pinyin[:-1].replace("ü", "v"), pinyin[-1]
    initial = next((i for i in INITIALS if body.startswith(i)), "")
    final = body[len(initial) :]
    if not initial:
        return PSEUDO_INITIAL[body[0]], body + tone
    if initial == "y":
        final = Y_FINALS.get(final, final)
    elif initial in ("j", "q", "x"):
        final = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}.get(final, final)
    elif initial in ("z", "c", "s") and final == "i":
        final = "i0"
    elif initial in ("zh", "ch", "sh", "r") and final == "i":
        final = "ir"
    elif final == "ue":
        final = "ve"
    return initial, final + tone


@functools.cache
def _pinyins() -> dict[tuple[str, str], str]:
    """(initial, final) to the pinyin syllable without tone, of all syllables that have a character."""
    found: dict[tuple[str, str], str] = {}
    for code in range(0x4E00, 0x9FA6):
        for syllable in pinyin(chr(code), style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[0]:
            if len(syllable) > 1 and syllable[0] in "abcdefghjklmnopqrstwxyz" and set(syllable) & set("aeiouüv"):
                initial, final = pinyin_to_phones(syllable)
                found.setdefault((initial, final[:-1]), syllable[:-1])
    return found


@functools.cache
def _syllable(initial: str, final: str) -> tuple[Phone, Phone]:
    """Our two phones of a Chinese syllable; KeyError where no character has it."""
    ipa = ZHG2P.py2ipa(_pinyins()[initial, final[:-1]] + final[-1]).replace(chr(815), "")
    if initial in ("y", "w") or initial in PSEUDO_INITIAL.values():
        # No consonant of its own: the first phoneme is the glide where there is one, else it is shared by time.
        head = ipa[:1] if ipa[:1] in ("j", "w", "ɥ") else ""
    else:
        head = ipa[:2] if ipa[1:2] == "ʰ" else ipa[:1]
    return Phone(initial, head), Phone(final, ipa[len(head) :])


def _zh_words(text: str, names: list[str]) -> list[list[Phone]]:
    """Phones by word of a normalised Chinese text, whose characters have two phones and its marks one."""
    groups, position = [], 0
    for word in jieba.lcut(text):
        group: list[Phone] = []
        for character in word:
            if character in PUNCTUATION:
                groups.append([Phone(character, character)])
                position += 1
                continue
            group += _syllable(names[position], names[position + 1])
            position += 2
        if group:
            groups.append(group)
    return groups


def _en_phone(symbol: str, stressed: bool) -> Phone:
    base, stress = symbol.rstrip("012"), symbol[-1]
    ipa = ARPABET_TO_IPA[base]
    if stress == "0":
        ipa = {"AH": "ə", "ER": "əɹ"}.get(base, ipa)
    elif stress in "12" and stressed:
        ipa = ("ˈ" if stress == "1" else "ˌ") + ipa
    return Phone(symbol, ipa)


def _en_words(text: str, names: list[str]) -> list[list[Phone]]:
    """Phones by word of a normalised English text; KeyError where a word's share of the phones is not known."""
    groups, position = [], 0
    if names[0] in PUNCTUATION:  # very short runs start with a pause
        groups.append([Phone(names[0], names[0])])
        position = 1
    for word in re.findall(r"[^\s,.?!-]+|[,.?!]", text):
        is_mark = word in PUNCTUATION
        count = 1 if is_mark else len(phonemes(Spoken.of(word), {}))
        said = names[position : position + count]
        position += count
        if is_mark and said == [word]:
            groups.append([Phone(word, word)])
        elif said and not is_mark and not set(said) & set(PUNCTUATION):
            groups.append([_en_phone(symbol, word.lower() not in UNSTRESSED) for symbol in said])
        else:
            raise KeyError(word)
    if position != len(names):
        raise KeyError(text)
    return groups


@functools.cache
def _frontend() -> tuple[Frontend, dict[int, str]]:
    return Frontend(), {number: name for name, number in symbol_ids("v2").items()}


def read(text: str, language: str) -> list[list[Phone]]:
    """A text as users send it in groups of phones, one group a word or mark.

    Raises:
        KeyError: the source cannot say all of it.
    """
    frontend, symbols = _frontend()
    groups: list[list[Phone]] = []
    for segment in frontend.segments(text, language, "v2", "cut0"):
        for run in segment.runs:
            names = [symbols[number] for number in run.phoneme_ids]
            groups += (_zh_words if run.language == "zh" else _en_words)(run.norm_text, names)
    return groups


def align(groups: list[list[Phone]], durations_s: list[float]) -> list[tuple[str, float]]:
    """Give every phone its seconds.

    Args:
        groups: Phones by word; the source string is the words joined by spaces, none before punctuation.
        durations_s: Seconds of each source phoneme, with the boundary pads first and last.

    Returns:
        (symbol, seconds) with a leading and a trailing silence as "SIL".
    """
    out: list[tuple[str, float]] = [("SIL", durations_s[0])]
    position = 1
    for index, group in enumerate(groups):
        if index and group[0].symbol not in PUNCTUATION:  # the space in front goes to the phone before it
            symbol, seconds = out[-1]
            out[-1] = (symbol, seconds + durations_s[position])
            position += 1
        pending = ""
        for phone in group:
            seconds = sum(durations_s[position : position + len(phone.source)])
            position += len(phone.source)
            if not phone.source:
                pending = phone.symbol
                continue
            if pending:  # an initial without a phoneme of its own takes a third of its syllable
                out.append((pending, seconds / 3))
                seconds, pending = seconds * 2 / 3, ""
            out.append((phone.symbol, seconds))
    out.append(("SIL", durations_s[position]))
    if position != len(durations_s) - 1:
        raise ValueError(f"{len(durations_s)} durations for {position + 1} source phonemes")
    return out


def source_string(groups: list[list[Phone]]) -> str:
    """The phoneme string that the source synthesizers read."""
    text = ""
    for index, group in enumerate(groups):
        if index and group[0].symbol not in PUNCTUATION:
            text += " "
        text += "".join(phone.source for phone in group)
    return text
