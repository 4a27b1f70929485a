"""Dates, times of day, durations, years and decades in English words."""

from __future__ import annotations

import re

from sovits_service.text.en.numbers import cardinal, ordinal, plural, year
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.kinds.values import Place
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_MONTH_NAMES = """January February March April May June July August September October November December""".split()  # noqa: SIM905
MONTHS = {name: name for name in _MONTH_NAMES} | {name[:3]: name for name in _MONTH_NAMES} | {"Sept": "September"}
MONTHS |= {name.upper(): full for name, full in MONTHS.items()}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAYS = {day[:3]: day for day in _DAYS} | {
    short: day for day in _DAYS for short in ("Tues", "Weds", "Thur", "Thurs") if day.startswith(short[:3])
}
_WEEKDAY_WORDS = alternatives(_WEEKDAYS)
_MONTH_WORDS = alternatives(MONTHS)
_FULLMONTHS = "|".join(name for name in MONTHS if name.capitalize() in _MONTH_NAMES)
_SHORTMONTHS = alternatives(name for name in MONTHS if name.capitalize() not in _MONTH_NAMES)
_MONTH = rf"((?:{_FULLMONTHS})\b|(?:{_SHORTMONTHS})(?:\.|\b))"
_YEAR = r"(\d{4})(?![\d,:]\d|\d|\w)"

_WEEKDAY = LazyPattern(
    rf"\b({_WEEKDAY_WORDS})\.?(?=,? (?:{_MONTH_WORDS}|\d))|\b(Mon|Tues?|Weds?|Thu|Thurs?|Fri)\.|"
    r"\b(Sat|Sun)\.(?=,| (?:and|or|to|through|only|night|morning|afternoon|evening)\b)",
    needs="FMSTW",
)
_WEEKDAY_LIST = LazyPattern(rf"\b(?:{_WEEKDAY_WORDS})\b\.?(?:/(?:{_WEEKDAY_WORDS})\b\.?)+", needs="/")
_MONTH_DAY = LazyPattern(
    rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?(?![\d:%]|[,.]\d{{1,3}}(?!\d))(?: ?(?:-|to) ?(\d{{1,2}})(?:st|nd|rd|"
    rf"th)?(?![\d:]))?(?:,? {_YEAR})?",
    needs="ADFJMNOS",
)
_MONTH_YEAR = LazyPattern(rf"\b{_MONTH},? {_YEAR}", needs="ADFJMNOS")
_DAY_MONTH = LazyPattern(
    rf"(?<![\w.,/])(the )?(\d{{1,2}})(st|nd|rd|th)?(?: ?- ?(\d{{1,2}})(?:st|nd|rd|th)?)? (of "
    rf")?{_MONTH}(?![a-z])(?:,? {_YEAR})?",
    re.IGNORECASE,
)
_MONTH_RANGE = LazyPattern(rf"\b({_MONTH_WORDS})\.? ?[-–—] ?({_MONTH_WORDS})\b(?:\.(?=,| ?\w))?", needs="-–—")
_TO_A_DATE = LazyPattern(rf"(?<=\d) ?[-–—] ?(?=(?:{_MONTH_WORDS})\b\.? \d)", needs="-–—")
_HUNDRED_HOURS = LazyPattern(r"(?<![\w.,:])([01]\d|2[0-3])00 (?:hours|hrs)\b(?:\.(?= [a-z]))?", needs="0")
_MONTH_ALONE = LazyPattern(
    r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?= ?[a-z,]|$)|\b(?<=in )(Jan|Feb|Apr|Jun|Jul|Aug|Sept?|"
    r"Oct|Nov|Dec)\b(?:\.(?= ?\d))?"
)

_DAY_RANGE = LazyPattern(rf"\b({_WEEKDAY_WORDS})\.? ?[-–—] ?({_WEEKDAY_WORDS})\b(?:\.(?=,| ?\w))?", needs="-–—")
_WORKING_WEEK = LazyPattern(r"\bM[-–]F(?= \d)", needs="M")
_ZONES = r"E[SD]?T|P[SD]?T|C[SD]?T|M[SD]T|GMT|UTC|CET|BST|JST"
_ZONE = LazyPattern(rf"(?:(?<= M)|(?<=clock)|(?<=[a-z])) \(?({_ZONES})\b\)?", needs="BCEGJMPU")
_UTC_OFFSET = LazyPattern(r"\b(UTC|GMT) ?([+\-]) ?(?=\d{1,2}(?!\d))", needs="+-")
_TIME_RANGE = LazyPattern(r"(?<=[0-9 .][AaPp][Mm]) ?- ?(?=\d)|(?<=[ap]\.m\.) ?- ?(?=\d)", needs="-")
_CENTURY_DECADE = LazyPattern(r"(?<![\w.,'])(1[0-9]|20|21)(\d)0'?s\b", needs="0")
_DECADE = LazyPattern(r"(?<![\w.,])'([2-9])0'?s\b|(?<![\w.,'])([2-9])0(?:'s\b|s(?=\b))", needs="0")
_YEAR_RANGE = LazyPattern(r"(?<![\w.,\-/$])([12]\d{3}) ?(?:-|/) ?(\d{4}|\d{2})(?![\w\-/]|[.,]\d)", needs="-/")
_SHORT_YEAR = LazyPattern(r"(?<![\w])'(\d{2})(?![\w'])", needs="'")
_ERA = LazyPattern(
    r"\b(\d{1,4}) ?(BCE?|AD|CE|B\.C\.(?:E\.)?|A\.D\.|C\.E\.)(?!\w)|\b(A\.D\.|AD) (\d{1,4})\b", needs="ABC"
)


def read_words(text: Spoken) -> Spoken:
    """Names of days and months without a figure, and what stands between two times."""
    text = text.sub(_DAY_RANGE, lambda m: f"{_WEEKDAYS[m[1]]} to {_WEEKDAYS[m[2]]}")
    text = text.sub(_WORKING_WEEK, "Monday to Friday")
    text = text.sub(_WEEKDAY_LIST, lambda m: ", ".join(_WEEKDAYS[day.rstrip(".")] for day in m[0].split("/")))
    text = text.sub(_WEEKDAY, _weekday)
    text = text.sub(_MONTH_RANGE, lambda m: f"{_month(m[1])} to {_month(m[2])}")
    text = text.sub(_TO_A_DATE, " to ")
    text = text.sub(_MONTH_ALONE, lambda m: MONTHS[m[1] or m[2]])
    text = text.sub(_TIME_RANGE, " to ")
    return text.sub(_UTC_OFFSET, lambda m: f"{' '.join(m[1])} {'plus' if m[2] == '+' else 'minus'} ")


def _weekday(match: re.Match[str]) -> str:
    """The name in full, with a stop where it ends its sentence."""
    rest = match.string[match.end() :]
    ends = match[2] and (not rest.strip() or re.match(r" +[A-Z]", rest))
    return _WEEKDAYS[match[1] or match[2] or match[3]] + ("." if ends else "")


def read_zones(text: Spoken) -> Spoken:
    """`P M ET` as P M E T, once the times are said."""
    return text.sub(_ZONE, lambda m: " " + " ".join(m[1]))


def _month(written: str) -> str:
    bare = written.rstrip(".")
    return MONTHS.get(bare) or MONTHS[bare.capitalize()]


def is_day(month: str | int, day: str | int) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def date(month: int, day: str, year_digits: str) -> str:
    """`5`, `14`, `2024` as May fourteenth, twenty twenty-four."""
    return f"{_MONTH_NAMES[month - 1]} {ordinal(day)}, {year(year_digits)}"


def _month_day(match: re.Match[str]) -> str | None:
    month, day, last, year_digits = match.groups()
    if not is_day(1, day):
        return None
    said = f"{_month(month)} {ordinal(day)}"
    if last:
        said += f" to {ordinal(last)}"
    return f"{said}, {year(year_digits)}" if year_digits else said


def _day_month(match: re.Match[str]) -> str | None:
    article, day, suffix, last, preposition, month, year_digits = match.groups()
    if not is_day(1, day) or (month.islower() and not (suffix and preposition)):
        return None
    lead = article or ("" if suffix else "the ")
    said = f"{lead}{ordinal(day)}"
    if last:
        said += f" to {ordinal(last)}"
    said += f" {preposition or 'of '}{_month(month)}"
    return f"{said}, {year(year_digits)}" if year_digits else said


_AFTER_STOP = LazyPattern(rf"\s*$|\s+(?!\(?(?:{_ZONES})\b)[A-Z](?![A-Z]{{2}})")


def stop(place: Place) -> str:
    """The full stop of `p.m.` that also ends its sentence."""
    return "." if place.text[place.end - 1 : place.end] == "." and _AFTER_STOP.match(place.after) else ""


def _minutes(minutes: str) -> str:
    if minutes == "00":
        return ""
    return f" oh {cardinal(minutes)}" if minutes.startswith("0") else f" {cardinal(minutes)}"


def clock(hour: str, minutes: str, half: str) -> str:
    """A time with a.m. or p.m., which are letters: a capital A, since a small one is the article."""
    return f"{cardinal(hour)}{_minutes(minutes)} {half.upper()} M"


def time_of_day(hour: str, minutes: str) -> str:
    """A time on its own: afternoon hours of the 24-hour clock and midnight hours tell their half of the day."""
    value = int(hour)
    if value >= 13 or value == 0:
        return clock(str((value - 1) % 12 + 1), minutes, "P" if 13 <= value < 24 else "A")
    return f"{cardinal(hour)} o'clock" if minutes == "00" else f"{cardinal(hour)}{_minutes(minutes)}"


def duration(hours: str, minutes: str, seconds: str) -> str:
    """`1`, `23`, `45` as one hour twenty-three minutes forty-five seconds; what is nothing is not said."""
    parts = ((hours, "hour"), (minutes, "minute"), (seconds, "second"))
    return " ".join(f"{cardinal(n)} {unit}{'' if int(n) == 1 else 's'}" for n, unit in parts if n and int(n))


def _written_duration(match: re.Match[str]) -> str:
    hours, minutes, seconds, only_minutes, their_seconds = match.groups()
    return duration(hours or "", minutes or only_minutes or "", seconds or their_seconds or "")


def _era(match: re.Match[str]) -> str:
    if match[3]:
        return f"A D {year(match[4])}"
    letters = " ".join(c for c in match[2] if c.isalpha())
    return f"{year(match[1])} {letters}{stop(Place(match.string, match.start(), match.end()))}"


def _decade(match: re.Match[str]) -> str:
    century, tens = match.groups()
    if tens == "0":
        return "two thousands" if century == "20" else f"{cardinal(century)} hundreds"
    return f"{cardinal(century)} {plural(cardinal(int(tens) * 10)) if tens != '1' else 'tens'}"


def _short_decade(match: re.Match[str]) -> str | None:
    """`'90s` and `the 90s`; `90s` elsewhere is a time in seconds, a unit."""
    quoted, bare = match.groups()
    if bare and not match[0].endswith("'s"):
        before = match.string[max(0, match.start() - 12) : match.start()]
        if not re.search(
            r"\b(?:the|his|her|their|my|your|our|its|early|late|mid)[ \-]$|\d0s (?:and|or|to|through) $",
            before,
            re.IGNORECASE,
        ):
            return None
    return plural(cardinal(int(quoted or bare) * 10))


def _year_range(match: re.Match[str]) -> str | None:
    first, last = match.groups()
    full = last if len(last) == 4 else first[:2] + last
    if int(full) <= int(first) or int(first) > 2199 or int(full) > 2199:
        return None
    last_words = (
        year(last) if len(last) == 4 else cardinal(last) if not last.startswith("0") else f"oh {cardinal(last)}"
    )
    return f"{year(first)} to {last_words}"


DATE_RULES = (
    (
        LazyPattern(
            r"(?<![\w.])(\d{1,3})h ?(\d{1,2})m(?:in)?(?: ?(\d{1,2})s)?(?!\w)"
            r"|(?<![\w.])(\d{1,3})m(?:in)? ?(\d{1,2})s(?!\w)"
        ),
        _written_duration,
    ),
    (_HUNDRED_HOURS, lambda m: f"{'oh ' if m[1] < '10' else ''}{cardinal(m[1])} hundred hours"),
    (_DAY_MONTH, _day_month),
    (_MONTH_DAY, _month_day),
    (_MONTH_YEAR, lambda m: f"{_month(m[1])} {year(m[2])}"),
    (LazyPattern(r"c(?:a|irc)?\. ?(\d{3,4})(?!\d)", needs="."), lambda m: f"circa {year(m[1])}"),
    (_ERA, _era),
    (_CENTURY_DECADE, _decade),
    (_DECADE, _short_decade),
    (_YEAR_RANGE, _year_range),
    (
        _SHORT_YEAR,
        lambda m: year(f"20{m[1]}").removeprefix("twenty ") if int(m[1]) >= 10 else f"oh {cardinal(m[1])}",
    ),
)
"""What begins with a figure, or with a word before one."""
