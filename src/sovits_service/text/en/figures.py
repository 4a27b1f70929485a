"""Figures without a unit: codes, names, years, model numbers and passwords, told apart by their context."""

from __future__ import annotations

import re

from sovits_service.text.en.dates import MONTHS
from sovits_service.text.en.numbers import cardinal, decimal, plural, spell_digits, year
from sovits_service.text.kinds.values import Amount, Place
from sovits_service.text.lazy_pattern import LazyPattern

CODE_DIGITS = 11  # a figure of so many digits without commas that counts nothing is a code, and said digit by digit

_COUNTED = LazyPattern(
    r" (?!(?:was|is|has|as|this|its|his|us|yes|does|plus|minus|across|always|perhaps|towards|besides|unless|less|"
    r"means|shows|appears|occurs|happens|gives|returns|seems|says|comes|goes|looks|gets|runs|works|leaves|arrives|departs|hits|"
    r"news|thus)\b)"
    r"(?:[a-z]+ing |[a-z]+ed |new |old |more |other |different |small |large )?(?:[a-z]{2,}s|people|men|women|"
    r"children|feet|percent)\b"
)
_YEAR_BEFORE = LazyPattern(
    r"\b(?:in|since|by|until|till|from|of|before|after|during|circa|year|early|late|mid|summer|spring|fall|autumn|"
    rf"winter|and|to|class|the|{'|'.join(sorted(set(MONTHS.values())))}),? $",
    re.IGNORECASE,
)
_MODEL_BEFORE = LazyPattern(r"\b[A-Z]{2,5} $")
# Words that make the digits after them a code, said one by one
_SPELT_AFTER = LazyPattern(
    r"\b(?:code|pin|passcode|password|zip|id|otp|account|card|extension|ext\.?|tracking|serial|dial|call|phone|"
    r"telephone|mobile|tel\.?|fax|text|ticket|isbn|license|invoice|order|confirmation|case|reference|routing|policy|"
    r"ending in|ends in|last four(?: digits)?)(?:(?: (?:number|no\.?|code|is|at|on|me|was))*(?::? ?#? ?| ))$",
    re.IGNORECASE,
)
_NUMBERED = LazyPattern(r"(?:no\.?|number|#|code|zip|pin|otp) ?$", re.IGNORECASE)
# Words that make it a name, said in pairs: Room 305, Highway 101, Error 404
NAMED_AFTER = LazyPattern(
    r"\b(?:room|rm\.?|suite|ste\.?|apt\.?|apartment|flat|highway|hwy\.?|interstate|route|flight|gate|error(?: code)?|"
    r"status(?: code)?|http|bus|area code|boeing|airbus|porsche|peugeot|ferrari|fahrenheit|"
    r"bio|chem|econ|maths?|physics|psych|cs|calc|stats|english|biology|chemistry|economics|psychology|sociology|"
    r"philosophy)(?: (?:is|was|of))? #?$",
    re.IGNORECASE,
)
_VERSION_OF = LazyPattern(r"\b(?:Python|Ubuntu|Django|Node|Rust|Go|Kotlin|[Vv]ersion) $")
_MAILED_TO = LazyPattern(
    r"\b(?:send|ship|deliver|mail|sent|shipped|delivered)\b[^.!?]{0,12} to $", re.IGNORECASE, needs="Tt"
)
_EMERGENCY = frozenset(("911", "999", "112", "110", "119", "111", "988"))
_CALLED = LazyPattern(r"\b(?:dial|call|ring|phone)(?:s|ed|ing)?\b", re.IGNORECASE)
_TEXTED_TO = LazyPattern(r"\b(?:text|sms)\b[^.!?]{0,16} to $", re.IGNORECASE)
_PASSWORD = LazyPattern(r"\b(?:password|passcode|passphrase)(?: (?:is|was))?:? $", re.IGNORECASE, needs="Pp")
_CHARACTERS = {"$": "dollar", "#": "pound", "@": "at", "!": "exclamation mark", "%": "percent", "&": "and",
               "*": "star", "_": "underscore", "-": "dash", "+": "plus"}  # fmt: skip
_ALNUM_PIECE = LazyPattern(r"[A-Za-z]+|\d+|-")


def read_number(number: str) -> str:
    """A number with or without separators and decimals; leading zeros are said."""
    whole, _, fraction = number.replace(",", "").partition(".")
    if fraction:
        return decimal(whole, fraction)
    if len(whole) > 1 and whole.startswith("0"):
        return spell_digits(whole)
    return cardinal(whole)


def plain_words(value: Amount, place: Place) -> str:
    """Digits as a code, a name or a year where the words beside say so, and else by value."""
    number, before, after = value.number.digits, place.before, place.after
    if len(value.number.fraction) == 2 and value.number.fraction[0] != "0" and _VERSION_OF.search(before):
        return f"{cardinal(value.number.whole)} point {cardinal(value.number.fraction)}"
    if value.number.grouped or not number.isdigit():
        return read_number(number)
    if (
        3 <= len(number) <= 20
        and _SPELT_AFTER.search(before)
        and (_NUMBERED.search(before) or not _COUNTED.match(after))
    ):
        return spell_digits(number)
    if number in _EMERGENCY and _CALLED.search(place.text, max(0, place.start - 60), place.start):
        return spell_digits(number)
    if len(number) in (5, 6) and (_MAILED_TO.search(before) or _TEXTED_TO.search(before)):
        return spell_digits(number)
    is_status = re.match(r" (?:error|page|status|response)s?\b", after) is not None and len(number) == 3
    if len(number) in (3, 4) and (is_status or (NAMED_AFTER.search(before) and not _COUNTED.match(after))):
        return named(number)
    counted = _COUNTED.match(after)
    if len(number) == 4 and "1000" < number < "3000":
        if counted and not number.endswith("00") and not _YEAR_BEFORE.search(before[-12:]):
            return cardinal(number)
        return year(number)
    if len(number) == 4 and not number.endswith("00") and _MODEL_BEFORE.search(before[-8:]):
        return year(number)
    return spell_digits(number) if len(number) >= CODE_DIGITS and not counted else read_number(number)


def named(digits: str) -> str:
    """`305` as three oh five, `210` as two ten, `500` as five hundred, `1200` as twelve hundred."""
    if len(digits) == 4:
        return year(digits) if digits[0] != "0" else spell_digits(digits, "oh")
    if digits.endswith("00") or digits[0] == "0":
        return cardinal(digits) if digits[0] != "0" else spell_digits(digits, "oh")
    rest = f"oh {cardinal(digits[2])}" if digits[1] == "0" else cardinal(digits[1:])
    return f"{cardinal(digits[0])} {rest}"


def alphanumeric(match: re.Match[str]) -> str:
    """Model names such as `B12`, `RTX3090` and `GPT-4`: letters and figures apart; `3-year-old` keeps its hyphens."""
    pieces = _ALNUM_PIECE.compiled.findall(match[0])
    words = []
    for i, piece in enumerate(pieces):
        if piece == "-":
            figures = [p for p in pieces[max(0, i - 1) : i + 2] if p.isdigit()]
            words.append("-" if not figures or (i and pieces[i - 1].isdigit() and pieces[i + 1].islower()) else " ")
        elif piece.isdigit():
            words.append(plural(_model_number(piece)) if pieces[i + 1 :] == ["s"] else _model_number(piece))
        elif piece == "s" and i == len(pieces) - 1 and pieces[i - 1].isdigit():
            continue
        elif piece.isupper() and len(piece) <= 3 and "-" not in pieces[max(0, i - 1) : i + 2]:
            words.append(" ".join(piece))
        else:
            words.append(piece)
    joined = ""
    for i, word in enumerate(words):
        joined += (" " if i and word not in "- " and words[i - 1] not in "- " else "") + word
    return joined


def _model_number(digits: str) -> str:
    if len(digits) > 4 or (len(digits) > 1 and digits.startswith("0")):
        return spell_digits(digits)
    if len(digits) == 4:
        return year(digits)
    return (
        f"{cardinal(digits[0])} {cardinal(digits[1:])}" if len(digits) == 3 and digits[1] != "0" else cardinal(digits)
    )


ALNUM = LazyPattern(
    r"(?<![A-Za-z0-9])(?<!\d\.)(?=[A-Za-z\d\-]{0,40}\d)(?=[\d\-]{0,40}[A-Za-z])[A-Za-z\d]{1,40}(?:-[A-Za-z\d]{1,40}){0,8}(?!\.\d)"
)


def password(match: re.Match[str]) -> str | None:
    """Character by character."""
    word = match[0].rstrip(".,;:!?")
    before = match.string[max(0, match.start() - 24) : match.start()]
    if not _PASSWORD.search(before) or not re.search("[A-Za-z]", word):
        return None
    said = (_CHARACTERS.get(c) or (cardinal(c) if c.isdigit() else c.upper() if c.isalpha() else "") for c in word)
    return " ".join(said) + match[0][len(word) :]
