"""What only Chinese has among figures: years, decades, months and days in characters, names, and its telephones."""

from __future__ import annotations

import re

from sovits_service.text.zh import notation as context
from sovits_service.text.zh.numbers import read_cardinal, read_digits, read_number

YEAR_LIKE = re.compile(r"(?:19|20)\d\d")


def read_code(digits: str) -> str:
    """Digit by digit, with 幺 for one."""
    return read_digits(digits, telephone=True)


def _year(match: re.Match[str]) -> str:
    """`2024年` by digits, but `10年` and `5000年历史` are spans of time."""
    first, second = match[1], match[3]
    after = "年" + match.string[match.end() : match.end() + 8]
    if second:
        named = _names_year(first, after) and len(second) <= len(first)
        return f"{_year_words(first, named)}到{_year_words(second, named or YEAR_LIKE.fullmatch(second) is not None)}年"
    return _year_words(first, _names_year(first, after)) + "年"


def _names_year(year: str, after: str) -> bool:
    if len(year) == 2:
        # parity: the original reads any two digits before 年 as a year; a small round number is a span
        is_dated = re.match(r"年\s?\d{1,2}\s?月|年[春夏秋冬底初末中度]", after) is not None
        return year[0] in "06789" or is_dated
    if context.YEAR_SPAN_AFTER.match(after) and year.endswith("00"):
        return False
    return "1000" < year < "2200" or year.startswith("0")


def _year_words(year: str, is_name: bool) -> str:
    return read_digits(year) if is_name else read_cardinal(year)


def _decade(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    said = read_cardinal(digits) if len(digits) == 2 and digits != "00" and match[1] else read_digits(digits)
    return said + ("年代" if match[1] else "后")


def _month_day(match: re.Match[str]) -> str:
    if match[2]:
        return f"{read_cardinal(match[1])}月{read_cardinal(match[2])}{match[3]}"
    return read_cardinal(match[1]) + match[0][len(match[1]) :].strip()


def _emergency(match: re.Match[str]) -> str | None:
    if context.COUNTED.match(match.string, match.end()):
        return None
    return re.sub(r"\d+", lambda digits: read_code(digits[0]), match[0])


def _aircraft(match: re.Match[str]) -> str:
    return read_cardinal(match[1]) if len(match[1]) < 3 else read_code(match[1])


def _thousands(match: re.Match[str]) -> str:
    """`15k-20k`, `3w-5w`."""
    low, first, high, last = match.groups()
    return f"{read_number(low)}{_LETTERS.get(first, first)}到{read_number(high)}{_LETTERS.get(last, last)}"


def _rooms(match: re.Match[str]) -> str:
    """`2室1厅1卫`: two rooms are 两室."""
    groups = (group or "" for group in match.groups())
    return "".join("两" if group == "2" else read_cardinal(group) if group.isdigit() else group for group in groups)


_LETTERS = {"w": "万", "W": "万"}
_CALLED = r"1(?:10|19|20|22)"
OWN = (
    (re.compile(r"(?<=[歼运轰直苏图鹰])-(\d{1,3})(?!\d)"), _aircraft),
    (re.compile(r"(?<=米格|东风|长征|神舟|红旗|巨浪|嫦娥|天宫|波音|空客)-(\d{1,4})(?!\d)"), _aircraft),
    (
        re.compile(
            r"(?<![信编]号)(?:(?<=[\d零一二三四五六七八九十两半几百千万亿][年月日号点时分秒岁元度米克天周万亿千百%℃])"
            r"|(?<=小时|公里|公斤|方米)|(?<=[千厘毫公]米)|(?<=[千毫]克)|(?<=\d[%℃])|(?<=[万亿千百]))[-~～–—]\s?(?=\d)"
            r"|(?<=[年月日号点时分秒岁元度米克天周])[~～–—]\s?(?=\d)"
        ),
        lambda _: "到",
    ),
    (
        re.compile(
            rf"(?<=[打拨叫报])({_CALLED})(?![\d.])"
            rf"|(?<![\d.])({_CALLED}(?:[、和,，及与]{_CALLED}){{1,8}})(?![\d.])"
        ),
        _emergency,
    ),
    (re.compile(r"№\s?(\d{1,16})"), lambda match: read_cardinal(match[1]) + "号"),
    (
        re.compile(
            r"(?<![\d.])((?:1[5-9]|20)?[0-9]0)\s?年代|(?<![\d.])((?:1[5-9]|20)?[0-9]0|[5-9]5|05)\s?后(?![天来面续])"
        ),
        _decade,
    ),
    (
        re.compile(
            r"(?<![\d.])(\d{1,2})[·.](\d{1,2})(?=[”’\"]?(?:事变|运动|事件|惨案|晚会|大促|国庆|假期|劳动节|长假|大?地震|起义|讲话))"
        ),
        lambda match: read_digits(match[1] + match[2]),
    ),
    (re.compile(r"(?<=公元前)\s?(\d{3,4})\s?年"), lambda match: read_digits(match[1]) + "年"),
    (re.compile(r"(?<![\d.])(\d{2}|\d{4})(\s?[-~～—–至到]\s?(\d{4}|\d{2}))?\s?年(?!级)"), _year),
    (re.compile(r"(?<!\d)(0?[1-9]|1[0-2])\s?月(?:份|\s?(0?[1-9]|[12]\d|3[01])\s?([日号]))?(?!球)"), _month_day),
    (
        re.compile(r"(?<![\d.第])(0?[1-9]|[12]\d|3[01])([日号])(?![楼线机院店馆门房码厅桌仓])"),
        lambda match: read_cardinal(match[1]) + match[2],
    ),
    (
        re.compile(r"(?<![\d.])(\d)(米|块|毛)(\d{1,2})(?![\d.]|[\u4e00-\u9fff]*[厘分公毫])"),
        lambda match: f"{'两' if match[1] == '2' else read_digits(match[1])}{match[2]}{read_digits(match[3])}",
    ),
    (
        re.compile(r"(?<![\d.])(\d{1,4}(?:\.\d)?)([kKwW])\s?[-~～–]\s?(\d{1,4}(?:\.\d)?)([kKwW])(?![A-Za-z])"),
        _thousands,
    ),
    (re.compile(r"(?<![\d.])(\d)([室房居])(\d)(厅)(?:(\d)([卫厨]))?"), _rooms),
    (
        re.compile(r"(?<![\d.])(\d{1,3}(?: \d{3}){1,5})(?![\d.]| \d)"),
        lambda match: read_cardinal(match[1].replace(" ", "")),
    ),
)  # fmt: skip
TELEPHONES = (
    re.compile(r"(?<![\d.])(?:(\+?86)[ -]?)?(1[3-9]\d{9})(?!\d)"),
    re.compile(r"(?<![\d.])(?:(\+?86)[ -]?)?(1[3-9]\d)([ -])(\d{4})\3(\d{4})(?!\d)"),
    re.compile(
        r"(?<![\d.-])(?:(\+?86)[ -])?(?:[(（](0\d{2,3})[)）][ -]?|(0(?:10|2\d|[3-9]\d{2}))[ -]?)"
        r"([1-9]\d{2,3}[ -]?\d{4})(?:[-转](?P<extension>\d{1,5}))?(?!\d)"
    ),
    re.compile(r"(?<![\d.-])([48]00)([ -])(\d{3,4})\2(\d{3,4})(?!\d)"),
    re.compile(r"(?<![\d.-])([48]00\d{7})(?!\d)"),
)
