"""How Korean says numbers, amounts, dates, clocks, telephones and formulas: Sino-Korean and native numerals."""

from __future__ import annotations

import re

from sovits_service.text.kinds.find import reader
from sovits_service.text.kinds.habits import Habits
from sovits_service.text.kinds.units import alternatives, unit_names
from sovits_service.text.kinds.values import (
    Amount,
    Clock,
    Date,
    Digits,
    Formula,
    Fraction,
    Place,
    Power,
    Range,
    Standard,
    Telephone,
    Term,
    Value,
)
from sovits_service.text.ko.numerals import decimal, digit_by_digit, native, sino
from sovits_service.text.ko.tables import (
    CURRENCIES,
    GENERATIONS,
    LATIN_WORDS,
    MIXED_COUNTERS,
    NATIVE_BELOW,
    NUMBERED,
    SIGNS,
    SINO_COUNTERS,
)
from sovits_service.text.lazy_pattern import LazyPattern

_COUNTERS = alternatives({*SINO_COUNTERS, *MIXED_COUNTERS, *NATIVE_BELOW})
_COUNTER = LazyPattern(rf"(\s?)({_COUNTERS})(?!\d)")
_SCALE = "[십백천]?[만억조]|[십백천]"
_FAHRENHEIT = frozenset(("°F", "℉"))
_PAIRED = {("24", "7"): "이십사 칠", ("50", "50"): "오십 대 오십"}
_CODE = LazyPattern(
    r"(?:비밀번호|우편번호|인증번호|계좌번호|번호|코드|끝자리|뒷자리|앞자리|네 자리|내선|사서함)(?:는|은|가|이|:)?\s?$"
)
_FLIGHT_BEFORE = LazyPattern(r"(?<![A-Za-z])[A-Z]{2}\s?$")
_SET_OF_MATCH = LazyPattern(r"(?:를|을)?\s?(?:따|내[주줬]|가져|먼저|\d{1,2}-)|(?:에서|부터|까지|는|도)")
_BLOOD_PRESSURE = LazyPattern(r"혈압[^,.]{0,6}$", needs="혈")
_CALLED = LazyPattern(
    r"\s?(?:(?:에|로)\s?(?:바로 |즉시 |빨리 )?(?:전화|신고|연락|문의|알)|번으로|신고|구급|상황실|안전|대원)",
    needs="구대로번상신안에",
)
_SCORED = LazyPattern(
    r"\s?(?:역전승|승리|완승|신승|대승|패배|역전패|무승부)|(?:으)?로\s?(?:이|승|패|졌|지|비|무|앞|역전|뒤|따|내[주줬]|꺾|가져|잡|리드|끝)"
)
_DATED = LazyPattern(
    r"\s?\([월화수목금토일]\)|\s?(?:부터|까지|자로|일자|기준|~)|에(?![가-힣])"
    r"|\s(?:[월화수목금토일]요일|오전|오후|아침|저녁|밤|[가-힣]{1,5}(?:날|절|기념일|마스))"
)
_HOUR = LazyPattern(r"시(?:[^간즌가-힣]|$|에|부|까|쯤|경|정|반|가|를|의|는|이|로|도|면|와|였|입|였)", needs="시")
_KNOWN_COUNTER = LazyPattern(rf"\s?(?:({_COUNTERS})|([년월일분초층회원]))")
_PERSONS = LazyPattern(r"(?:님|어른|어르신|고객|성인|손님들|선생|교수|의사|부모|노인|신사|숙녀)\s?$")
_NUMBERED_AFTER = LazyPattern(r"(?:반|학년|호선|채널|문제|보기|선택지|등번호|버스|기호|좌석|사물함)\s?$")
_PER = {"h": "시", "s": "초", "min": "분", "L": "리터", "kg": "킬로그램", "m²": "제곱미터", "m³": "세제곱미터"}
_SPEEDS = {"h": "시속", "s": "초속", "min": "분속"}
_MINUS = "마이너스 "


def number(written: str) -> str:
    """A number as such: cardinal, decimal, or digits where it starts with a zero."""
    whole, _, fraction = written.partition(".")
    if fraction:
        return decimal(whole, fraction)
    if len(whole) > 1 and whole[0] == "0":
        return digit_by_digit(whole)
    return sino(whole)


def code(digits: str) -> str:
    """Telephones and passwords: a zero is 공."""
    return digit_by_digit(digits).replace("영", "공")


def say(value: Value, place: Place) -> str | None:
    """The words of a value in its place; None where it is no such thing there."""
    match value:
        case Amount():
            return _amount(value, place)
        case Range(first=Amount() as first, last=Amount() as last, between=between):
            return _range(first, last, between.strip(), place)
        case Range(first=Clock() as first, last=Clock() as last):
            low, high = _clock(first), _clock(last)
            return f"{low}에서 {high}" if low and high else None
        case Clock():
            return _clock(value, place)
        case Date(year=year, month=month, day=day):
            return _date(year, month, day, value.written, place)
        case Telephone(groups=groups):
            if value.plus:
                return "팔이 " + "-".join(map(code, groups[1:]))
            return "-".join(map(code, groups))
        case Digits(groups=groups, mark=mark):
            if mark == ":":
                return " 대 ".join(map(number, groups))
            if mark in ".x":
                return {".": "점", "x": " 곱하기 "}[mark].join(map(number, groups)) + unit_names("ko").get(
                    value.unit, ""
                )
            return ("-" if mark in "- " else ", ").join(map(code if mark in "- " else sino, groups))
        case Fraction(top=top, bottom=bottom, whole=whole, sign=sign):
            unit = unit_names("ko").get(value.unit, "")
            if value.unit == "mmHg" or _BLOOD_PRESSURE.search(place.before):
                return f"{number(top)}, {number(bottom)} {unit}".rstrip()
            if not whole and int(top.split(".")[0]) + int(bottom.split(".")[0]) == 100 and top[-1] == "0":
                return f"{number(top)} 대 {number(bottom)}"
            if re.match(r"\s?분기", place.after) and bottom == "4":
                return f"{number(top)}사"
            said = _PAIRED.get((top, bottom)) or f"{number(bottom)}분의 {number(top)}"
            return (_MINUS if sign else "") + (f"{sino(whole)}과 " if whole else "") + said + unit
        case Power(number=factor, exponent=exponent):
            times = "" if factor.digits == "1" else f"{number(factor.digits)} 곱하기 "
            return f"{times}십의 {_signed(exponent)} 제곱"
        case Formula(terms=terms):
            return _formula(terms)
        case Standard(name=name, number=digits, year=year):
            return f"{name} {'점'.join(map(digit_by_digit, digits.split('.')))}, {sino(year)}"
    return None


def _signed(digits: str) -> str:
    if not digits.lstrip("-").isdigit():
        return digits
    return (_MINUS if digits.startswith("-") else "") + sino(digits.lstrip("-"))


def _date(year: str, month: str, day: str, written: str, place: Place) -> str | None:
    said = f"{'유' if int(month) == 6 else '시' if int(month) == 10 else sino(month)}월"
    if written == "ymd":
        return f"{sino(year)}년 {said} {sino(day)}일"
    if written == "md" and (_DATED.match(place.after) or place.before.endswith("오늘은 ")):
        return f"{said} {sino(day)}일"
    return None


def _hour(digits: str) -> str:
    return native(digits) if 1 <= int(digits) <= 12 else sino(digits)


def _clock(clock: Clock, place: Place | None = None) -> str | None:
    if int(clock.hour) > 24:
        return None
    half = {"a": "오전 ", "p": "오후 "}.get(clock.half, "")
    if place and re.search(r"(?:오전|오후)\s?$", place.before):
        half = ""
    minute = f" {sino(clock.minute)}분" if clock.minute.strip("0") else ""
    second = f" {sino(clock.second)}초" if clock.second else ""
    return f"{half}{_hour(clock.hour)}{'' if clock.minute else ' '}시{minute}{second}"


def _formula(terms: tuple[Term, ...]) -> str:
    said = ""
    for term in terms:
        said += _term(term, said)
    return said


def _term(term: Term, before: str) -> str:
    match term:
        case Term("power", exponent):
            return {"2": "제곱", "3": "세제곱"}.get(exponent) or f"의 {_signed(exponent)} 제곱"
        case Term("number", digits, unit):
            return number(digits) + {"%": "퍼센트", "°": "도"}.get(unit, "")
        case Term("negative"):
            return _MINUS
        case Term("sign", "-"):
            return f" {_MINUS}"
        case Term("sign", "="):
            has_final = "가" <= before[-1:] <= "힣" and (ord(before[-1]) - 0xAC00) % 28 != 0
            return "은 " if has_final else "는 "
    if term.text in SIGNS:
        return f" {SIGNS[term.text]} "
    return {"/": " 나누기 "}.get(term.text) or term.text


def _range(first: Amount, last: Amount, between: str, place: Place) -> str | None:
    """3~5개 is 세 개에서 다섯 개: the first number takes the second one's counter."""
    low, high = first.number, last.number
    if high.sign and not last.unit:
        return None
    if between in "-–—" and not (first.unit or last.unit):
        if _SCORED.match(place.after) and len(low.digits) < 4:
            return f"{sino(low.digits)} 대 {sino(high.digits)}"
        return None
    after = Place("", 0, 0)
    if first.unit or first.scale:
        start = _amount(first, after)
    elif last.unit:
        start = _amount(Amount(low, last.unit, last.is_money), after)
    elif counter := _KNOWN_COUNTER.match(place.after):
        start = _amount(first, Place(counter[0], 0, 0)) + counter[0]
    else:
        start = _amount(first, after)
    return f"{start}에서 {_amount(last, Place(place.text, place.end, place.end))}"


def _amount(value: Amount, place: Place) -> str:
    digits, sign = value.number.digits, value.number.sign
    lead = {"-": _MINUS, "+": "플러스 ", "±": "플러스마이너스 "}.get(sign, "")
    more = "플러스" if value.more else ""
    if value.is_money:
        return lead + _money(value) + more
    if value.unit:
        if value.unit in _FAHRENHEIT:
            return f"화씨 {lead}{number(digits)}도"
        name = unit_names("ko")[value.unit]
        if value.per in _SPEEDS or value.unit in ("kph", "kmh"):
            speed = _SPEEDS[value.per or "h"]
            return f"{'' if place.before.rstrip().endswith(speed) else speed + ' '}{lead}{number(digits)} {name}"
        per = f" 매 {_PER[value.per]}" if value.per else ""
        return f"{lead}{number(digits)}{value.scale}{name}{per}"
    if value.scale:
        return f"{lead}{number(digits)}{value.scale}{more}"
    return lead + _plain(value, place) + more


def _money(value: Amount) -> str:
    word = CURRENCIES[value.unit]
    whole, _, fraction = value.number.digits.partition(".")
    if word.endswith("달러") and len(fraction) == 2 and not value.scale:
        return f"{sino(whole)} {word}" + (f" {sino(fraction)} 센트" if fraction != "00" else "")
    said = number(value.number.digits)
    if not value.scale and not fraction and len(whole) > 4 and set(whole[-4:]) == {"0"}:
        return f"{said} {word}"
    return f"{said}{value.scale} {word}"


def _plain(value: Amount, place: Place) -> str:
    digits, before, after = value.number.digits, place.before, place.after
    if "." in digits:
        return number(digits)
    if len(digits) >= 3 and not value.number.grouped:
        if _CODE.search(before) or (after.startswith("편") and _FLIGHT_BEFORE.search(before)):
            return code(digits)
        if re.fullmatch("11[0-9]|120", digits) and _CALLED.match(after):
            return digit_by_digit(digits)
    if after.startswith("월") and int(digits) in (6, 10):
        return "유" if int(digits) == 6 else "시"
    if len(digits) <= 2 and _HOUR.match(after):
        return _hour(digits)
    counter = None if before.endswith("제") else _COUNTER.match(after)
    if counter and not (digits[0] == "0" and len(digits) > 1):
        return _counted(digits, counter[2], before[-12:], after[counter.end() :][:6])
    return number(digits)


def _counted(digits: str, counter: str, before: str, rest: str) -> str:
    if counter == "번":
        return sino(digits) if _names_one(digits, before, rest) else native(digits)
    if counter == "분":
        return native(digits) if _PERSONS.search(before) or rest.startswith("께서") else sino(digits)
    if counter == "세트" and _SET_OF_MATCH.match(rest):
        return sino(digits)
    if counter == "대" and rest.lstrip().startswith(GENERATIONS):
        return sino(digits)
    if counter == "대" and len(digits) == 2 and digits[1] == "0" and not rest.startswith(("를", "가 ", "의 차")):
        return sino(digits)  # 30대: people in their thirties
    if counter == "번째" and digits == "1":
        return "첫"
    if counter in NATIVE_BELOW:
        return native(digits) if len(digits) < 4 and 0 < int(digits) < NATIVE_BELOW[counter] else sino(digits)
    return native(digits) if counter in MIXED_COUNTERS else sino(digits)


def _names_one(digits: str, before: str, rest: str) -> bool:
    """Whether a number with 번 names one of many (7번 참가자, 2반 21번) and does not count times (3번 읽었다)."""
    return rest.lstrip().startswith(NUMBERED) or _NUMBERED_AFTER.search(before) is not None or int(digits) > 20


_ENGLISH = ("원", "투", "쓰리", "포", "파이브")
_OWN = (
    (
        LazyPattern(
            r"(?<!\d)(3[.·]1)(?=\s?(?:절|운동))|(?<!\d)((?:6\.25|4\.19|5\.18|9\.11)"
            r"(?=\s?(?:전쟁|혁명|민주|때|동란|참전|테러|사태))|\d\d?·\d\d?)(?!\d)"
        ),
        lambda match: digit_by_digit(re.sub(r"\D", "", match[0])) if not match[1] else "삼일",
    ),
    (LazyPattern("[345]G(?![A-Za-z\\d])", needs="G"), lambda match: LATIN_WORDS[match[0].lower()]),
    (
        LazyPattern("(?:mp[34]|a[34]|[23]d|[48]k)(?![A-Za-z\\d])", re.IGNORECASE, needs="2348"),
        lambda match: LATIN_WORDS[match[0].lower()],
    ),
    (
        LazyPattern(r"(?<![\d.])(\d{1,3})\s?대\s?(?=\d{1,3}(?!\d|\s?대))", needs="대"),  # 3대 2
        lambda match: f"{sino(match[1])} 대 ",
    ),
    (LazyPattern(r"(?<!\d)([1-4])째", needs="째"), lambda match: f"{('첫', '둘', '셋', '넷')[int(match[1]) - 1]}째"),
    (
        LazyPattern(r"(?<![\d.])(\d{1,2})초 (\d\d)(?=[에의로으]|[^\d가-힣]|$)", needs="초"),
        lambda match: f"{sino(match[1])}초 {digit_by_digit(match[2])}",
    ),
    (
        LazyPattern(
            r"(?:(?<=시즌)|(?<=골드)|(?<=실버)|(?<=브론즈)|(?<=플래티넘)|(?<=다이아)|(?<=에메랄드)|(?<=파트))\s?([1-5])(?![\d.]|\s?(?:개|번|명|위))",
            needs="골다브시실에파플",
        ),
        lambda match: f" {_ENGLISH[int(match[1]) - 1]}",
    ),
    (LazyPattern(r"No\.\s?(?=\d)", re.IGNORECASE, needs="."), lambda _: "넘버 "),
    (LazyPattern(r"(?<=[시분일월년원])~\s?(?=\d)", needs="~"), lambda _: "에서 "),
)
_TELEPHONES = (
    LazyPattern(
        r"(?<![\d-])(?:\+82[- ]?)?0?\d{1,3}[-)]\s?\d{3,4}-\d{4}(?![\d-])"
        r"|(?<![\d-])1[568]\d\d-\d{4}(?![\d-])|(?<![\d-])\d{6}-\d{7}(?!\d)"
        r"|(?<![\d-])0\d{1,3}-\d{3,4}(?![\d-])|(?<![\d,.])01[016789]\d{7,8}(?!\d)",
        needs="-01",
    ),
)


def _habits() -> Habits:
    return Habits(
        currencies=CURRENCIES,
        scales=_SCALE,
        telephones=_TELEPHONES,
        no_sign_after=r"A-Za-z\d가-힣)",
        per=_PER,
        apart_units=alternatives(unit_names("ko")),
        unit_end=r"(?![A-Za-z²³])",
        own=_OWN,
    )


read = reader(_habits, say)
