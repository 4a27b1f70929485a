"""Dates, times of day, durations, years and decades in, words out."""

from __future__ import annotations

import re

from sovits_service.text.en.numbers import cardinal, ordinal, plural, year
from sovits_service.text.spoken import Spoken

_MONTH_NAMES = """January February March April May June July August September October November December""".split()  # noqa: SIM905
_MONTHS = {name: name for name in _MONTH_NAMES} | {name[:3]: name for name in _MONTH_NAMES} | {"Sept": "September"}
_MONTHS |= {name.upper(): full for name, full in _MONTHS.items()}
_WEEKDAYS = {
    "Mon": "Monday",
    "Tue": "Tuesday",
    "Tues": "Tuesday",
    "Wed": "Wednesday",
    "Thu": "Thursday",
    "Thur": "Thursday",
    "Thurs": "Thursday",
    "Fri": "Friday",
    "Sat": "Saturday",
    "Sun": "Sunday",
}
_WEEKDAY_WORDS = "|".join(sorted(_WEEKDAYS, key=len, reverse=True))
_MONTH_WORDS = "|".join(sorted(_MONTHS, key=len, reverse=True))
_FULL_MONTHS = "|".join(name for name in _MONTHS if name.capitalize() in _MONTH_NAMES)
_SHORT_MONTHS = "|".join(
    sorted((name for name in _MONTHS if name.capitalize() not in _MONTH_NAMES), key=len, reverse=True)
)
_MONTH = rf"((?:{_FULL_MONTHS})\b|(?:{_SHORT_MONTHS})(?:\.|\b))"
_YEAR = r"(\d{4})(?![\d,:]\d|\d|\w)"

_WEEKDAY = re.compile(rf"\b({_WEEKDAY_WORDS})\.?(?=,? (?:{_MONTH_WORDS}|\d))|\b({_WEEKDAY_WORDS})\.(?=,)")
_MONTH_DAY = re.compile(
    rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?(?![\d:%]|[,.]\d{{1,3}}(?!\d))(?: ?(?:-|to) ?(\d{{1,2}})(?:st|nd|rd|"
    rf"th)?(?![\d:]))?(?:,? {_YEAR})?"
)
_MONTH_YEAR = re.compile(rf"\b{_MONTH},? {_YEAR}")
_DAY_MONTH = re.compile(
    rf"(?<![\w.,/])(the )?(\d{{1,2}})(st|nd|rd|th)?(?: ?- ?(\d{{1,2}})(?:st|nd|rd|th)?)? (of "
    rf")?{_MONTH}(?![a-z])(?:,? {_YEAR})?",
    re.IGNORECASE,
)
_ISO_DATE = re.compile(r"(?<![\w.\-/])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\w/\-]|\.\d)(?:T(?=\d))?")
_NUMERIC_DATE = re.compile(r"(?<![\w.\-/])(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|(?<=/)\d{2})(?![\w/\-]|\.\d)")
_MONTH_SLASH_DAY = re.compile(
    r"\b([Bb]y|[Oo]n|[Dd]ue|[Uu]ntil|[Ss]ince|[Dd]ate:) (1[0-2]|0?[1-9])/(3[01]|[12]\d|0?[1-9])(?![\d/]|\.\d)"
)
_MONTH_RANGE = re.compile(rf"\b({_MONTH_WORDS})\.? ?- ?({_MONTH_WORDS})\b(?:\.(?=,? ?\w))?")
_HUNDRED_HOURS = re.compile(r"(?<![\w.,:])([01]\d|2[0-3])00 (?:hours|hrs)\b(?:\.(?= [a-z]))?")
_YEAR_MONTH = re.compile(r"(?<![\w.\-/])([12]\d{3})-(0[1-9])(?![\w\-/])")
_MONTH_ALONE = re.compile(
    r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?= ?[a-z,]|$)|\b(?<=in )(Jan|Feb|Apr|Jun|Jul|Aug|Sept?|"
    r"Oct|Nov|Dec)\b"
)

_DAY_RANGE = re.compile(rf"\b({_WEEKDAY_WORDS}) ?- ?({_WEEKDAY_WORDS})\b(?:\.(?=,? ?\w))?")
_MERIDIEM = r"([AaPp])(?:\.\s?[Mm]\b\.?|[Mm]\b\.?)"
_CLOCK = re.compile(rf"(?<![\w.:])(\d{{1,2}})[:.](\d{{2}})(?::(\d{{2}}))?\s?{_MERIDIEM}")
_HOUR = re.compile(rf"(?<![\w.:,])(\d{{1,2}})(?: ?- ?(\d{{1,2}}))?\s?{_MERIDIEM}")
_TIME = re.compile(r"(?<![\w.:/])([01]?\d|2[0-4]):([0-5]\d)(?![\d:]|\w)(?! ?(?:ratio|aspect|scale|odds))")
_LONG_TIME = re.compile(r"(?<![\w.:/])(\d{1,3}):([0-5]\d):([0-5]\d)(?:[.,]\d{1,6})?(?![\d:])Z?")
_DURATION = re.compile(
    r"(?<![\w.])(\d{1,3})h ?(\d{1,2})m(?:in)?(?: ?(\d{1,2})s)?(?!\w)|(?<![\w.])(\d{1,3})m(?:in)? ?(\d{1,2})s(?!\w)"
)
_AT_TIME = re.compile(r"\b(?:at|from|until|till|by|since|before|after|on|is|was) $", re.IGNORECASE)
_TIME_RANGE = re.compile(
    r"(?<=\d) ?- ?(?=\d{1,2}:\d{2}(?!\d))|(?<=[0-9 .][AaPp][Mm]) ?- ?(?=\d)|(?<=[ap]\.m\.) ?- ?(?=\d)"
)
_ZONE = re.compile(r"(?:(?<=M)|(?<=clock)|(?<=[a-z])) \(?(E[SD]T|P[SD]T|C[SD]T|M[SD]T|GMT|UTC|CET|BST|JST)\b\)?")
_UTC_OFFSET = re.compile(r"\b(UTC|GMT) ?([+\-]) ?(\d{1,2})(?!\d)")

_CENTURY_DECADE = re.compile(r"(?<![\w.,'])(1[0-9]|20|21)(\d)0'?s\b")
_DECADE = re.compile(r"(?<![\w.,])'([2-9])0'?s\b|(?<![\w.,'])([2-9])0(?:'s\b|s(?=\b))")
_YEAR_RANGE = re.compile(r"(?<![\w.,\-/$])([12]\d{3}) ?(?:-|/) ?(\d{4}|\d{2})(?![\w\-/]|[.,]\d)")
_SHORT_YEAR = re.compile(r"(?<![\w])'(\d{2})(?![\w'])")
_ERA = re.compile(r"\b(\d{1,4}) ?(BCE?|AD|CE|B\.C\.(?:E\.)?|A\.D\.|C\.E\.)(?!\w)|\b(A\.D\.|AD) (\d{1,4})\b")


def read_dates(text: Spoken) -> Spoken:
    """Dates first, then times, then years that show themselves as such."""
    text = text.sub(_DAY_RANGE, lambda m: f"{_WEEKDAYS[m[1]]} to {_WEEKDAYS[m[2]]}")
    text = text.sub(_WEEKDAY, lambda m: _WEEKDAYS[m[1] or m[2]])
    text = text.sub(_ISO_DATE, lambda m: _date(m, m[1], m[3], m[4]))
    text = text.sub(_NUMERIC_DATE, _numeric_date)
    text = text.sub(_MONTH_SLASH_DAY, _month_slash_day)
    text = text.sub(_MONTH_RANGE, lambda m: f"{_month(m[1])} to {_month(m[2])}")
    text = text.sub(_HUNDRED_HOURS, lambda m: f"{'oh ' if m[1] < '10' else ''}{cardinal(m[1])} hundred hours")
    text = text.sub(_YEAR_MONTH, lambda m: f"{_MONTH_NAMES[int(m[2]) - 1]} {year(m[1])}")
    text = text.sub(_DAY_MONTH, _day_month)
    text = text.sub(_MONTH_DAY, _month_day)
    text = text.sub(_MONTH_YEAR, lambda m: f"{_month(m[1])} {year(m[2])}")
    text = text.sub(_MONTH_ALONE, lambda m: _MONTHS[m[1] or m[2]])
    text = _read_times(text)
    text = text.sub(_ERA, _era)
    text = text.sub(_CENTURY_DECADE, _decade)
    text = text.sub(_DECADE, _short_decade)
    text = text.sub(_YEAR_RANGE, _year_range)
    return text.sub(
        _SHORT_YEAR,
        lambda m: year(f"20{m[1]}").removeprefix("twenty ") if int(m[1]) >= 10 else f"oh {cardinal(m[1])}",
    )


def _read_times(text: Spoken) -> Spoken:
    text = text.sub(_DURATION, _duration)
    text = text.sub(_TIME_RANGE, " to ")
    text = text.sub(_CLOCK, lambda m: _clock(m[1], m[2], m[4]) + _stop(m))
    text = text.sub(
        _HOUR,
        lambda m: (f"{cardinal(m[1])} to {_clock(m[2], '00', m[3])}" if m[2] else _clock(m[1], "00", m[3])) + _stop(m),
    )
    text = text.sub(_LONG_TIME, _long_time)
    text = text.sub(_TIME, lambda m: _time(m[1], m[2]))
    text = text.sub(_UTC_OFFSET, lambda m: f"{' '.join(m[1])} {'plus' if m[2] == '+' else 'minus'} {cardinal(m[3])}")
    return text.sub(_ZONE, lambda m: " " + " ".join(m[1]))


def _month(written: str) -> str:
    bare = written.rstrip(".")
    return _MONTHS.get(bare) or _MONTHS[bare.capitalize()]


def _is_day(month: str | int, day: str | int) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _date(match: re.Match[str], year_digits: str, month: str, day: str) -> str:
    if not _is_day(month, day):
        return match[0]
    ending = " " if match[0].endswith("T") else ""
    return f"{_MONTH_NAMES[int(month) - 1]} {ordinal(day)}, {year(year_digits)}{ending}"


def _numeric_date(match: re.Match[str]) -> str:
    """Month first with slashes and hyphens, as in America, unless that is no month; day first with dots."""
    first, separator, second, year_digits = match.groups()
    if len(year_digits) == 2:
        year_digits = ("19" if int(year_digits) >= 70 else "20") + year_digits
    month, day = (second, first) if separator == "." or int(first) > 12 else (first, second)
    return _date(match, year_digits, month, day)


def _month_slash_day(match: re.Match[str]) -> str:
    """`due 12/31`; `on 9/11` has a name of its own, and `by 1/2` is a half."""
    word, month, day = match.groups()
    if f"{month}/{day}" in ("9/11", "1/2", "1/3", "1/4", "2/3", "3/4"):
        return match[0]
    return f"{word} {_MONTH_NAMES[int(month) - 1]} {ordinal(day)}"


def _month_day(match: re.Match[str]) -> str:
    month, day, last, year_digits = match.groups()
    if not _is_day(1, day):
        return match[0]
    said = f"{_month(month)} {ordinal(day)}"
    if last:
        said += f" to {ordinal(last)}"
    return f"{said}, {year(year_digits)}" if year_digits else said


def _day_month(match: re.Match[str]) -> str:
    article, day, suffix, last, preposition, month, year_digits = match.groups()
    if not _is_day(1, day) or (month.islower() and not (suffix and preposition)):
        return match[0]
    lead = article or ("" if suffix else "the ")
    said = f"{lead}{ordinal(day)}"
    if last:
        said += f" to {ordinal(last)}"
    said += f" {preposition or 'of '}{_month(month)}"
    return f"{said}, {year(year_digits)}" if year_digits else said


def _stop(match: re.Match[str]) -> str:
    """The full stop of `p.m.` that also ends its sentence."""
    rest = match.string[match.end() :]
    return "." if match[0].endswith(".") and (not rest.strip() or re.match(r"\s+[A-Z](?![A-Z]{2})", rest)) else ""


def _minutes(minutes: str) -> str:
    if minutes == "00":
        return ""
    return f" oh {cardinal(minutes)}" if minutes.startswith("0") else f" {cardinal(minutes)}"


def _clock(hour: str, minutes: str, half: str) -> str:
    """A time with a.m. or p.m., which are letters: a capital A, since a small one is the article."""
    return f"{cardinal(hour)}{_minutes(minutes)} {half.upper()} M"


def _time(hour: str, minutes: str) -> str:
    """A time on its own: afternoon hours of the 24-hour clock and midnight hours tell their half of the day."""
    value = int(hour)
    if value >= 13 or value == 0:
        return _clock(str((value - 1) % 12 + 1), minutes, "P" if 13 <= value < 24 else "A")
    if minutes == "00":
        return f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)}{_minutes(minutes)}"


def _count(number: str, unit: str) -> str:
    return f"{cardinal(number)} {unit}{'' if int(number) == 1 else 's'}"


def _long_time(match: re.Match[str]) -> str:
    """`1:23:45` is a duration unless a word before it makes it a time of day."""
    hours, minutes, seconds = match.groups()
    before = match.string[max(0, match.start() - 8) : match.start()]
    if int(hours) < 24 and (_AT_TIME.search(before) or match[0].endswith("Z") or before.endswith("T")):
        return f"{_time(hours, minutes)} and {_count(seconds, 'second')}"
    return " ".join(
        _count(n, unit) for n, unit in ((hours, "hour"), (minutes, "minute"), (seconds, "second")) if int(n)
    )


def _duration(match: re.Match[str]) -> str:
    hours, minutes, seconds, only_minutes, their_seconds = match.groups()
    parts = [(hours, "hour"), (minutes or only_minutes, "minute"), (seconds or their_seconds, "second")]
    return " ".join(_count(number, unit) for number, unit in parts if number)


def _era(match: re.Match[str]) -> str:
    if match[3]:
        return f"A D {year(match[4])}"
    return f"{year(match[1])} {' '.join(c for c in match[2] if c.isalpha())}{_stop(match)}"


def _decade(match: re.Match[str]) -> str:
    century, tens = match.groups()
    if tens == "0":
        return "two thousands" if century == "20" else f"{cardinal(century)} hundreds"
    return f"{cardinal(century)} {plural(cardinal(int(tens) * 10)) if tens != '1' else 'tens'}"


def _short_decade(match: re.Match[str]) -> str:
    """`'90s` and `the 90s`; `90s` elsewhere is a time in seconds, which `quantities` reads."""
    quoted, bare = match.groups()
    if bare and not match[0].endswith("'s"):
        before = match.string[max(0, match.start() - 12) : match.start()]
        if not re.search(
            r"\b(?:the|his|her|their|my|your|our|its|early|late|mid)[ \-]$|ties (?:and|or|to|through) $",
            before,
            re.IGNORECASE,
        ):
            return match[0]
    return plural(cardinal(int(quoted or bare) * 10))


def _year_range(match: re.Match[str]) -> str:
    first, last = match.groups()
    full = last if len(last) == 4 else first[:2] + last
    if int(full) <= int(first) or int(first) > 2199 or int(full) > 2199:
        return match[0]
    last_words = (
        year(last) if len(last) == 4 else cardinal(last) if not last.startswith("0") else f"oh {cardinal(last)}"
    )
    return f"{year(first)} to {last_words}"
