"""Korean text as written in, text as spoken out: numbers, units, dates, signs and Latin words in hangul."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache

from sovits_service.text.ko.numerals import decimal, digit_by_digit, native, sino
from sovits_service.text.ko.tables import (
    CHAT_CONSONANTS,
    CURRENCIES,
    GENERATIONS,
    LATIN_LETTERS,
    LATIN_WORDS,
    MIXED_COUNTERS,
    NAMED_FIGURES,
    NATIVE_BELOW,
    NUMBERED,
    ROMAN,
    SIGNS,
    SINO_COUNTERS,
    SYMBOL_WORDS,
    UNITS,
)
from sovits_service.text.spoken import Spoken

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_AREAS = frozenset("㎟㎠㎡㎢㎣㎤㎥㎦")
_POWERS = str.maketrans("23", "²³")
_SCALE = r"[십백천]?[만억조]|[십백천]"
_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    0x3000: " ",
    0x2212: "-",
    0x2013: "~",
    0x301C: "~",
    0x223C: "~",
    0x2236: ":",
    0x2044: "/",
    0x2109: "°F",
}


def _alternatives(words: Mapping[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_COUNTERS = "|".join(sorted({*SINO_COUNTERS, *MIXED_COUNTERS, *NATIVE_BELOW}, key=len, reverse=True))
_UNIT = _alternatives(UNITS)
_CURRENCY = _alternatives(CURRENCIES)

_LONG = re.compile(r"\d{21,}")  # beyond any scale: digit by digit, and first, since every rule would search it
_URL = re.compile(r"https?://\S+|(?<![A-Za-z0-9@.])www\.[\w\-./?=&%#]+", re.ASCII)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_MARKUP = re.compile(r"[*_`#]{2,}|(?<!\w)[*_`]|[*_`](?!\w)|^\s*#+\s+", re.MULTILINE)
_DATE = re.compile(r"(?<![\d.])(\d{4})([-/.])\s?(0?[1-9]|1[0-2])\2\s?(0?[1-9]|[12]\d|3[01])(?!\d|[-/]\d)\.?(?!\d)")
_MONTH = re.compile(r"(?<!\d)0?(6|10)월")
_CLOCK = re.compile(
    r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:\s?(am|pm)(?![A-Za-z]))?", re.IGNORECASE
)
_HOUR = re.compile(r"(?<!\d)(\d{1,2})(?=시(?:[^간즌가-힣]|$|에|부|까|쯤|경|정|반|가|를|의|는|이|로|도|면|와|였|입|였))")
_HALF_DAY = re.compile(
    r"(?:(오전|오후)\s?)?(?<![\d.:])(1[0-2]|0?[1-9])\s?(am|pm|a\.m\.|p\.m\.)(?![A-Za-z])", re.IGNORECASE
)
_PAIRED = {"24/7": "이십사 칠", "50/50": "오십 대 오십"}
_RATIO = re.compile(r"(?<![\d:.])(\d+)\s?:\s?(\d+)(?![\d:])")
_FRACTION = re.compile(r"(?<![\d/.])(\d+)/(\d+)(?![\d/])")
_VULGAR = re.compile(r"(\d*)([¼-¾⅐-⅞])")
_PHONE = re.compile(
    r"(?<![\d-])(?:\+82[- ]?)?0?\d{1,3}[-)]\s?\d{3,4}-\d{4}(?![\d-])"
    r"|(?<![\d-])1[568]\d\d-\d{4}(?![\d-])|(?<![\d-])\d{6}-\d{7}(?!\d)|(?<![\d-])\d+(?:-\d+){2,}(?![\d-])"
    r"|(?<![\d-])0\d{1,3}-\d{3,4}(?![\d-])|(?<![\d,.])01[016789]\d{7,8}(?!\d)"
)
_CODE = re.compile(r"((?:비밀번호|우편번호|인증번호|계좌번호|번호|코드)(?:는|은|가|이|:)?\s?)(\d{3,})(?![\d,.])")
_EMERGENCY = re.compile(r"(?<![\d.,-])(11[0-9]|120)(?=\s?(?:에|로|번으로|신고|구급|상황실|안전|대원)(?!서))")
_SHORT_DATE = re.compile(
    r"(?<![\d/])(1[0-2]|0?[1-9])/(3[01]|[12]\d|0?[1-9])(?![\d/])"
    r"(?=\s?\([월화수목금토일]\)|\s?(?:부터|까지|자로|일자|기준|~)|에(?![가-힣])"
    r"|\s(?:[월화수목금토일]요일|오전|오후|아침|저녁|밤|[가-힣]{1,5}(?:날|절|기념일|마스)))"
    r"|(?<=오늘은 )(1[0-2]|[1-9])/(3[01]|[12]\d|[1-9])(?![\d/])"
)
_WEEKDAYS = re.compile(r"(?<![가-힣])([월화수목금토일])\s?~\s?([월화수목금토일])(?![가-힣])")
_SCORE = re.compile(r"(?<![\d-])(\d{1,3})\s?-\s?(\d{1,3})(?=(?:으)?로\s?(?:이|승|패|졌|지|비|무|앞|역전|뒤))")
_TO = re.compile(r"(?<![\d.])(\d{1,3})\s?대\s?(?=\d{1,3}(?!\d|\s?대))")  # 3대 2
_QUARTER = re.compile(r"(?<![\d/])([1-4])/4(?=\s?분기)")
_UNTIL = re.compile(r"(?<=[시분일월년원])\s?~\s?(?=[가-힣\d])")
_SMALL_ORDINAL = re.compile(r"(?<!\d)([1-4])째")
_JOINED = re.compile(r"(?<=[A-Za-z])-(?=[\d가-힣])")
_NUMBER_SIGN = re.compile(r"(?<![A-Za-z])No\.\s?(?=\d)", re.IGNORECASE)
_NAMED = re.compile(rf"(?<![\d+])(?:{_alternatives(NAMED_FIGURES)})(?!\s?=|[\d.,])")
_SERIAL = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_HOLIDAY = re.compile(
    r"(?<!\d)(3[.·]1)(?=\s?(?:절|운동))|(?<!\d)((?:6\.25|4\.19|5\.18|9\.11)"
    r"(?=\s?(?:전쟁|혁명|민주|때|동란|참전|테러|사태))|\d\d?·\d\d?)(?!\d)"
)
_MONEY_BEFORE = re.compile(rf"(?:{_CURRENCY})\s?(-?{_NUMBER})\s?({_SCALE})?", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"({_NUMBER})\s?({_CURRENCY})(?![A-Za-z])")
_RANGE = re.compile(
    rf"({_NUMBER})\s?({_UNIT}|{_COUNTERS}|[가-힣]{{1,2}})?\s?~\s?(?={_NUMBER}\s?({_UNIT}|{_COUNTERS}|[가-힣]{{1,2}})?)"
)
_SPEED = re.compile(rf"(?:[시초]속\s?)?({_NUMBER})\s?(km/h|m/s|kph)(?![A-Za-z])")
_WITH_UNIT = re.compile(rf"(?<![A-Za-z\d.])({_NUMBER})\s?({_UNIT})(?![A-Za-z²³])")
_AREA = re.compile(r"(?<=\d)(\s?[kcm]?m)\^?([23])(?![\d.A-Za-z])")
_NEGATIVE = re.compile(rf"(?<![\d\w가-힣)])-(?={_NUMBER})")
_OPERATOR = re.compile(r"(?<=[\d)])\s*([+×÷=±≒])\s*(?=[\d(-])")
_PLUS = re.compile(r"(?<=[A-Za-z+])\+")
_COUNTED = re.compile(rf"(?<![\d.,])(\d+(?:,\d{{3}})*)(\s?)({_COUNTERS})(?!\d)")
_PERSONS = re.compile(r"(?:님|어른|어르신|고객|성인|손님들|선생|교수|의사|부모|노인|신사|숙녀)\s?$")
_NUMBERED_AFTER = re.compile(r"(?:반|학년|호선|채널|문제|보기|선택지|등번호|버스|기호|좌석|사물함)\s?$")
_CHAT = re.compile(r"[ㅋㅎㅇㄴㄱㄷㅊㅅㅂ]{2,}|[ㅠㅜ]+")
_SCALED = re.compile(rf"({_NUMBER})(?=\s?[십백천만억조])")
_PLAIN = re.compile(_NUMBER)
_LATIN = re.compile(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*\d*|\d[A-Za-z]\b")
_LATIN_LETTER = re.compile(r"[A-Za-z]")


def normalize(text: Spoken) -> Spoken:
    """Write a text out as it is spoken; what has no rule is left as it is."""
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0]))
    text = text.sub(_URL, lambda match: _spell_address(match[0]))
    text = text.sub(_EMAIL, lambda match: _spell_address(match[0].replace("@", "골뱅이")))
    text = text.sub(_MARKUP, "")
    for pattern, speak in _PASSES:
        text = text.sub(pattern, speak)
    for sign, word in SYMBOL_WORDS.items():
        text = text.replace(sign, word)
    return text.sub(_LATIN_LETTER, lambda match: LATIN_LETTERS[match[0].lower()])


def fold(text: Spoken) -> Spoken:
    """One form for letters that Unicode writes in several: full width, squared units, separate jamo; no controls."""
    return text.normalized("NFC").translate(_FOLDED).each(_fold)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    if "\u3300" <= char <= "\u33ff" or "\u2460" <= char <= "\u2473":
        if char < "\u3300":
            return unicodedata.normalize("NFKC", char) + " "
        return (
            unicodedata.normalize("NFKC", char).translate(_POWERS)
            if char in _AREAS
            else unicodedata.normalize("NFKC", char)
        )
    if char in ROMAN:
        return sino(str(ROMAN[char]))
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if unicodedata.category(char) in ("Cf", "Cs", "Co", "Cn", "Mn", "Me"):
        return ""
    if char.isspace() and char != "\n":
        return " "
    return "" if unicodedata.category(char) == "Cc" and char != "\n" else char


def _spell_address(address: str) -> str:
    spoken = _LATIN_LETTER.sub(lambda match: LATIN_LETTERS[match[0].lower()], address.replace("://", " "))
    return re.sub(r"\d+", lambda match: digit_by_digit(match[0]), spoken)


def _number(written: str) -> str:
    """A number as such: cardinal, decimal, or digits where it starts with a zero."""
    whole, _, fraction = written.replace(",", "").partition(".")
    if fraction:
        return decimal(whole, fraction)
    if len(whole) > 1 and whole[0] == "0":
        return digit_by_digit(whole)
    return sino(whole)


def _date(match: re.Match[str]) -> str:
    return f"{match[1]}년 {match[3]}월 {match[4]}일".replace(" 0", " ")


def _clock(match: re.Match[str]) -> str:
    spoken = f"{_hour(match[1])}시"
    if match[2] != "00":
        spoken += f" {sino(match[2])}분"
    half = {"am": "오전 ", "pm": "오후 "}.get((match[4] or "").lower(), "")
    return half + spoken + (f" {sino(match[3])}초" if match[3] else "")


def _hour(digits: str) -> str:
    hour = int(digits)
    return native(digits) if 1 <= hour <= 12 else sino(digits)


def _phone(match: re.Match[str]) -> str:
    digits = match[0].replace("+82", "팔이 ").replace(")", "-")
    return re.sub(r"\d+", lambda part: digit_by_digit(part[0]).replace("영", "공"), digits)


def _money_before(match: re.Match[str]) -> str:
    sign = match[0][: match.start(1) - match.start()].strip().upper()
    word = CURRENCIES[sign]
    minus = "마이너스 " if match[1].startswith("-") else ""
    amount = match[1].lstrip("-")
    if match[2]:
        return f"{minus}{_number(amount)}{match[2]} {word}"
    whole, _, fraction = amount.replace(",", "").partition(".")
    if word == "달러" and len(fraction) == 2:
        cents = f" {sino(fraction)} 센트" if fraction != "00" else ""
        return f"{minus}{sino(whole)} 달러{cents}"
    return f"{minus}{_number(amount)} {word}"


def _money_after(match: re.Match[str]) -> str:
    return f"{_number(match[1])} {CURRENCIES[match[2].upper()]}"


def _range(match: re.Match[str]) -> str:
    """3~5개 is 세 개에서 다섯 개: the first number takes the second one's counter."""
    own, second = match[2] or "", match[3] or ""
    return f"{match[1]}{own or _known_unit(second)}에서 "


def _known_unit(word: str) -> str:
    if word in UNITS or word in MIXED_COUNTERS or word in NATIVE_BELOW or word in SINO_COUNTERS:
        return word
    return word[0] if word[:1] in ("년", "월", "일", "분", "초", "층", "회", "원") else ""


def _speed(match: re.Match[str]) -> str:
    per = "초속" if match[2] == "m/s" else "시속"
    return f"{per} {_number(match[1])} {'미터' if match[2] == 'm/s' else '킬로미터'}"


def _with_unit(match: re.Match[str]) -> str:
    unit = UNITS[match[2]]
    return f"화씨 {_number(match[1])}도" if unit == "화씨" else _number(match[1]) + unit


def _counted(match: re.Match[str]) -> str:
    digits, counter = match[1].replace(",", ""), match[3]
    rest = match.string[match.end() : match.end() + 6]
    if digits[0] == "0" and len(digits) > 1:
        return match[0]
    before = match.string[max(match.start() - 12, 0) : match.start()]
    if counter == "번":
        spoken = sino(digits) if _names_one(digits, before, rest) else native(digits)
    elif counter == "분":
        spoken = native(digits) if _PERSONS.search(before) or rest.startswith("께서") else sino(digits)
    elif counter == "대" and rest.lstrip().startswith(GENERATIONS):
        spoken = sino(digits)
    elif counter == "대" and len(digits) == 2 and digits[1] == "0" and not rest.startswith(("를", "가 ", "의 차")):
        spoken = sino(digits)  # 30대: people in their thirties
    elif counter == "번째" and digits == "1":
        spoken = "첫"
    elif counter in NATIVE_BELOW:
        spoken = native(digits) if len(digits) < 4 and 0 < int(digits) < NATIVE_BELOW[counter] else sino(digits)
    elif counter in MIXED_COUNTERS:
        spoken = native(digits)
    else:
        spoken = sino(digits)
    return spoken + match[2] + counter


def _names_one(digits: str, before: str, rest: str) -> bool:
    """Whether a number with 번 names one of many (7번 참가자, 2반 21번) and does not count times (3번 읽었다)."""
    return rest.lstrip().startswith(NUMBERED) or _NUMBERED_AFTER.search(before) is not None or int(digits) > 20


def _latin(match: re.Match[str]) -> str:
    word = match[0].lower()
    known = LATIN_WORDS.get(word)
    if known:
        return known
    letters = "".join(LATIN_LETTERS.get(char, char) for char in word if char not in "-'’")
    return re.sub(r"\d+", lambda digits: _number(digits[0]), letters)


def _chat(match: re.Match[str]) -> str:
    """Laughter and what is written in consonants alone; tears are not said."""
    letters = match[0]
    if letters in CHAT_CONSONANTS:
        return CHAT_CONSONANTS[letters]
    return "".join({"ㅋ": "크", "ㅎ": "흐"}.get(letter, "") for letter in letters[:3])


_PASSES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_CHAT, _chat),
    (_NAMED, lambda match: NAMED_FIGURES[match[0]]),
    (_HOLIDAY, lambda match: "삼일" if match[1] else digit_by_digit(re.sub(r"\D", "", match[0]))),
    (_DATE, _date),
    (_AREA, lambda match: match[1] + ("²" if match[2] == "2" else "³")),
    (_SHORT_DATE, lambda match: f"{int(match[1] or match[3])}월 {int(match[2] or match[4])}일"),
    (_WEEKDAYS, lambda match: f"{match[1]}요일에서 {match[2]}요일"),
    (_PHONE, _phone),
    (_CODE, lambda match: match[1] + digit_by_digit(match[2]).replace("영", "공")),
    (_EMERGENCY, lambda match: digit_by_digit(match[1])),
    (_CLOCK, _clock),
    (_HALF_DAY, lambda match: f"{match[1] or ('오전' if match[3][0] in 'aA' else '오후')} {_hour(match[2])} 시"),
    (_SERIAL, lambda match: "점".join(sino(part) for part in match[0].split("."))),
    (_MONEY_BEFORE, _money_before),
    (_RANGE, _range),
    (_UNTIL, lambda match: "에서 "),
    (_SCORE, lambda match: f"{sino(match[1])} 대 {sino(match[2])}"),
    (_TO, lambda match: f"{sino(match[1])} 대 "),
    (_QUARTER, lambda match: f"{sino(match[1])}사"),
    (_SMALL_ORDINAL, lambda match: f"{('첫', '둘', '셋', '넷')[int(match[1]) - 1]}째"),
    (_JOINED, lambda match: " "),
    (_NUMBER_SIGN, lambda match: "넘버 "),
    (_NEGATIVE, lambda match: "마이너스 "),
    (_VULGAR, lambda match: (sino(match[1]) + "과 " if match[1] else "") + _vulgar(match[2])),
    (_FRACTION, lambda match: _PAIRED.get(match[0]) or f"{sino(match[2])}분의 {sino(match[1])}"),
    (_RATIO, lambda match: f"{sino(match[1])} 대 {sino(match[2])}"),
    (_OPERATOR, lambda match: f" {SIGNS[match[1]]} ".replace(" 은", "은")),
    (_PLUS, lambda match: "플러스"),
    (_SPEED, _speed),
    (_MONEY_AFTER, _money_after),
    (_MONTH, lambda match: "유월" if match[1] == "6" else "시월"),
    (_HOUR, lambda match: _hour(match[1])),
    (_WITH_UNIT, _with_unit),
    (_COUNTED, _counted),
    (_LATIN, _latin),
    (_SCALED, lambda match: _number(match[1])),
    (_PLAIN, lambda match: _number(match[0])),
)


def _vulgar(char: str) -> str:
    over, _, under = unicodedata.normalize("NFKC", char).partition("⁄")
    return f"{sino(under)}분의 {sino(over)}" if under else ""
