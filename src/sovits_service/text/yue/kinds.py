"""How Cantonese says numbers, amounts, dates, clocks, telephones and formulas."""

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
from sovits_service.text.yue.numerals import cardinal, digit_by_digit, number
from sovits_service.text.yue.tables import CURRENCIES, MEASURES, SIGNS

_SHARES = {"%": "百分之", "‰": "千分之"}
_CELSIUS = frozenset(("°C", "℃", "°"))
_FAHRENHEIT = frozenset(("°F", "℉"))
_CALLED = re.compile(
    r"(?:電話|电话|致電|致电|熱線|热线|手機|手机|打去|WhatsApp|號碼|号码|密碼|密码|撥|拨"
    r"|驗證碼|验证码|編號|编号|車牌|车牌|帳號|账号|戶口|户口|卡號|卡号|學號|学号|訂單|订单|單號|单号|內線|内线|PIN|Pin|尾[4四]個?[字位號号])\D{0,4}$"
    r"|(?:打|報|报|call\s?)$"
)
_HALF_DAY = re.compile(r"(?:朝早|朝頭早|上[晝昼午]|下[晝昼午]|晏晝|晏昼|夜晚|晚上|今晚|凌晨)\s?$")
_PAIRED = re.compile(rf"(?!\s?(?:年級|年级|樓|楼|號|号|月份|日前|點五))\s?(?:{alternatives(MEASURES)})")
_SCORE_BEFORE = re.compile(r"(?:以|比分|比數|比数|總分|总分)[^，。！？,!?]{0,4}$")
_SCORE_AFTER = re.compile(r"\s?(?:贏|赢|輸|输|[大小完]?勝|[大小完]?胜|勝|胜|擊敗|击败|打和|險勝|领先|領先|落後|落后)")
_NAMED = re.compile(r"(?<![A-Za-z])[A-Z]{1,3}[ -]?$")
_ROOM = re.compile(r"[A-Z]?(?:室|[舖鋪铺](?!位)|房(?![間间價价租屋]))")
_BLOOD_PRESSURE = re.compile(r"(?:血壓|血压|上壓|上压)[^，。,]{0,6}$")
_ROUTE = re.compile(r"(?:巴士|小巴|電車|专线|專線|搭|坐)[^\d,.!?，。]{0,4}$")


def say(value: Value, place: Place) -> str | None:
    """The words of a value in its place; None where it is no such thing there."""
    match value:
        case Amount():
            return _amount(value, place)
        case Range(first=Amount() as first, last=Amount() as last):
            return _range(first, last, place)
        case Range(first=Clock() as first, last=Clock() as last):
            low, high = _clock(first, place), _clock(last, Place("", 0, 0))
            return f"{low}至{high}" if low and high else None
        case Clock():
            return _clock(value, place)
        case Date(year=year, month=month, day=day) if value.written in ("ymd", "dmy") and len(year) == 4:
            if value.written == "dmy" and not 1 <= int(month) <= 12:
                return None
            return f"{digit_by_digit(year)}年{cardinal(month)}月{cardinal(day)}日"
        case Telephone(groups=groups):
            digits = "".join(groups)
            # parity: a mainland mobile number has 幺 for one
            return digit_by_digit(digits, one="幺" if re.fullmatch(r"(?:86)?1[3-9]\d{9}", digits) else "一")
        case Digits(groups=groups, mark=mark):
            return {
                ".": lambda: "點".join(map(digit_by_digit if len(groups) == 4 else cardinal, groups)),
                ":": lambda: "比".join(map(number, groups)),
                "x": lambda: "乘".join(map(number, groups)) + unit_names("yue").get(value.unit, ""),
                "/": lambda: ",".join(map(number, groups)),
            }.get(mark, lambda: ",".join(map(digit_by_digit, groups)))()
        case Fraction(top=top, bottom=bottom, whole=whole, sign=sign):
            unit = unit_names("yue").get(value.unit, "")
            if value.unit == "mmHg" or _BLOOD_PRESSURE.search(place.before):
                return f"{number(top)},{number(bottom)}{unit}"
            lead = ("負" if sign else "") + (f"{cardinal(whole)}又" if whole else "")
            return f"{lead}{number(bottom)}分之{number(top)}{unit}"
        case Power(number=factor, exponent=exponent):
            times = "" if factor.digits == "1" else number(factor.digits) + "乘"
            return f"{times}十嘅{_signed(exponent)}次方"
        case Formula(terms=terms):
            return "".join(map(_term, terms))
        case Standard(name=name, number=digits, year=year):
            return f"{name}{'點'.join(map(digit_by_digit, digits.split('.')))},{digit_by_digit(year)}"
    return None


def _signed(digits: str) -> str:
    if not digits.lstrip("-").isdigit():
        return digits.upper()
    return ("負" if digits.startswith("-") else "") + cardinal(digits.lstrip("-"))


def _clock(clock: Clock, place: Place) -> str | None:
    if int(clock.hour) > 24:
        return None
    half = {"a": "朝早", "p": "下晝"}.get(clock.half, "")
    if _HALF_DAY.search(place.before):
        half = ""
    minute = ""
    if clock.minute.strip("0"):
        minute = ("零" if clock.minute[0] == "0" else "") + cardinal(clock.minute) + "分"
    second = f"{'' if minute else '零分'}{cardinal(clock.second)}秒" if clock.second else ""
    return f"{half}{'兩' if int(clock.hour) == 2 else cardinal(clock.hour)}點{minute}{second}"


def _term(term: Term) -> str:
    match term:
        case Term("power", exponent):
            words = f"嘅{_signed(exponent)}次方" if exponent[-1:].isdigit() else ""
            return {"2": "平方", "3": "立方"}.get(exponent, words)
        case Term("number", digits, unit):
            said = number(digits)
            return f"百分之{said}" if unit == "%" else said + {"°": "度"}.get(unit, "")
        case Term("negative"):
            return "負"
        case Term("sign", "-"):
            return "減"
    return {"/": "除以"}.get(term.text) or SIGNS.get(term.text) or term.text


def _range(first: Amount, last: Amount, place: Place) -> str | None:
    if not (first.unit or last.unit) and last.number.sign:
        return None
    if not (first.unit or last.unit) and (_SCORE_BEFORE.search(place.before) or _SCORE_AFTER.match(place.after)):
        return f"{number(first.number.digits)}比{number(last.number.digits)}"
    unit = last.unit or first.unit
    if unit in _SHARES:
        return f"{_measured(first, unit, place)}至{number(last.number.digits)}"
    own = first.unit or ("°" if unit in _CELSIUS and first.number.sign == "-" else "")
    start = _measured(first, own, Place("", 0, 0)) + _name(first, own, Place("", 0, 0))
    return f"{start}至{_measured(last, unit, place)}{_name(last, unit, place)}"


def _amount(value: Amount, place: Place) -> str | None:
    number_, before = value.number, place.before
    if number_.sign and not value.unit and "一" <= before[-1:] <= "鿿" and not place.after.startswith("度"):
        return None  # 殲-20
    if not value.unit and not number_.sign:
        digits = number_.digits
        if not number_.fraction and not number_.grouped and 3 <= len(digits) <= 12 and _CALLED.search(before):
            return digit_by_digit(digits)
        after = value.scale + place.after
        is_name = _NAMED.search(before) and not _PAIRED.match(after)
        if not number_.fraction and not number_.grouped and 3 <= len(digits) <= 5 and (is_name or _ROOM.match(after)):
            return digit_by_digit(digits)
        is_route = re.match("[A-Z]?[號号]?(?:巴士|小巴|電車|车|車|专线|專線|線|线)", after)
        if len(digits) == 3 and (is_route or (_ROUTE.search(before) and re.match("[A-Z]?[號号]", after))):
            return digit_by_digit(digits)
        if digits == "2" and re.search(r"月\s?$", before) and re.match(r"\s?日", after):
            return "二" + value.scale
        is_pair = digits == "2" and not re.search(r"[A-Za-z\d.第]$", before) and _PAIRED.match(after)
        return ("兩" if is_pair else number(digits)) + value.scale + ("幾" if value.more else "")
    return _measured(value, value.unit, place) + _name(value, value.unit, place)


def _measured(value: Amount, unit: str, place: Place) -> str:
    digits = value.number.digits
    if value.is_money and re.fullmatch(r"\d+\.\d0", digits):
        digits = digits.rstrip("0").rstrip(".")
    sign = {"-": "負", "+": "加", "±": "正負"}.get(value.number.sign, "")
    cold = unit in _CELSIUS or (not unit and place.after.startswith("度"))
    if value.number.sign == "-" and cold:
        sign = "" if place.before.endswith("零下") else "零下"
    if unit in _FAHRENHEIT:
        sign = "華氏" + sign
    if unit in _SHARES:
        return f"{sign}{_SHARES[unit]}{number(digits)}"
    if value.per == "h" and unit == "km":
        sign = "時速" + sign if not re.search("[時时]速$", place.before) else sign
    is_pair = digits == "2" and not cold and bool(unit or value.scale or _PAIRED.match(place.after))
    return sign + ("兩" if is_pair else number(digits)) + value.scale


def _name(value: Amount, unit: str, place: Place) -> str:
    if unit in _SHARES:
        return ""
    name = (CURRENCIES if value.is_money else unit_names("yue")).get(unit, "")
    if value.is_money and place.after.startswith(("元", "蚊", "美元", "港元")):
        return ""
    per = "" if not value.per or (unit, value.per) == ("km", "h") else "每" + _PER[value.per]
    return name + per


_PER = {"h": "小時", "s": "秒", "min": "分鐘", "kg": "公斤", "L": "升", "l": "升", "m³": "立方米", "m²": "平方米"}
_OWN = (
    (re.compile(r"(?<![\dA-Za-z/])(\d{1,3})/F(?![A-Za-z])"), lambda match: f"{cardinal(match[1])}樓"),
    (re.compile(r"(?<![\d.-])7-(?:11|[Ee]leven)(?![\d.-])"), lambda _: "七十一"),
    (re.compile(r"(?<!\d)([1-9][1-9])(?=\s?折)"), lambda match: digit_by_digit(match[1])),
    (
        re.compile(r"(?<!\d)(\d{4})\s?[-~至]\s?(\d{4})(?=\s?年)"),
        lambda match: f"{digit_by_digit(match[1])}至{digit_by_digit(match[2])}",
    ),
    (
        re.compile(r"(?<!\d)(\d{4}|(?<=['’])\d\d)(?=\s?年)|(?<!\d)(\d{4})(?=[-~至](?:\d{4}|\d\d)年)"),
        lambda match: digit_by_digit(match[1] or match[2]),
    ),
    (re.compile(r"(?<!\d)5(\*{1,2})(?![\d*])"), lambda match: "五" + "星" * len(match[1])),
    (re.compile(r"No\.\s?(?=\d)", re.IGNORECASE), lambda _: "第"),
    (re.compile(r"(?:(?<=\d[一-鿿])|(?<=\d[一-鿿]{2})|(?<=\d))[~～]\s?(?=\d)"), lambda _: "至"),
)
_TELEPHONES = (
    re.compile(r"(?<![\d.,])(?:\+?86[- ]?)?1[3-9]\d{9}(?!\d)"),
    re.compile(
        r"(?<![\d-])(?:\+?\d{1,3}[- ])?\d{3,4}[- ]\d{4}(?:[- ]\d{4})?(?![\d-])|(?<![\d-])0\d{2,3}-\d{7,8}(?!\d)"
    ),
)


def _habits() -> Habits:
    return Habits(
        currencies=CURRENCIES,
        scales="[十百千]?[萬万億亿]|[百千]",
        telephones=_TELEPHONES,
        between=r"\s?[-~～〜–—]\s?|(?<=\d)[至到](?=[-\d$])",
        per=_PER,
        apart_units=alternatives(unit_names("yue")),
        unit_end=r"(?![A-Za-z²³])",
        own=_OWN,
    )


read = reader(_habits, say)
