"""How English says amounts: numbers with units, money, and ranges of them."""

from __future__ import annotations

import re

from sovits_service.text.en.currencies import CURRENCIES, EAST_ASIAN_SCALES, PER
from sovits_service.text.en.figures import ALNUM, NAMED_AFTER, named, plain_words, read_number
from sovits_service.text.en.numbers import cardinal, decimal, plural
from sovits_service.text.kinds.units import unit_names
from sovits_service.text.kinds.values import Amount, Place
from sovits_service.text.lazy_pattern import LazyPattern

SIGNS = {"-": "negative ", "+": "plus ", "±": "plus or minus ", "": ""}
_SINGULAR_NOUN = LazyPattern(
    r" (?!(?:and|or|for|to|in|on|at|a|an|the|per|of|is|was|from|by|with|as|if|but|each|more|less|off|total|now|today|"
    r"that|which|when|so|because|after|before|than|then|every|worth|into|plus|minus|will|would|could)\b)[A-Za-z]{2,}"
)
_ARTICLE = LazyPattern(r"\b(?:an?|another|one|each|every) $", re.IGNORECASE)
_TURN = LazyPattern(r" (?:turn|angle|rotation|view|lens|video|camera|bend|spin)\b")
DIMENSION_OF = LazyPattern(
    r" (?:ceilings?|fence|wall|race|relay|freestyle|butterfly|hurdles|sprint|dash|pool|radius|cable|tape|lens)\b"
)
_POWERED = LazyPattern(r" (?:charg|bulb|speaker|adapter|panel|motor|amplifier|power)")
_MANY = LazyPattern(r" (?:people|users|views|likes|fans|followers|copies|jobs|tons|years|dollars)\b")
_DECADE_BEFORE = LazyPattern(
    r"(?:'|\b(?:the|his|her|their|my|your|our|its|early|late|mid)[ \-]|\d0s (?:and|or|to|through) )$", re.IGNORECASE
)


def names_of_unit(unit: str) -> tuple[str, str]:
    """A unit in the singular and the plural."""
    one, slash, many = unit_names("en")[unit.strip(" .-")].partition("/")
    return one, many or (
        one if slash else one.replace("degree", "degrees") if " " in one and "degree" in one else one + "s"
    )


def _scaled(value: Amount) -> str:
    """A number and its scale in words; `10万` is moved to our thousands."""
    digits, scale = value.number.digits, value.scale.strip(" -")
    if scale in EAST_ASIAN_SCALES:
        zeros = EAST_ASIAN_SCALES[scale]
        whole, _, fraction = digits.partition(".")
        moved, rest = whole + fraction[:zeros].ljust(zeros, "0"), fraction[zeros:]
        return decimal(moved, rest) if rest else cardinal(moved)
    return f"{read_number(digits)} {scale}".rstrip()


def is_adjective(place: Place) -> bool:
    """`a $5 bill`, `a 27" screen`: the unit stays singular."""
    return bool(_ARTICLE.search(place.before[-9:]) and _SINGULAR_NOUN.match(place.after))


def say_amount(value: Amount, place: Place) -> str | None:
    lead = " " if place.before[-1:].isalnum() and value.unit else ""
    per = f" per {PER[value.per]}" if value.per else ""
    if value.is_money:
        return f"{lead}{SIGNS[value.number.sign]}{_money(value, is_adjective(place))}{per}"
    if value.unit:
        return _measure(value, place, per)
    if value.number.sign:
        return (
            SIGNS[value.number.sign] + (_plain(value, place) or "")
            if value.number.sign != "-" or not re.search(r"[\w)\]'\".,]$", place.before)
            else None
        )
    if value.scale:
        return f"{_scaled(value)}{' ' if place.after[:1].isalpha() else ''}"
    if re.match(r"[A-Za-z]|-[A-Za-z\d]", place.after) or re.search(r"[A-Za-z]-?$", place.before):
        return None if ALNUM.match(place.text, place.start) else _plain(value, place)
    return _plain(value, place)


def _money(value: Amount, singular: bool = False) -> str:
    names = CURRENCIES[value.unit]
    one, many = names[:2]
    if singular:
        many = one
    if value.scale:
        return f"{_scaled(value)} {many}"
    whole, fraction = value.number.whole, value.number.fraction
    if not fraction or len(fraction) > 2 or len(names) < 4:
        fraction = "" if set(fraction) == {"0"} else fraction
        amount = decimal(whole, fraction) if fraction else cardinal(whole)
        return f"{amount} {one if amount == 'one' else many}"
    units, hundredths = int(whole or "0"), int(fraction.ljust(2, "0"))
    small = f"{cardinal(hundredths)} {names[2] if hundredths == 1 else names[3]}"
    if not units:
        return small if hundredths else f"zero {many}"
    main = f"{cardinal(units)} {one if units == 1 else many}"
    return f"{main} and {small}" if hundredths else main


def _measure(value: Amount, place: Place, per: str = "") -> str | None:
    unit = value.unit.strip(" .-")
    digits = value.number.digits
    is_hyphened = value.unit.startswith("-")
    if unit == "in" and is_hyphened:
        return None  # 3-in-1
    is_decade = len(digits) == 4 or (len(digits) == 2 and _DECADE_BEFORE.search(place.before))
    if unit == "s" and digits.isdigit() and digits.endswith("0") and is_decade:
        return None  # the 1990s, in her 30s
    if unit == "s" and NAMED_AFTER.search(place.before):
        return plural(named(digits)) if len(digits) == 3 else None  # Boeing 747s
    amount = _scaled(value) + (" plus" if value.more else "")
    if unit == "m" and _MANY.match(place.after):
        return f"{amount} million"
    one, many = names_of_unit(unit)
    if unit == "bps" and float(digits) < 1000:
        one, many = "basis point", "basis points"
    singular = is_hyphened or amount == "one"
    singular = singular or (unit in ("m", "km", "cm", "mm", "ft") and DIMENSION_OF.match(place.after) is not None)
    singular = singular or bool(_TURN.match(place.after)) if unit.startswith("°") else singular or is_adjective(place)
    singular = singular or (unit == "W" and _POWERED.match(place.after) is not None)
    is_end = value.unit.endswith(".") and re.match(r"\s*$|\s+[A-Z][a-z]", place.after) is not None
    return f"{SIGNS[value.number.sign]}{amount} {one if singular else many}{per}{'.' if is_end else ''}"


def say_range(first: Amount, last: Amount, between: str, place: Place) -> str | None:
    low, high = first.number, last.number
    if first.unit or last.unit or last.scale:
        if first.is_money and not last.is_money and not last.unit:
            last = Amount(last.number, first.unit, True, last.scale, last.per)
        if last.is_money and (not first.unit or first.unit == last.unit):
            per = f" per {PER[last.per]}" if last.per else ""
            same = first.unit == last.unit and ((not low.fraction and not high.fraction) or last.scale)
            start = _scaled(first) if same or not first.unit else _money(first)
            return f"{SIGNS[low.sign]}{start} to {_money(last)}{per}"
        if (first.unit and last.unit != first.unit) or first.is_money or last.is_money:
            return None
        per = f" per {PER[last.per]}" if last.per else ""
        end = _measure(last, Place(place.text, place.end, place.end), per) if last.unit else _scaled(last)
        return f"{SIGNS[low.sign]}{_scaled(first)} to {end}" if end else None
    if low.sign or high.sign or "to" in between:
        return None
    if re.match(r"-[a-z]|[A-Za-z\d/]|-\d|[.,]\d", place.after):
        if not re.match("-[a-z]", place.after):
            return None
        return f"{read_number(low.digits)} to {read_number(high.digits)}"
    falls = " - " in between and float(low.digits) > float(high.digits)
    if falls or (" - " in between and place.after.lstrip().startswith("=")):
        return f"{read_number(low.digits)} minus {read_number(high.digits)}"
    if re.match(" ?[+×÷*]", place.after):
        return None
    if re.search(r"\b(?:Boeing|Airbus) $", place.before):
        return f"{named(low.digits)} {named(high.digits)}"
    return f"{plain_words(first, place)} to {plain_words(last, place)}"


def _plain(value: Amount, place: Place) -> str:
    """A figure on its own, kept apart from letters that touch it."""
    lead = " " if place.before[-1:].isalpha() else ""
    more = " plus " if value.more else ""
    return f"{lead}{plain_words(value, place)}{more}{' ' if place.after[:1].isalpha() else ''}"
