"""Text in, the same text with dates, times and ratios said in characters out."""

from __future__ import annotations

import re

from sovits_service.text.spoken import Spoken
from sovits_service.text.zh.notation import CLOCK_BEFORE, SCORE_AFTER, SCORE_BEFORE, YEAR_SPAN_AFTER
from sovits_service.text.zh.numbers import read_cardinal, read_digits, read_number

_NUMERIC_DATE = re.compile(
    r"(?<![\d.])((?:1[5-9]|2[01])\d\d)([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12]\d|3[01])(?![\d.]\d|\d|[-/.]\d)"
)
_NUMERIC_MONTH = re.compile(
    r"(?<![\d./-])((?:19|20)\d\d)([-/])(0[1-9]|1[0-2]|[1-9])(?![\d./%-])(?=[,，。；\s~至到）)]|$)"
)
_YEAR = re.compile(r"(?<![\d.])(\d{2}|\d{4})(\s?[-~～—–至到]\s?(\d{4}|\d{2}))?\s?年(?!级)")
_ANCIENT_YEAR = re.compile(r"(?<=公元前)\s?(\d{3,4})\s?年")
_DECADE = re.compile(
    r"(?<![\d.])((?:1[5-9]|20)?[0-9]0)\s?年代|(?<![\d.])((?:1[5-9]|20)?[0-9]0|[5-9]5|05)\s?后(?![天来面续])"
)
_MEMORIAL_DAY = re.compile(
    r"(?<![\d.])(\d{1,2})[·.](\d{1,2})(?=[”’\"]?(?:事变|运动|事件|惨案|晚会|大促|国庆|假期|劳动节|长假|大?地震|起义|讲话))"
)
_MONTH_DAY = re.compile(r"(?<!\d)(0?[1-9]|1[0-2])\s?月(?:份|\s?(0?[1-9]|[12]\d|3[01])\s?([日号]))?(?!球)")
_DAY = re.compile(r"(?<![\d.第])(0?[1-9]|[12]\d|3[01])([日号])(?![楼线机院店馆门房码厅桌仓])")
_CLOCK = r"([01]?\d|2[0-4])[:：]([0-5]\d)(?:[:：]([0-5]\d))?"
_TIME = re.compile(
    rf"(?<![\d.:：]){_CLOCK}(?:\s?([-~～—–至到])\s?{_CLOCK})?(?![\d:：]|\.\d)\s?(am|pm|AM|PM|a\.m\.|p\.m\.)?(?![A-Za-z])"
)
_HOUR = re.compile(
    r"(上午|下午|中午|晚上|早上|凌晨|今晚|明早)?\s?(?<![\d.:：-])(1[0-2]|0?[1-9])\s?([AaPp])\.?[Mm](?![A-Za-z])\.?"
)
_STANDARD = re.compile(
    r"(?<![A-Za-z])([A-Z]{2,5}(?:/[A-Z]{1,2})?)[ -]?(\d{3,6}(?:\.\d{1,2})?)([:：-])((?:19|20)\d\d)(?!\d)"
)
_DURATION = re.compile(r"(?<![\d.:：])(\d{1,3})[:：]([0-5]?\d)(?:[:：]([0-5]\d))?(\.\d+)?(?![\d:：])")
_RATIO = re.compile(r"(?<![\d.:：])(\d+(?:\.\d+)?)((?:[:：∶]\d+(?:\.\d+)?)+)(?![\d:：])")
_SCORE = re.compile(r"(?<![\d.-])(\d{1,3})\s?[-–—]\s?(\d{1,3})(?![\d.-]|\s?[年月日号点岁元个人万%米千克天小分秒])")
_HALF_HOUR = 30


def read_dates(text: Spoken) -> Spoken:
    """Say dates, times and ratios; other numbers stay digits."""
    if not any(character.isdigit() for character in text.text):
        return text
    text = text.sub(_STANDARD, _standard)
    text = text.sub(_NUMERIC_DATE, lambda m: _date(m[1], m[3], m[4]))
    text = text.sub(_NUMERIC_MONTH, lambda m: _date(m[1], m[3], None))
    text = text.sub(_TIME, _time).sub(_HOUR, _hour)
    text = text.sub(_DURATION, _duration)
    text = text.sub(_RATIO, _ratio)
    text = text.sub(_SCORE, _score)
    text = text.sub(_DECADE, _decade)
    text = text.sub(_MEMORIAL_DAY, lambda m: read_digits(m[1] + m[2]))
    text = text.sub(_ANCIENT_YEAR, lambda m: read_digits(m[1]) + "年")
    text = text.sub(_YEAR, _year)
    text = text.sub(_MONTH_DAY, _month_day)
    return text.sub(_DAY, lambda m: read_cardinal(m[1]) + m[2])


def _date(year: str, month: str, day: str | None) -> str:
    said = f"{read_digits(year)}年{read_cardinal(month)}月"
    return f"{said}{read_cardinal(day)}日" if day else said


def _decade(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    said = read_cardinal(digits) if len(digits) == 2 and digits != "00" and match[1] else read_digits(digits)
    return said + ("年代" if match[1] else "后")


def _year(match: re.Match[str]) -> str:
    """`2024年` by digits, but `10年` and `5000年历史` are spans of time."""
    first, second = match[1], match[3]
    after = match.string[match.end() - 1 :]
    if second:
        named = _names_year(first, after) and len(second) <= len(first)
        return f"{_year_words(first, named)}到{_year_words(second, named)}年"
    return _year_words(first, _names_year(first, after)) + "年"


def _names_year(year: str, after: str) -> bool:
    if len(year) == 2:
        # parity: the original reads any two digits before 年 as a year; a small round number is a span
        return (
            year[0] in "6789"
            or year[0] == "0"
            or re.match(r"年\s?\d{1,2}\s?月|年[春夏秋冬底初末中度]", after) is not None
        )
    if YEAR_SPAN_AFTER.match(after) and year.endswith("00"):
        return False
    return "1000" < year < "2200" or year.startswith("0")


def _year_words(year: str, is_name: bool) -> str:
    if is_name:
        return read_digits(year)
    said = read_cardinal(year)
    return "两千" + said[2:] if said.startswith("二千") else said


def _month_day(match: re.Match[str]) -> str:
    if match[2]:
        return f"{read_cardinal(match[1])}月{read_cardinal(match[2])}{match[3]}"
    return read_cardinal(match[1]) + match.group()[len(match[1]) :].strip()


def _clock(hour: str, minute: str, second: str | None, *, half: bool = True) -> str:
    said = ("两" if int(hour) == 2 else read_cardinal(hour)) + "点"
    if half and int(minute) == _HALF_HOUR and not (second and int(second)):
        said += "半"
    elif int(minute) or (second and int(second)):
        said += _two_digits(minute) + "分"
    if second and int(second):
        said += _two_digits(second) + "秒"
    return said


def _two_digits(number: str) -> str:
    if number.startswith("0"):
        return "零" + (read_cardinal(number[1:]) if number[1:] != "0" else "")
    return read_cardinal(number)


def _time(match: re.Match[str]) -> str:
    before = match.string[: match.start()]
    if SCORE_BEFORE.search(before[-12:]) or (match[3] and CLOCK_BEFORE.search(before[-12:])):
        return match.group()
    half_day = match[8]
    if half_day is None and match[4] is None and match[3] is None and CLOCK_BEFORE.search(before[-12:]):
        return match.group()
    said = _clock(match[1], match[2], match[3])
    if match[4]:
        # parity: the end of a range is "half past" only where its start is
        said += "至" + _clock(match[5], match[6], match[7], half=int(match[2]) == _HALF_HOUR)
    if half_day:
        said = ("上午" if half_day[0] in "aA" else "下午") + said
    return said


def _standard(match: re.Match[str]) -> str:
    """ISO 9001:2015 and GB/T 2828.1-2012: a name and digits, no range of thousands."""
    number = "点".join(map(read_digits, match[2].split(".")))
    return f"{match[1].replace('/', '杠')}{number}{'杠' if match[3] == '-' else ','}{read_digits(match[4])}"


def _hour(match: re.Match[str]) -> str:
    half = match[1] or ("上午" if match[3] in "aA" else "下午")
    return half + _clock(match[2], "0", None)


def _duration(match: re.Match[str]) -> str:
    if not CLOCK_BEFORE.search(match.string[max(0, match.start() - 12) : match.start()]):
        return match.group()
    parts = [part for part in match.groups()[:3] if part]
    names = ("小时", "分", "秒")[3 - len(parts) :]
    said = "".join(_two_digits(part) + name for part, name in zip(parts, names, strict=True))
    return said[:-1] + "点" + read_digits(match[4][1:]) + "秒" if match[4] else said


def _ratio(match: re.Match[str]) -> str:
    parts = re.split("[:：∶]", match.group())
    return "比".join(read_number(part) for part in parts)


def _score(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 12) : match.start()]
    if not SCORE_BEFORE.search(before) and not SCORE_AFTER.match(match.string, match.end()):
        return match.group()
    return f"{read_cardinal(match[1])}比{read_cardinal(match[2])}"
