"""How Mandarin says numbers, amounts, dates, clocks, telephones and formulas."""

from __future__ import annotations

import re
from functools import lru_cache

from sovits_service.text.kinds.find import POWER_DIGITS, POWERS, reader
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
from sovits_service.text.spoken import Spoken
from sovits_service.text.zh import notation as context
from sovits_service.text.zh.amounts import per_words, say_amount, say_range
from sovits_service.text.zh.notation import notation
from sovits_service.text.zh.numbers import read_cardinal, read_digits, read_number
from sovits_service.text.zh.own_kinds import OWN, TELEPHONES, read_code

_SCALE = "(?:万亿|千亿|百亿|十亿|千万|百万|十万|[亿万千百])"
_NUMERAL = "零一二三四五六七八九十百千万亿两点"
_OPERATORS = {"+": "加", "-": "减", **dict.fromkeys("×*", "乘"), "÷": "除以", "=": "等于", "<": "小于", ">": "大于",
              "/": "除以"}  # fmt: skip
_POWER = re.compile(rf"[{POWERS}⁻]+|\^-?\d+")
_HALF_HOUR = 30
_BLOOD_PRESSURE = re.compile(r"(?:血压|高压|低压)[^，。,]{0,6}$")


def say(value: Value, place: Place) -> str | None:
    """The words of a value in its place; None where it is no such thing there."""
    match value:
        case Amount():
            return say_amount(value, place)
        case Range(first=Amount() as first, last=Amount() as last, between=between):
            return say_range(first, last, between.strip(), place)
        case Range(first=Clock() as first, last=Clock() as last):
            return _times(first, last, place)
        case Clock():
            return _times(value, None, place)
        case Date():
            return _date(value, place)
        case Telephone():
            return _telephone(value)
        case Digits():
            return _groups(value, place)
        case Fraction():
            return _fraction(value, place)
        case Standard(name=name, number=number, mark=mark, year=year):
            digits = "点".join(map(read_digits, number.split(".")))
            return f"{name.replace('/', '杠')}{digits}{'杠' if mark == '-' else ','}{read_digits(year)}"
        case Power(number=number, exponent=exponent):
            factor = "" if number.digits == "1" else read_number(number.digits) + "乘"
            return f"{factor}十的{_signed(exponent)}次方"
        case Formula(terms=terms):
            return "".join(map(_term, terms))
    return None


def _signed(digits: str) -> str:
    return ("负" if digits.startswith("-") else "") + read_cardinal(digits.lstrip("-"))


def _telephone(value: Telephone) -> str:
    country = value.groups[0] in ("86",) and len(value.groups) > 1
    said = ",".join(map(read_code, value.groups[country:]))
    if country:
        said = f"{'加' if value.plus else ''}八六,{said}"
    return f"{said}转{read_code(value.extension)}" if value.extension else said


def _date(value: Date, place: Place) -> str | None:
    if value.written not in ("ymd", "ym") or not "1500" <= value.year < "2200":
        return None
    if not value.day and not re.match(r"[,，。；\s~至到）)]|$", place.after):
        return None
    day = f"{read_cardinal(value.day)}日" if value.day else ""
    return f"{read_digits(value.year)}年{read_cardinal(value.month)}月{day}"


def _times(first: Clock, last: Clock | None, place: Place) -> str | None:
    if context.SCORE_BEFORE.search(place.before):
        return None
    if not first.half and last is None and context.CLOCK_BEFORE.search(place.before):
        return _duration(first)
    if int(first.hour) > 24 or first.fraction:
        return None
    half = first.half or (last.half if last else "")
    said = _clock(first)
    if last:
        # parity: the end of a range is "half past" only where its start is
        said += "至" + _clock(last, half=first.minute == str(_HALF_HOUR))
    if half and not re.search(r"(?:上午|下午|中午|晚上|早上|凌晨|今晚|明早)\s?$", place.before):
        said = ("上午" if half == "a" else "下午") + said
    return said


def _clock(clock: Clock, *, half: bool = True) -> str:
    said = ("两" if int(clock.hour) == 2 else read_cardinal(clock.hour)) + "点"
    minute, second = int(clock.minute or "0"), int(clock.second or "0")
    if half and minute == _HALF_HOUR and not second:
        return said + "半"
    if minute or second:
        said += _two_digits(clock.minute) + "分"
    return said + (_two_digits(clock.second) + "秒" if second else "")


def _two_digits(number: str) -> str:
    if number.startswith("0"):
        return "零" + (read_cardinal(number[1:]) if number[1:] != "0" else "")
    return read_cardinal(number)


def _duration(clock: Clock) -> str:
    parts = [part for part in (clock.hour, clock.minute, clock.second) if part]
    names = ("小时", "分", "秒")[3 - len(parts) :]
    said = "".join(_two_digits(part) + name for part, name in zip(parts, names, strict=True))
    return f"{said[:-1]}点{read_digits(clock.fraction)}秒" if clock.fraction else said


def _groups(value: Digits, place: Place) -> str | None:
    groups = value.groups
    match value.mark:
        case ".":
            return "点".join(map(read_digits, groups))
        case "-" if all(len(group) == 1 for group in groups):
            return "减".join(map(read_digits, groups))  # parity: the original reads a sum
        case "-" | " ":
            return ",".join(map(read_code, groups))
        case "/":
            return ",".join(map(read_cardinal, groups))
        case "x":
            return "乘".join(map(read_number, groups)) + unit_names("zh").get(value.unit, "")
        case _:
            return "比".join(map(read_number, groups))


def _fraction(value: Fraction, place: Place) -> str:
    top, bottom = value.top, value.bottom
    if {top, bottom} <= context.NAMED_NUMBERS:
        return f"{read_code(top)},{read_code(bottom)}"
    if place.before.endswith("第"):
        return f"{read_cardinal(top)},{read_cardinal(bottom)}"
    unit = unit_names("zh").get(value.unit, "")
    if value.unit == "mmHg" or _BLOOD_PRESSURE.search(place.before):
        return f"{read_number(top)},{read_number(bottom)}{unit}"
    whole = f"{read_cardinal(value.whole)}又" if value.whole else ""
    return f"{'负' if value.sign else ''}{whole}{read_number(bottom)}分之{read_number(top)}{unit}"


def _term(term: Term) -> str:
    match term:
        case Term("power", exponent):
            return _power(exponent)
        case Term("number", digits, unit):
            number = read_number(digits)
            return f"百分之{number}" if unit == "%" else number + {"°": "度"}.get(unit, "")
        case Term("negative"):
            return "负"
    return _OPERATORS.get(term.text) or notation().signs.get(term.text) or term.text


def _power(exponent: str) -> str:
    return f"的{_signed(exponent) if exponent.lstrip('-').isdigit() else exponent}次方"


def _powers(match: re.Match[str]) -> str:
    return _power(match[0].translate(POWER_DIGITS).lstrip("^"))


def _habits() -> Habits:
    # A座 and 4S店 are no amperes and seconds
    unit = rf"(?:{alternatives(unit_names('zh'))})(?<!A(?=[级座股罩货类型区班组版楼栋馆]))(?<!s(?=店))"
    return Habits(
        currencies=notation().currencies,
        scales=rf"[+多余]?{_SCALE}",
        telephones=TELEPHONES,
        between=r"\s?[-~～〜–—]\s?|(?<=\d)[至到](?=[-\d$¥￥€£.])",
        no_sign_after=r"A-Za-z\d",
        per=per_words(),
        apart_units=unit,
        own=OWN,
    )


_read_kinds = reader(_habits, say)


def read(text: Spoken) -> Spoken:
    """Say every kind, and the units and signs that stand beside words."""
    units, units_in_words, bare_areas, signs = _patterns()
    text = text.sub(units, lambda match: "每" + unit_names("zh")[match[1]])
    text = text.sub(bare_areas, lambda match: unit_names("zh")[match[0]])
    text = text.sub(units_in_words, lambda match: unit_names("zh")[match[1]])
    text = _read_kinds(text.replace("%vol", "%").replace("% vol", "%")).sub(_POWER, _powers)
    return text.sub(units, lambda match: "每" + unit_names("zh")[match[1]]).sub(signs, _sign)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    units = alternatives(unit_names("zh"))
    return (
        re.compile(rf"(?<=[\u4e00-\u9fff])\s?/\s?({units})(?![A-Za-z\d])"),
        re.compile(rf"(?<=[多少几数每百千万亿半十])({units})(?![A-Za-z\d])"),
        re.compile(r"(?<![A-Za-z])[kc]?m[²³]"),
        re.compile(rf"({alternatives(notation().signs)})"),
    )


def _sign(match: re.Match[str]) -> str:
    """A lone sign is said beside a number or between words, and is no more than ink elsewhere."""
    text, sign = match.string, match[1]
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    words = notation().signs[sign]
    if sign in "<>＜＞":
        return words if before and before in _NUMERAL and after and after in _NUMERAL else ""
    if sign in "∞√π±≤≥≈≠≦≧∵∴+×÷=" or (before.isalnum() and after.isalnum()):
        return words if before.isalnum() or after.isalnum() else ""
    return ""
