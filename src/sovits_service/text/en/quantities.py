"""Amounts of money, percentages and measures in, words out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sovits_service.text.en.numbers import cardinal, decimal, spell_digits
from sovits_service.text.en.unit_names import (
    CURRENCY_CODES,
    CURRENCY_SIGNS,
    DOLLAR_OF,
    EAST_ASIAN_MAGNITUDES,
    MAGNITUDES,
    PER,
    SPACED_LETTER_UNITS,
    TOUCHING_UNITS,
    UNITS,
)
from sovits_service.text.spoken import Spoken

NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,12}(?:\.\d{1,30})?(?!\d|,\d)|\d+(?:\.\d{1,30})?|\.\d{1,30})"


def _one_of(words: Mapping[str, object] | tuple[str, ...]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_LETTER_MAGNITUDE = r"(?:k|K|m|M|mn|mm|mil|bn|b|B|tn|T)"
_WORD_MAGNITUDE = r"(?:hundred|thousand|lakh|crore|million|billion|trillion|quadrillion)"
_MAGNITUDE = rf"(?:({_LETTER_MAGNITUDE})(?![\w])|[ -]({_WORD_MAGNITUDE})\b|({_one_of(EAST_ASIAN_MAGNITUDES)}))?"
_PER = rf"(?: ?/ ?(?:a )?({_one_of(PER)})(?![\w]))?"
_SIGN = rf"(?:((?<![A-Za-z])(?:{_one_of(DOLLAR_OF)}))?([{''.join(CURRENCY_SIGNS)}])) ?"

_MONEY_RANGE = re.compile(
    rf"(?<![\w.])([{''.join(CURRENCY_SIGNS)}])({NUMBER})({_LETTER_MAGNITUDE}(?!\w))? ?(?:-|to) "
    rf"?\1?({NUMBER}){_MAGNITUDE}{_PER}(?![\d%])"
)
_MONEY = re.compile(rf"((?<!\w)[+\-])?{_SIGN}(-)?({NUMBER}){_MAGNITUDE}{_PER}")
_MONEY_AFTER = re.compile(rf"(?<![\w.])(-)?({NUMBER}){_MAGNITUDE} ?([{''.join(CURRENCY_SIGNS)}])(?![\d.]\d|\d){_PER}")
_RUPEES = re.compile(r"\bRs\.? ?(?=\d)")
_REAIS = re.compile(r"(?<![A-Za-z])R\$ ?(?=\d)")
_CENTS = re.compile(rf"(?<![\w.])({NUMBER}) ?¢")
_CODE_AFTER = re.compile(rf"(?<![\w.])({NUMBER}){_MAGNITUDE} ?({_one_of(CURRENCY_CODES)})(?![A-Za-z]){_PER}")
_CODE_BEFORE = re.compile(rf"(?<![\w.])({_one_of(CURRENCY_CODES)}) ?({NUMBER}){_MAGNITUDE}{_PER}")
_SINGULAR_NOUN = re.compile(
    r" (?!(?:and|or|for|to|in|on|at|a|an|the|per|of|is|was|from|by|with|as|if|but|each|more|less|off|total|now|today|"
    r"that|which|when|so|because|after|before|than|then|every|worth|into|plus|minus|will|would|could)\b)[A-Za-z]{2,}"
)
_ARTICLE = re.compile(r"\b(?:an?|another|one|each|every) $", re.IGNORECASE)

_PERCENT_RANGE = re.compile(rf"(?<![\w.])({NUMBER})%? ?(?:-|to) ?({NUMBER}) ?%")
_PERCENT = re.compile(r" ?%")
_UNIT = rf"(?: ?({_one_of(UNITS)})| ({_one_of(SPACED_LETTER_UNITS)})(?=[ /^.,;:!?)]|$)|({_one_of(TOUCHING_UNITS)}))"
_MEASURE = re.compile(
    rf"(?<![\w.,/])([+\-])?({NUMBER})(?:( ?(?:-|to|x|×) ?)({NUMBER}))?(-)?{_UNIT}(?![\w°²³])"
    r"(?:\^([23]))?(?:\.(?=,| [a-z\d(]))?"
    rf"(?:(?: ?/ ?| per )({_one_of(PER)})(?![\w]))?"
)
_SQUARE = re.compile(r"(?<=[\d ])(sq|cu)\.? (ft|m|km|mi|in|yd|cm|mm)\b")
_SPOONS = re.compile(r"(?<=\d) ?(tb?sp)s?\b(?:\.(?= [a-z]))?")
_ONE = re.compile(r"(?<![\d./])(?<!\d )1$")
_TURN = re.compile(r" (?:turn|angle|rotation|view|lens|video|camera|bend|spin)\b")
_SPACED_INCHES = re.compile(r"(?<=\d) in\.? (?=(?:wide|long|tall|deep|high|thick|by|x)\b)")
_COMPASS = re.compile(r"(?<=\d)° ?([NSEW])(?!\w)")
_COMPASS_POINTS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_FEET_INCHES = re.compile(r"(?<![\w.])(\d{1,2})(?:'|ft) ?(\d{1,2})(?:\"|''|in\b)?(?!\w)")
_INCHES = re.compile(rf"(?<![\w./])({NUMBER})(?:\"|'')(?= ?[a-z]|[,.;]? |$)(?! ?\d)")
_PLAIN_MAGNITUDE = re.compile(
    rf"(?<![\w.,$])(?<!\w-)({NUMBER})(?:(k|bn|mn|(?<=\d\d)K|(?<=\.\d)[KMB]|[KMB](?=\+? (?!was|has|this|does|"
    rf"always)[a-z]{{3,}}s\b))(?![\w])|({_one_of(EAST_ASIAN_MAGNITUDES)}))"
)
_MANY = re.compile(r" (?:people|users|views|views|likes|fans|followers|copies|jobs|tons|years|dollars)\b")
_NEGATIVE = {"-": "negative ", "+": "plus ", None: "", "": ""}


def read_number(number: str) -> str:
    """A number with or without separators and decimals; leading zeros are said."""
    whole, _, fraction = number.replace(",", "").partition(".")
    if fraction:
        return decimal(whole, fraction)
    if len(whole) > 1 and whole.startswith("0"):
        return spell_digits(whole)
    return cardinal(whole)


def read_quantities(text: Spoken) -> Spoken:
    """Money first, since `$5m` is no length; then percent, then measures."""
    text = text.sub(_REAIS, "BRL ").sub(_RUPEES, "₹")
    text = text.sub(_MONEY_RANGE, _money_range)
    text = text.sub(_MONEY, _money)
    text = text.sub(_MONEY_AFTER, _money_after)
    text = text.sub(_CENTS, lambda m: f"{read_number(m[1])} cent{'' if m[1] == '1' else 's'}")
    text = text.sub(_CODE_AFTER, lambda m: _code(m, m[1], (m[2], m[3], m[4]), m[5], m[6]))
    text = text.sub(_CODE_BEFORE, lambda m: _code(m, m[2], (m[3], m[4], m[5]), m[1], m[6]))
    text = text.sub(_PERCENT_RANGE, lambda m: f"{read_number(m[1])} to {read_number(m[2])} percent")
    text = text.sub(_PERCENT, " percent")
    text = text.sub(_SQUARE, lambda m: {"s": "sq", "c": "cu"}[m[1][0]] + m[2]).replace("mmHg", "millimeters of mercury")
    text = text.sub(_SPACED_INCHES, " inches ")
    text = text.sub(_SPOONS, _spoons)
    text = text.sub(_COMPASS, lambda m: f"° {_COMPASS_POINTS[m[1]]}")
    text = text.sub(_FEET_INCHES, lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}")
    text = text.sub(_MEASURE, _measure)
    text = text.sub(_INCHES, _inches)
    return text.sub(_PLAIN_MAGNITUDE, lambda m: f"{_scaled(m[1], (m[2], None, m[3]))} ").replace("  ", " ")


def _scaled(number: str, magnitude: tuple[str | None, str | None, str | None]) -> str:
    """A number and its magnitude in words; `10万` is moved to our thousands."""
    letter, word, east_asian = magnitude
    if east_asian:
        zeros = EAST_ASIAN_MAGNITUDES[east_asian]
        whole, _, fraction = number.replace(",", "").partition(".")
        moved = whole + fraction[:zeros].ljust(zeros, "0")
        rest = fraction[zeros:]
        return decimal(moved, rest) if rest else cardinal(moved)
    scale = MAGNITUDES[letter or word or ""] if letter or word else ""
    return f"{read_number(number)} {scale}".rstrip()


def _per(per: str | None) -> str:
    return f" per {PER[per]}" if per else ""


def _is_adjective(match: re.Match[str]) -> bool:
    """`a $5 bill`, `a 27" screen`: the unit stays singular."""
    start, end = match.start(), match.end()
    return bool(
        _ARTICLE.search(match.string[max(0, start - 9) : start]) and _SINGULAR_NOUN.match(match.string[end:][:40])
    )


def _money_range(match: re.Match[str]) -> str:
    sign, low, low_letter, high, letter, word, east_asian, per = match.groups()
    plural = CURRENCY_SIGNS[sign][1]
    return (
        f"{_scaled(low, (low_letter, None, None))} to {_scaled(high, (letter, word, east_asian))} {plural}{_per(per)}"
    )


def _money(match: re.Match[str]) -> str:
    outer, country, sign, inner, number, letter, word, east_asian, per = match.groups()
    names = CURRENCY_SIGNS[sign]
    if country and sign == "$":
        names = (f"{DOLLAR_OF[country]} dollar", f"{DOLLAR_OF[country]} dollars", names[2], names[3])
    magnitude = (letter, word, east_asian)
    said = _amount(number, magnitude, names, singular=_is_adjective(match))
    lead = " " if match.start() and match.string[match.start() - 1].isalnum() else ""
    return f"{lead}{_NEGATIVE[outer or inner]}{said}{_per(per)}"


def _money_after(match: re.Match[str]) -> str:
    minus, number, letter, word, east_asian, sign, per = match.groups()
    return _NEGATIVE[minus] + _amount(number, (letter, word, east_asian), CURRENCY_SIGNS[sign]) + _per(per)


def _amount(
    number: str,
    magnitude: tuple[str | None, str | None, str | None],
    names: tuple[str, str, str, str],
    singular: bool = False,
) -> str:
    one, many, cent, cents = names
    if singular:
        many = one
    if any(magnitude):
        return f"{_scaled(number, magnitude)} {many}"
    whole, _, fraction = number.replace(",", "").partition(".")
    if not fraction or len(fraction) > 2 or not cent:
        if fraction and set(fraction) == {"0"}:
            fraction = ""
        amount = decimal(whole, fraction) if fraction else cardinal(whole)
        return f"{amount} {one if amount == 'one' else many}"
    units, hundredths = int(whole or "0"), int(fraction.ljust(2, "0"))
    small = f"{cardinal(hundredths)} {cent if hundredths == 1 else cents}"
    if not units:
        return small if hundredths else f"zero {many}"
    main = f"{cardinal(units)} {one if units == 1 else many}"
    return f"{main} and {small}" if hundredths else main


def _code(
    match: re.Match[str],
    number: str,
    magnitude: tuple[str | None, str | None, str | None],
    code: str,
    per: str | None,
) -> str:
    one, many = CURRENCY_CODES[code]
    amount = _scaled(number, magnitude)
    return f"{amount} {one if amount == 'one' else many}{_per(per)}"


def _measure(match: re.Match[str]) -> str:
    sign, first, between, second, hyphen, unit, spaced, touching, power, per = match.groups()
    if touching == "in" and hyphen:
        return match[0]  # 3-in-1
    if _is_decade(match, first, touching):
        return match[0]
    if touching == "m" and _MANY.match(match.string[match.end() :][:12]):
        return f"{read_number(first)} million"
    one, many = UNITS.get(unit or "") or TOUCHING_UNITS[spaced or touching]
    if power:
        kind = {"2": "square ", "3": "cubic "}[power]
        one, many = kind + one, kind + many
    amount = read_number(first)
    if between:
        amount += (" by " if "x" in between or "×" in between else " to ") + read_number(second)
    singular = bool(hyphen) or amount == "one"
    if unit and unit.startswith("°"):
        singular = singular or bool(_TURN.match(match.string[match.end() :][:12]))
    else:
        singular = singular or _is_adjective(match)
    return f"{_NEGATIVE[sign]}{amount} {one if singular else many}{_per(per)}"


def _spoons(match: re.Match[str]) -> str:
    is_one = _ONE.search(match.string[max(0, match.start() - 4) : match.start()])
    return f" {'tea' if match[1] == 'tsp' else 'table'}spoon{'' if is_one else 's'}"


def _inches(match: re.Match[str]) -> str:
    """`27"`, unless the mark closes a quotation."""
    if match.string.count('"', 0, match.start()) % 2:
        return match[0]
    return f"{read_number(match[1])} inch{'' if _is_adjective(match) or match[1] == '1' else 'es'}"


def _is_decade(match: re.Match[str], number: str, unit: str | None) -> bool:
    """`the 1990s`, `in her 30s` and `'90s` are years, `30s` alone is a time."""
    if unit != "s" or not number.isdigit() or not number.endswith("0"):
        return False
    before = match.string[max(0, match.start() - 12) : match.start()].lower()
    return len(number) == 4 or bool(
        len(number) == 2
        and re.search(
            r"(?:'|\b(?:the|his|her|their|my|your|our|its|early|late|mid)[ \-]|ties (?:and|or|to|through) )$", before
        )
    )
