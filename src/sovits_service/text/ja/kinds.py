"""How Japanese says amounts, dates, clocks, telephones and formulas; OpenJTalk reads the figures that stay."""

from __future__ import annotations

import re

from sovits_service.text.ja.tables import CURRENCIES, DIGITS, SIGNS
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
from sovits_service.text.lazy_pattern import LazyPattern

_COUNTER = LazyPattern(
    r"\s?(?:[時分秒日月年人個円歳階回枚本冊杯台匹名点番度%％週ヶか泊倍割巻話章頁キメグセ]|パーセント|ページ)"
)
_SCORED = LazyPattern(
    r"\s?(?:で[^、。\d]{0,10}(?:勝|負|敗|引き?分|快勝|辛勝|制|破|下し)|の(?:勝利|敗北|引き分け))", needs="での"
)
_HALF_DAY = LazyPattern(r"(?:午前|午後)\s?$", needs="午")
_FAHRENHEIT = frozenset(("°F", "℉"))
_PER = {"h": "時", "s": "秒", "min": "分", "日": "日", "月": "月", "年": "年", "人": "人", "時": "時",
        "分": "分", "秒": "秒", "L": "リットル", "kg": "キログラム",
        "m²": "平方メートル", "m³": "立方メートル"}  # fmt: skip
_NAMED_SIZES = {
    "2D": "ツーディー", "3D": "スリーディー", "4G": "フォージー", "5G": "ファイブジー", "4K": "ヨンケー",
    "8K": "ハチケー",
}  # fmt: skip


def digit_by_digit(digits: str) -> str:
    """`03` -> ゼロサン."""
    return "".join(DIGITS[int(digit)] for digit in digits)


def say(value: Value, place: Place) -> str | None:
    """The words of a value in its place; None where it is no such thing there."""
    match value:
        case Amount():
            return _amount(value)
        case Range(first=Amount() as first, last=Amount() as last, between=between):
            return _range(first, last, between.strip(), place)
        case Range(first=Clock() as first, last=Clock() as last):
            low, high = _clock(first, place), _clock(last, Place("", 0, 0))
            return f"{low}から{high}" if low and high else None
        case Clock():
            return _clock(value, place)
        case Date(written="ymd", year=year, month=month, day=day):
            return f"{year}年{int(month)}月{int(day)}日"
        case Telephone(groups=groups):
            return "、".join(map(digit_by_digit, groups))
        case Digits(groups=groups, mark=mark):
            joint = {".": "ドット" if len(groups) == 4 else "点", ":": "対", "x": "かける", "/": "、"}.get(mark, "の")
            if value.unit:
                return joint.join(groups) + unit_names("ja")[value.unit]
            return joint.join(groups) if mark != " " else "、".join(map(digit_by_digit, groups))
        case Fraction(top=top, bottom=bottom, whole=whole, sign=sign):
            unit = unit_names("ja").get(value.unit, "")
            if value.unit == "mmHg" or re.search("血圧[^、。,]{0,6}$", place.before):
                return f"{top}、{bottom}{unit}"
            return f"{'マイナス' if sign else ''}{whole + 'と' if whole else ''}{bottom}ブンノ{top}{unit}"
        case Power(number=number, exponent=exponent):
            times = "" if number.digits == "1" else number.digits + "かける"
            return f"{times}10の{exponent.replace('-', 'マイナス')}乗"
        case Formula(terms=terms):
            is_equation = any(term.text == "=" for term in terms)
            return "".join(_term(term, is_equation=is_equation) for term in terms)
        case Standard(name=name, number=number, year=year):
            return f"{name} {number.replace('.', '点')}、{year}"
    return None


def _clock(clock: Clock, place: Place) -> str | None:
    if int(clock.hour) > 24:
        return None
    half = {"a": "午前", "p": "午後"}.get(clock.half, "")
    minute = f"{int(clock.minute)}分" if clock.minute.strip("0") or clock.second else ""
    second = f"{int(clock.second)}秒" if clock.second else ""
    return f"{'' if _HALF_DAY.search(place.before) else half}{int(clock.hour)}時{minute}{second}"


def _term(term: Term, *, is_equation: bool) -> str:
    match term:
        case Term("power", exponent):
            return f"の{exponent.replace('-', 'マイナス')}乗"
        case Term("number", digits, unit):
            return digits + {"%": "パーセント", "°": "度"}.get(unit, "")
        case Term("negative"):
            return "マイナス"
        case Term("sign", "-"):
            return "引く" if is_equation else "マイナス"
    return {"/": "割る"}.get(term.text) or SIGNS.get(term.text) or term.text


def _range(first: Amount, last: Amount, between: str, place: Place) -> str | None:
    low, high = first.number, last.number
    if not (first.unit or last.unit):
        if high.sign:
            return None
        if between in "-–—":
            if _SCORED.match(place.after):
                return f"{low.digits}対{high.digits}"
            if not _COUNTER.match(place.after) and not last.scale:
                return None
    own = first.unit or ("°" if last.unit in ("℃", "°C") and low.sign else "")
    start = _amount(Amount(low, own, first.is_money, first.scale, first.per))
    return f"{start}から{_amount(last)}"


def _amount(value: Amount) -> str:
    number = value.number.digits
    sign = {"-": "マイナス", "+": "プラス", "±": "プラスマイナス"}.get(value.number.sign, "")
    if value.is_money:
        name = CURRENCIES[value.unit]
        whole, _, fraction = number.partition(".")
        if name == "ドル" and len(fraction) == 2 and not value.scale:
            return f"{sign}{whole}ドル" + (f"{int(fraction)}セント" if fraction != "00" else "")
        return f"{sign}{number}{value.scale}{name}"
    if value.unit in _FAHRENHEIT:
        return f"カ氏{sign}{number}度"
    unit = unit_names("ja").get(value.unit, "")
    per = f"毎{_PER[value.per]}" if value.per else ""
    # Kept apart, or OpenJTalk says ハチジュッヘーホー
    apart = " " if unit.startswith("平方") else ""
    return f"{sign}{number}{value.scale}{apart}{unit}{per}"


_OWN = (
    (
        LazyPattern(r"(\d{3})-(\d{4})", needs="-"),
        lambda match: (
            f"{digit_by_digit(match[1])}の{digit_by_digit(match[2])}"
            if re.search(r"郵便番号\s?$", match.string[: match.start()])
            else None
        ),
    ),
    (
        LazyPattern(r"(No|Vol)\.\s?(?=\d)", re.IGNORECASE, needs="."),
        lambda match: {"no": "ナンバー", "vol": "ボリューム"}[match[1].lower()],
    ),
    (LazyPattern(r"[Vv]er\.\s?(?=\d)", needs="."), lambda _: "バージョン"),
    (LazyPattern(r"([2-9][DGK])(?![A-Za-z\d])", needs="DGK"), lambda match: _NAMED_SIZES.get(match[1], match[1])),
    (
        LazyPattern(r"(?<![\d/])(1[0-2]|0?[1-9])/(3[01]|[12]\d|0?[1-9])\s?(?=[(（][月火水木金土日祝][)）])", needs="/"),
        lambda match: f"{int(match[1])}月{int(match[2])}日",
    ),
    (
        LazyPattern(r"(?<![\dA-Za-z])(B?)(\d{1,2})F(?![A-Za-z\d])", needs="F"),
        lambda match: f"{'地下' if match[1] else ''}{match[2]}階",
    ),
    (
        LazyPattern(
            r"(?<=[時分])[-~〜～]\s?(?=\d{1,2}時)|(?<=曜日)[-~〜～](?=\d)|(?<=\d)[-~〜～]\s?(?=\d{1,2}時)", needs="時曜"
        ),
        lambda _: "から",
    ),
    (
        LazyPattern(r"(?:(?<=\d[時分秒日月年人個円歳階回枚本度台%])|(?<=パーセント))[~〜～]\s?(?=\d)", needs="~〜～"),
        lambda _: "から",
    ),
)
_TELEPHONES = (
    LazyPattern(
        r"(?<![\d-])(?:\+81[- ]?)?0?\d{1,4}[-(（]\d{1,4}[-)）]\d{3,4}(?![\d-])|(?<![\d.,])0[5789]0\d{8}(?!\d)",
        needs="(-0（",
    ),
)


def _habits() -> Habits:
    return Habits(
        currencies=CURRENCIES,
        scales="[十百千]?[万億兆]|[百千]",
        telephones=_TELEPHONES,
        per=_PER,
        apart_units=alternatives(unit_names("ja")),
        unit_end=r"(?![A-Za-z²³]|(?<=\d)\d)",  # 1m75cm
        own=_OWN,
    )


read = reader(_habits, say)
