"""Sound changes at Korean morpheme borders: tense consonants, an added ㄴ, a final before a vowel.

The articles are those of the Standard Pronunciation (표준 발음법, National Institute of Korean Language).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise, zip_longest

from sovits_service.text.ko.border_tables import (
    ADDS_N_ALONE,
    ADDS_N_BEFORE_I,
    ADJECTIVES,
    CONTRACTED_AFTER_L,
    LIQUID_SUFFIXES,
    LIQUID_WORDS,
    NATIVE_AFTER_L,
    NATIVE_IN_L,
    NO_N_ADDED,
    NOT_TENSED,
    NUMERALS,
    SINO_SYLLABLES,
    TENSED_AFTER_ONE,
    TENSED_COUNTERS,
    TENSED_IN_COMPOUNDS,
    TENSED_SUFFIXES,
)
from sovits_service.text.ko.letters import FINAL, TENSE, coda_of, is_block, join, onset_of, split, vowel_of
from sovits_service.text.ko.morphemes import Morpheme, Part

_NOUNS = frozenset(("NNG", "NNP", "XR", "NR", "XSN"))
_SONORANTS = frozenset("ㄴㄹㅁㅇ")
_SILENT_AT_END = frozenset("ㅅㅆㅈㅊㅌㅍㅋㄲㄳㅄㄺ")
_GLIDES = frozenset("ㅑㅕㅛㅠㅖㅒ")
_NATIVE_TENS = frozenset(("열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"))
_WORDS_OF_CONTENT = frozenset(("NNG", "NNP", "VV", "VA", "MAG", "NR", "XR"))


def settle_borders(syllables: list[str], morphemes: Sequence[Morpheme], is_settled: Container[int]) -> None:
    """Respell syllables where two parts of words meet, and Sino-Korean words within.

    Args:
        syllables: a text, syllable for syllable; changed in place.
        morphemes: the words of the text.
        is_settled: places of syllables whose border with the next one is not to be touched.
    """
    text = "".join(syllables)
    parts = [part for morpheme in morphemes for part in morpheme.parts]
    for part in parts:
        if part.tag in _NOUNS or part.tag == "MAG":
            _tense_sino_korean(syllables, text, part, is_settled)
    for left, right in pairwise(parts):
        border = left.end - 1
        if not is_block(text[border]) or not is_block(text[right.start]) or border in is_settled:
            continue
        if left.end == right.start:
            _join_parts(syllables, text, left, right)
        elif text[left.end : right.start] == " ":
            _join_words(syllables, text, left, right)
    _tense_after_endings(syllables, text, morphemes)
    _read_numerals(syllables, text)


def _tense_sino_korean(syllables: list[str], text: str, part: Part, is_settled: Container[int]) -> None:
    """Article 26: in a Sino-Korean word ㄷ, ㅅ and ㅈ are tense after ㄹ: 결정 [결쩡]."""
    word = text[part.start : part.end]
    if word in NATIVE_IN_L:
        return
    for place in range(part.start, part.end - 1):
        before, after = text[place], text[place + 1]
        if (
            place not in is_settled
            and _is_sino_l(before)
            and after in SINO_SYLLABLES
            and before != after  # 절절, 술술
            and onset_of(after) in "ㄷㅅㅈ"
        ):
            _tense(syllables, place + 1)
    if len(word) > 2 and word[-1] in LIQUID_SUFFIXES and coda_of(word[-2]) == "ㄴ" and word[-2:] not in LIQUID_WORDS:
        _set_onset(syllables, part.end - 1, "ㄴ")


def _join_parts(syllables: list[str], text: str, left: Part, right: Part) -> None:
    """What happens where two parts of a word, or a noun and its suffix, meet."""
    first, second = text[left.start : left.end], text[right.start : right.end]
    coda, onset = coda_of(first[-1]), onset_of(second[0])
    if onset == "ㅇ" and coda:
        if _adds_n(left, first, right, second):
            _set_onset(syllables, right.start, "ㄴ")
        elif _is_final(left, coda, right, second):
            _set_coda(syllables, left.end - 1, "")  # article 15: 헛웃음 [허두슴]
            _set_onset(syllables, right.start, FINAL[coda])
    elif onset == "ㄹ" and coda == "ㄴ" and _is_liquid_suffix(right, second):
        if len(first) > 1 and (first[-1] + second) not in LIQUID_WORDS:
            _set_onset(syllables, right.start, "ㄴ")  # article 20: 판단력 [판단녁]
    elif onset in TENSE and _is_tensed(left, first, right, second):
        _tense(syllables, right.start)


def _is_liquid_suffix(part: Part, word: str) -> bool:
    """Of 로 after ㄴ the tagger makes a particle, but that one is 으로 there: 등산로 is a road."""
    return word in LIQUID_SUFFIXES and (part.tag in ("NNG", "XSN") or word == "로")


def _is_final(left: Part, coda: str, right: Part, second: str) -> bool:
    """Whether a coda sounds as at the end of a word; an ending that makes a noun links as it is (웃음 [우슴])."""
    is_word = right.tag in _WORDS_OF_CONTENT and second not in ("음", "이", "애기")
    return coda in _SILENT_AT_END and is_word and left.tag[:1] in "NMX"


def _adds_n(left: Part, first: str, right: Part, second: str) -> bool:
    """Article 29: 강남역 [강남녁], 한여름 [한녀름], 서른여섯 [서른녀섣]."""
    vowel = vowel_of(second[0])
    if left.tag == right.tag == "NR":
        return first in _NATIVE_TENS and second in ("여섯", "일곱", "여덟")
    if left.tag[:1] not in "NMX" or right.tag not in ("NNG", "XSN") or first + second in NO_N_ADDED:
        return False
    if vowel == "ㅣ":
        return second.startswith(ADDS_N_BEFORE_I)
    if len(second) == 1:
        return second in ADDS_N_ALONE and (len(first) > 1 or first not in SINO_SYLLABLES)
    return vowel in _GLIDES and left.tag != "NNP"


def _is_tensed(left: Part, first: str, right: Part, second: str) -> bool:
    """Articles 26 and 28, and what a suffix does: 밤길 [밤낄], 발명자 [발명자] but 개발자 [개발짜], 가능성 [가능썽]."""
    coda = coda_of(first[-1])
    if left.tag == "NR" and first == "열":
        return True  # 열 개 [열깨]
    if left.tag == "NR" and _is_sino_l(first[-1]):
        return onset_of(second[0]) in "ㄷㅅㅈ" and second[0] in SINO_SYLLABLES and right.tag in ("NR", "NNBC")
    if left.tag not in _NOUNS or right.tag not in _NOUNS or first + second in NOT_TENSED:
        return False
    if second in TENSED_SUFFIXES and left.tag != "NNP" and len(first) > 1:
        return True
    if second == "적" and len(first) == 1 and first in SINO_SYLLABLES:
        return True  # 물적 [물쩍], 사적 [사쩍]
    is_tensed_here = second in TENSED_IN_COMPOUNDS or (len(first) == 1 and second in TENSED_AFTER_ONE)
    if coda in _SONORANTS and is_tensed_here and first not in ADJECTIVES:
        return True
    if len(second) > 1 or second not in SINO_SYLLABLES or second in NATIVE_AFTER_L:
        return False
    is_sino = all(syllable in SINO_SYLLABLES for syllable in first) and first not in NATIVE_IN_L
    return is_sino and coda == "ㄹ" and onset_of(second) in "ㄷㅅㅈ"


def _join_words(syllables: list[str], text: str, left: Part, right: Part) -> None:
    """Article 29 where two words are said in one breath: 할 일 [할릴], 옷 입다 [온닙따]; and 열 개 [열깨]."""
    first, second = text[left.start : left.end], text[right.start : right.end]
    if first == "열" and left.tag == "NR" and right.tag.startswith("NNB"):
        _tense(syllables, right.start)
        return
    coda = coda_of(first[-1])
    if not coda or onset_of(second[0]) != "ㅇ" or (vowel_of(second[0]) != "ㅣ" and vowel_of(second[0]) not in _GLIDES):
        return
    if right.tag in ("VV", "VA"):
        is_said_with_it = second[:1] != "있" and (first in ("못", "잘") or _is_object(left, coda))
    else:
        is_modifier = left.tag == "MM" or left.tag.endswith("ETM")
        is_said_with_it = is_modifier and second in ("일", "약") and right.tag in ("NNG", "NR")
    if is_said_with_it:
        _set_onset(syllables, right.start, "ㄴ")


def _is_object(part: Part, coda: str) -> bool:
    return part.tag == "NNG" and coda not in _SONORANTS


def _tense_after_endings(syllables: list[str], text: str, morphemes: Sequence[Morpheme]) -> None:
    """Article 27: what follows -(으)ㄹ is tense: 할게 [할께], 갈지 [갈찌], 할거야 [할꺼야]."""
    for morpheme, following in zip_longest(morphemes, morphemes[1:]):
        word = text[morpheme.start : morpheme.end]
        if "E" not in morpheme.tag:
            continue
        written_out = morpheme.written_out.replace("+", "/").replace("ㄹ", "ᆯ")  # the dictionary has either letter
        for ending in CONTRACTED_AFTER_L:
            if f"/ᆯ{ending}" in written_out or word.startswith(f"을{ending}"):
                place = text.find(ending, morpheme.start + 1, morpheme.end)
                if place > 0 and is_block(text[place - 1]) and coda_of(text[place - 1]) == "ㄹ":
                    _tense(syllables, place)
                break
        if (
            following
            and following.start == morpheme.end
            and following.tag.startswith("NNB")
            and morpheme.tag.endswith("ETM")
            and is_block(word[-1])
            and coda_of(word[-1]) == "ㄹ"
        ):
            _tense(syllables, following.start)


def _read_numerals(syllables: list[str], text: str) -> None:
    """Six after another numeral: 십육 [심뉵], 천육백 [천뉵빽], 칠육오 [칠류고]; counters after ㄹ: 제일조 [제일쪼]."""
    for place in range(1, len(text)):
        before, earlier = text[place - 1], text[place - 2 : place - 1]
        if text[place] == "육" and (before in NUMERALS or (before == "점" and earlier in NUMERALS)) and coda_of(before):
            is_among_digits = earlier in NUMERALS or text[place + 1 : place + 2] in NUMERALS
            if before in "십백천만억조점" or (earlier and is_among_digits):
                _set_onset(syllables, place, "ㄴ")
        elif (
            text[place] in TENSED_COUNTERS
            and before in "일칠팔"
            and earlier
            and (earlier == "제" or earlier in NUMERALS)
        ):
            _tense(syllables, place)


def _is_sino_l(syllable: str) -> bool:
    return syllable in SINO_SYLLABLES and coda_of(syllable) == "ㄹ"


def _tense(syllables: list[str], place: int) -> None:
    if is_block(syllables[place]):
        letters = split(syllables[place])
        syllables[place] = join(TENSE.get(letters.onset, letters.onset), letters.vowel, letters.coda)


def _set_onset(syllables: list[str], place: int, onset: str) -> None:
    letters = split(syllables[place])
    syllables[place] = join(onset, letters.vowel, letters.coda)


def _set_coda(syllables: list[str], place: int, coda: str) -> None:
    letters = split(syllables[place])
    syllables[place] = join(letters.onset, letters.vowel, coda)
