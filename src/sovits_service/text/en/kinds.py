"""How English says numbers, amounts, clocks, telephones and figures of every kind (American, without "and")."""

from __future__ import annotations

import re

from sovits_service.text.en.amounts import DIMENSION_OF, SIGNS, is_adjective, names_of_unit, say_amount, say_range
from sovits_service.text.en.currencies import CURRENCIES, EAST_ASIAN_SCALES, LETTER_SCALES, PER, SCALES
from sovits_service.text.en.dates import DATE_RULES, MONTHS, clock, date, duration, is_day, stop, time_of_day
from sovits_service.text.en.figures import (
    ALNUM,
    alphanumeric,
    password,
    read_number,
)
from sovits_service.text.en.numbers import (
    cardinal,
    ordinal,
    ordinal_of_words,
    plural,
    spell_digits,
    year,
)
from sovits_service.text.kinds.find import NUMBER, reader
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

_LETTER_UNITS = ("m", "g", "L", "l", "h", "s", "V", "W")
_TOUCHING = (*_LETTER_UNITS, "us", "Pa", "in")
_NOT_UNITS = frozenset((*_TOUCHING, "A", "N", "J", "B", "%p", "t", "ℓ", "K", "rad", "Gs"))
_FAMOUS = {("24", "7"): "twenty-four seven", ("9", "11"): "nine eleven", ("20", "20"): "twenty twenty"}
_OPERATORS = {
    "+": "plus", "-": "minus", "×": "times", "*": "times", "÷": "divided by",
    "/": "divided by", "=": "equals", "<": "is less than", ">": "is greater than", "≤": "is at most",
    "≥": "is at least", "≠": "does not equal", "≈": "is about", "±": "plus or minus", "√": "the square root of",
    "∠": "angle",
}  # fmt: skip
_STATE = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)


def say(value: Value, place: Place) -> str | None:
    """The words of a value in its place; None where it is no such thing there."""
    match value:
        case Amount():
            return say_amount(value, place)
        case Range(first=Amount() as first, last=Amount() as last, between=between):
            return say_range(first, last, between, place)
        case Range(first=Clock() as first, last=Clock() as last):
            low, high = _clock(first, Place("", 0, 0)), _clock(last, place)
            if first.minute == "" and not first.half:
                low = cardinal(first.hour)
            return f"{low} to {high}" if low and high else None
        case Clock():
            return _clock(value, place)
        case Date():
            return _date(value, place)
        case Telephone(groups=groups, plus=plus):
            return ("plus " if plus else "") + ", ".join(map(_phone_group, groups))
        case Digits():
            return _groups(value, place)
        case Fraction():
            return _fraction(value, place)
        case Power(number=number, exponent=exponent):
            power = f"negative {cardinal(exponent[1:])}" if exponent.startswith("-") else cardinal(exponent)
            return f"{read_number(number.digits)} times ten to the power of {power}"
        case Formula(terms=terms):
            return _formula(terms, place)
        case Standard(name=name, number=number, year=year_digits):
            return f"{name.replace('/', ' ')} {_standard_number(number)}, {year(year_digits)}"
    return None


def _standard_number(number: str) -> str:
    """`9001` as nine thousand one, as people say it, `2828.1` as twenty-eight twenty-eight point one."""
    whole, _, part = number.partition(".")
    said = year(whole) if len(whole) == 4 else spell_digits(whole) if len(whole) > 4 else cardinal(whole)
    return f"{said} point {spell_digits(part)}" if part else said


def _phone_group(digits: str) -> str:
    return f"{cardinal(digits[0])} hundred" if digits in ("800", "900") else spell_digits(digits)


def _date(value: Date, place: Place) -> str | None:
    if value.written == "md":
        return _month_slash_day(value.month, value.day, place)
    if value.written == "ym":
        return f"{MONTHS_OF_YEAR[int(value.month) - 1]} {year(value.year)}" if value.month[0] == "0" else None
    year_digits, month, day = value.year, value.month, value.day
    if value.written == "dmy":
        # month first with slashes and hyphens, as in America, unless that is no month; day first with dots
        if len(year_digits) == 2:
            year_digits = ("19" if int(year_digits) >= 70 else "20") + year_digits
        is_dotted = "." in place.text[place.start : place.end]
        if not (is_dotted or int(day) > 12):
            month, day = day, month
    if not is_day(month, day):
        return None
    ending = " " if place.after[:1] == "T" else ""
    return date(int(month), day, year_digits) + ending


MONTHS_OF_YEAR = tuple(dict.fromkeys(MONTHS.values()))


def _month_slash_day(month: str, day: str, place: Place) -> str | None:
    """`due 12/31`; `on 9/11` has a name of its own, and `by 1/2` is a half."""
    if f"{month}/{day}" in ("9/11", "1/2", "1/3", "1/4", "2/3", "3/4"):
        return None
    dated = re.search(
        r"\b(?:by|on|due|until|since|date:|ends|starts|begins|expires|from|through|"
        r"(?:day|date|birthday|deadline|exam|wedding|party|appointment|anniversary) (?:is|was)) $",
        place.before,
        re.IGNORECASE,
    )
    if not dated and not re.match(r" at \d", place.after):
        return None
    return f"{MONTHS_OF_YEAR[int(month) - 1]} {ordinal(day)}"


_LASTED = LazyPattern(r"\b(?:record|mark|best|duration|length|runtime|lasted|ran)\b[^.!?]{0,14}$", re.IGNORECASE)


def _clock(value: Clock, place: Place) -> str | None:
    hour, minute, second, half = value.hour, value.minute, value.second, value.half
    if half:
        return (clock(hour, minute or "00", half) + stop(place)) if int(hour) <= 24 else None
    if second:
        is_time = (
            int(hour) < 24
            and not _LASTED.search(place.before)
            and (
                re.search(r"\b(?:at|from|until|till|by|since|before|after|on|is|was) $|T$", place.before, re.IGNORECASE)
                or place.after.startswith("Z")
            )
        )
        seconds = duration("", "", second) or "zero seconds"
        return f"{time_of_day(hour, minute)} and {seconds}" if is_time else duration(hour, minute, second)
    if not minute or int(hour) > 24 or re.match(" ?(?:ratio|aspect|scale|odds)", place.after):
        return None
    return time_of_day(hour, minute)


def _groups(value: Digits, place: Place) -> str | None:
    groups = value.groups
    match value.mark:
        case ".":
            return " point ".join(
                spell_digits(group) if len(group) > 1 and group[0] == "0" else cardinal(group) for group in groups
            )
        case "-" | " ":
            return ", ".join(map(_phone_group, groups))
        case "/":
            return " slash ".join(map(cardinal, groups))
        case "x":
            if re.match(r"\s?=", place.after):
                return None
            unit = f" {names_of_unit(value.unit)[_is_many(value.unit, place)]}" if value.unit else ""
            if not unit and re.search(" [x*×] ", place.text[place.start : place.end]):
                return " times ".join(map(read_number, groups))
            sides = (year(group) if len(group) == 4 and group.isdigit() else read_number(group) for group in groups)
            return " by ".join(sides) + unit
        case _:
            return " to ".join(map(read_number, groups))


def _is_many(unit: str, place: Place) -> bool:
    return not (unit.startswith("-") or is_adjective(place) or DIMENSION_OF.match(place.after))


_GRADED = LazyPattern(
    r" (?:on|in|for) (?:the|my|his|her|their|our|a|this|that) (?:quiz|test|exam|midterm|final|paper|assignment|essay)\b"
)
_RATED = LazyPattern(
    r"\b(?:solid|easy|strong|rat(?:e[sd]?|ing)(?: of| it| this)?|gave (?:it|this|them)|"
    r"give (?:it|this)|scored?|a) (?:an? )?$"
)


def _fraction(value: Fraction, place: Place) -> str | None:
    top, bottom = value.top, value.bottom
    if bottom in ("5", "10", "100") and _RATED.search(place.before):
        return f"{read_number(top)} out of {cardinal(bottom)}"
    if _GRADED.match(place.after) or "." in top or "." in bottom:
        return f"{read_number(top)} out of {read_number(bottom)}"
    unit = f" {names_of_unit(value.unit)[1]}" if value.unit else ""
    if value.unit == "mmHg":
        return f"{cardinal(top)} over {cardinal(bottom)}{unit}"
    if not value.whole and (top, bottom) in _FAMOUS:
        return _FAMOUS[top, bottom]
    said = _share(top, bottom)
    if value.whole:
        if not 0 < int(top) < int(bottom):
            return None
        said = said.replace("one", "a", 1) if said in ("one half", "one quarter") else said
        said = f"{cardinal(value.whole)} and {said}"
    elif unit and said == "one half":
        said, unit = "half", f" a {names_of_unit(value.unit)[0]}"
    elif unit:
        unit = " of a" + ("n" if unit[1] in "aeiou" else "") + f" {names_of_unit(value.unit)[0]}"
    return SIGNS["-" if value.sign else ""] + said + unit


def _share(top: str, bottom: str) -> str:
    """`2/3` as two thirds; pairs that are no fraction of anything with over."""
    above, below = int(top), int(bottom)
    if above + below == 100 and above % 10 == 0:
        return f"{cardinal(above)} {cardinal(below)}"  # shares of a whole: 80/20
    if above == below and above > 1:
        return f"{cardinal(above)} out of {cardinal(below)}"
    if below == 1 and above <= 1:
        return cardinal(above)
    if not above > 0 or below < 2 or (above > below and below > 10) or below > 1000:
        return f"{cardinal(above)} over {cardinal(below)}"
    name = "half" if below == 2 else ordinal_of_words(cardinal(below))
    return f"{cardinal(above)} {name if above == 1 else plural(name)}"


def _formula(terms: tuple[Term, ...], place: Place) -> str | None:
    """Letters stay apart from words; a power is `squared`, `cubed` or `to the power of`."""
    times = [term for term in terms if term.text in ("×", "*")]
    is_plain = all(term.kind in ("number", "letter") and not term.unit for term in terms if term not in times)
    if is_plain and len(times) == len(terms) // 2 and not place.after.startswith("="):
        return None  # 1920x1080 is a size
    if re.search(r"\d ?$", place.before):
        return None  # 9.8 m/s^2
    return f" {' '.join(map(_term, terms))} "


def _term(term: Term) -> str:
    match term:
        case Term("power", exponent):
            return {"2": "squared", "3": "cubed"}.get(exponent) or f"to the power of {_exponent(exponent)}"
        case Term("number", digits, unit):
            return read_number(digits) + {"%": " percent", "°": " degrees"}.get(unit, "")
        case Term("negative"):
            return "negative"
    return _OPERATORS.get(term.text, term.text)


def _exponent(exponent: str) -> str:
    if exponent.lstrip("-").isdigit():
        return SIGNS["-" if exponent[0] == "-" else ""] + cardinal(exponent.lstrip("-"))
    return exponent


def _inches(match: re.Match[str]) -> str | None:
    """`27"`, unless the mark closes a quotation."""
    if match.string.count('"', 0, match.start()) % 2:
        return None
    place = Place(match.string, match.start(), match.end())
    return f"{read_number(match[1])} inch{'' if is_adjective(place) or match[1] == '1' else 'es'}"


def _loss(match: re.Match[str]) -> str:
    """`$(12.5)M`, as accountants write a loss."""
    scale = LETTER_SCALES.get(match[2] or "", "")
    return f"negative {read_number(match[1])} {scale} dollars".replace("  ", " ")


def _times(match: re.Match[str]) -> str | None:
    """`3x faster`, but not the 2x of a text in which x is a variable."""
    return None if _VARIABLE_X.search(match.string) else f"{read_number(match[1])} times"


_VARIABLE_X = LazyPattern(r"(?<![A-Za-z\d])x ?[\^=+]|\b(?:derivative|equation|polynomial|integral)s?\b")
_OWN = (
    *DATE_RULES,
    (LazyPattern(r"(?<![\w.,/])(\d{1,6})/(\d{1,6})(?:th|rd|nd|st)s?(?!\w)", needs="/"), lambda m: _share(m[1], m[2])),
    (LazyPattern(rf"({_STATE}) (\d{{5}})(?:-(\d{{4}}))?(?![\d\-])"),
     lambda m: f"{' '.join(m[1])} {spell_digits(m[2])}" + (f", {spell_digits(m[3])}" if m[3] else "")),
    (LazyPattern(r"[A-Za-z\d$@#!%&*_+\-.]{4,40}"), password),
    (LazyPattern(rf"\$ ?\(({NUMBER})\)(bn|[BMKk])?(?!\w)", needs="$"), _loss),
    (LazyPattern(rf"(?<![\w.])({NUMBER}) ?¢", needs="¢"),
     lambda m: f"{read_number(m[1])} cent{'' if m[1] == '1' else 's'}"),
    (LazyPattern(r"(?:(?<=[.!?] )|^)(\d{1,2})[.)] (?=[A-Za-z'\"])", needs=")."), lambda m: f"{ordinal(m[1])}, "),
    (LazyPattern(r"~ ?(?=[\d$£€])", needs="~"), lambda _: "about "),
    (LazyPattern(r"(?<![^\s(])<(?=\d)", needs="<"), lambda _: "less than "),
    (LazyPattern(r"(?<![^\s(])>(?=\d)", needs=">"), lambda _: "more than "),
    (LazyPattern(r"(?<![\w&#])#(?=\d)|(?:No|NO|no)\. ?(?=\d)", needs="#."), lambda _: "number "),
    (LazyPattern(r"[Nn]os\. ?(?=\d)", needs="."), lambda _: "numbers "),
    (LazyPattern(rf"(?<![\w.])({NUMBER})[xX×](?![\w\d])", needs="Xx×"), _times),
    (LazyPattern(r"(?<![\w.])(\d{1,3}(?:,\d{3}){1,10}|\d{1,30})(?:st|nd|rd|th|ST|ND|RD|TH)\b"),
     lambda m: ordinal(m[1].replace(",", ""))),
    (LazyPattern(r"(?<![\w.])(\d{1,2})(?:'|ft) ?(\d{1,2})(?:\"|''|in\b)?(?!\w)", needs="'f"),
     lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}"),
    (LazyPattern(rf"(?<![\w./])({NUMBER})(?:\"|'')(?= ?[a-z]|[,.;]? |$)(?! ?\d)", needs="\"'"), _inches),
    (LazyPattern(r"(?<![\w.,\-])(\d{1,6})-to-(\d{1,6})(?=-[a-z]|(?![\w\-]))", needs="-"),
     lambda m: f"{cardinal(m[1])} to {cardinal(m[2])}"),
    (LazyPattern(r"(?<![\w.,])\d{1,3}(?:[ \u202f]\d{3}){1,5}(?![\w]|[.,]\d)"),
     lambda m: cardinal(re.sub(r"\D", "", m[0]))),
    (LazyPattern(rf"(?<![\w.,$])(?<!\w-)({NUMBER})(k|bn|mn|(?<=\d\d)K|(?<=\.\d)[KMB]|[KMB](?=\+? (?!was|has|this|does|"
                rf"always)[a-z]{{3,}}s\b))(?![\w])"), lambda m: f"{read_number(m[1])} {LETTER_SCALES[m[2]]}"),
)  # fmt: skip
_TELEPHONES = (
    LazyPattern(
        r"(?<![\w.,\-+])(?:(\+\d{1,3})[ .\-]?|(1)[ .\-])?(?:\((\d{2,4})\) ?|"
        r"(\d{3})[ .\-])(\d{3,4})[ .\-](\d{4})(?![\w\-]|[.,]\d)"
    ),
    LazyPattern(r"(?<![\w.,\-+])\+\d{1,3}(?:[ .\-]?\(?\d{1,5}\)?){1,5}(?![\w\-]|[.,]\d)", needs="+"),
    LazyPattern(r"(?<![\w.,\-+$])(\d{3})-(\d{4})(?![\w\-]|[.,]\d)", needs="-"),
)


def _habits() -> Habits:
    apart = alternatives([sign for sign in unit_names("en") if sign not in _NOT_UNITS])
    letters = "|".join(_LETTER_UNITS)
    return Habits(
        currencies=CURRENCIES,
        scales=rf"-?(?:{'|'.join(SCALES)})\b|{alternatives(EAST_ASIAN_SCALES)}",
        telephones=_TELEPHONES,
        between=r" ?(?:--?|~|–) ?| to ",
        no_sign_after=r"\w)\]'\".,",
        per=PER,
        apart_units=rf"{apart}|(?<= )(?:{letters})(?=[ /^,;:!?)]|$|\.(?! \d))",
        touching_units=rf"-(?:{apart})|{alternatives(_TOUCHING)}",
        unit_end=r"(?![\w°²³])(?:\.(?=,| [a-z\d(]))?",
        money_scales=rf"(?:{alternatives(LETTER_SCALES)})(?![A-Za-z])",
        letter_scales=LETTER_SCALES,
        own=_OWN,
        last=((ALNUM, alphanumeric),),
    )


read = reader(_habits, say)
