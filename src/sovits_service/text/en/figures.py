"""Telephone numbers, sums, ratios, fractions, ranges, ordinals and plain figures in, words out."""

from __future__ import annotations

import re

from sovits_service.text.en.numbers import cardinal, ordinal, ordinal_of_words, plural, spell_digits, year
from sovits_service.text.en.quantities import NUMBER, read_number
from sovits_service.text.spoken import Spoken

_PHONE = re.compile(
    r"(?<![\w.,\-+])(?:\+(\d{1,3})[ .\-]?|(1)[ .\-])?(?:\((\d{2,4})\) ?|"
    r"(\d{3})[ .\-])(\d{3,4})[ .\-](\d{4})(?![\w\-]|[.,]\d)"
)
_LONG_PHONE = re.compile(r"(?<![\w.,\-+])\+\d{1,3}(?:[ .\-]?\(?\d{1,5}\)?){1,5}(?![\w\-]|[.,]\d)")
_SHORT_PHONE = re.compile(r"(?<![\w.,\-+$])(\d{3})-(\d{4})(?![\w\-]|[.,]\d)")
_GROUPS = re.compile(r"(?<![\w.,\-])\d{1,8}(?:-\d{1,8}){2,8}(?![\w\-])")
_SPELT_AFTER = re.compile(
    r"\b(code|pin|passcode|password|zip|id|account|card|extension|ext\.?|tracking|serial|dial|call|phone|"
    r"telephone|mobile|"
    r"tel\.?|fax|text|ticket|isbn|license)((?: (?:number|no\.?|code|is|at|on|me))*(?:: ?| ?# ?| "
    r")?)(\d{3,20})(?![\w,.\-]?\d)",
    re.IGNORECASE,
)
_NUMBER_SIGN = re.compile(r"(?<![\w&#])#(?=\d)|\b(?:No|Nos|NO|no|nos)\. ?(?=\d)")
_LIST_MARK = re.compile(r"(?:^|(?<=[.!?] ))(\d{1,2})[.)] (?=[A-Za-z'\"])")
_SCORE_RANGE = re.compile(rf"(?<![\w.,\-/])({NUMBER}) ?(?:-|~|-{{2}}) ?({NUMBER})(?![\w\-/]|[.,]\d)")
_SPOKEN_RANGE = re.compile(
    r"(?<![\w.,\-])(\d{1,6})(?:-|-to-)(\d{1,6})(?=-[a-z])|(?<![\w.,\-])(\d{1,4})-to-(\d{1,4})(?![\w\-])"
)
_RATIO = re.compile(r"(?<![\w.:/])(\d{1,6}(?:\.\d{1,4})?) ?: ?(\d{1,6}(?:\.\d{1,4})?)(?: ?: ?(\d{1,6}))?(?![\w:]|\.\d)")
_MIXED_FRACTION = re.compile(r"(?<![\w.,/])(\d{1,6}) (?:and )?(\d{1,3})/(\d{1,4})(?![\w/]|\.\d)")
_FRACTION = re.compile(r"(?<![\w.,/])(\d{1,6})/(\d{1,6})(?:th|rd|nd|st)?s?(?![\w/]|\.\d)")
_OUT_OF_TEN = re.compile(r"(?<![\w.,/])(\d{1,3}\.\d{1,3})/(\d{1,4}(?:\.\d)?)(?![\w/]|\.\d)")
_SLASHED = re.compile(r"(?<![\w.,/])\d{1,6}(?:/\d{1,6}){2,6}(?![\w/])")
_FAMOUS = {"24/7": "twenty-four seven", "9/11": "nine eleven", "20/20": "twenty twenty"}
_ORDINAL = re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d{1,30})(?:st|nd|rd|th|ST|ND|RD|TH)\b")
_GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:[ \u202f]\d{3}){1,5}(?![\w]|[.,]\d)")

_OPERAND = r"(?:(?<=[\d.)])|(?<=(?<![A-Za-z])[a-zA-Z]))"
_AFTER_OPERATOR = r"(?=[\d.(]|[a-zA-Z](?![A-Za-z]))"
_OPERATORS = (
    (re.compile(r"(?<=[\w)])\^(?:\(?(-?\d{1,4}|[a-z])\)?)"), None),
    (re.compile(r"(?<=\d)x(?=\d)"), " by "),
    (re.compile(r"(?<=[\d)]) ?[x×*·] ?(?=[\d(]|[a-z](?![a-z]))|(?<=\d) [x×] |(?<=percent) [*] (?=\d)"), " times "),
    (re.compile(r" ?× ?"), " times "),
    (re.compile(r" ?÷ ?"), " divided by "),
    (re.compile(rf"{_OPERAND} ?\+ ?{_AFTER_OPERATOR}|(?<=[A-Za-z]) \+ (?=\w)"), " plus "),
    (re.compile(rf"{_OPERAND} - {_AFTER_OPERATOR}"), " minus "),
    (re.compile(rf"{_OPERAND} / (?=[\d(]|[a-zA-Z](?![A-Za-z]))"), " divided by "),
    (re.compile(r" ?== ?| ?(?<![=<>!])=(?![=>]) ?"), " equals "),
    (re.compile(r" ?!= ?"), " does not equal "),
    (re.compile(r" ?<= ?(?=[\d\w])"), " is at most "),
    (re.compile(r" ?>= ?(?=[\d\w])"), " is at least "),
    (re.compile(r" ?[-=]+> ?"), " to "),
    (re.compile(r"(?<![^\s(])<(?=\d)"), "less than "),
    (re.compile(r"(?<![^\s(])>(?=\d)"), "more than "),
    (re.compile(r"(?<=[\w)]) ?< ?(?=[\d\w(])"), " is less than "),
    (re.compile(r"(?<=[\w)]) ?> ?(?=[\d\w(])"), " is greater than "),
    (re.compile(r"(?<=\d)\+(?=\W|$)"), " plus "),
)
_NEGATIVE = re.compile(r"(?<![\w)\]'\".,])[-\u2212] ?(?=\d|\.\d)")
_POSITIVE = re.compile(r"(?<![\w)\]])\+(?=\d|\.\d)")
_ABOUT = re.compile(r"(?<![\w])~ ?(?=[\d$£€])")
_POWER_OF_TEN = re.compile(r"(?<![\w.])(\d{1,6}(?:\.\d{1,9})?)[eE]\+?(-?\d{1,3})(?![\w.])")
_TIMES_MORE = re.compile(r"(?<![\w.])(\d{1,6}(?:\.\d{1,3})?)[xX×](?![\w\d])")

CODE_DIGITS = 11  # a figure of so many digits without commas that counts nothing is a code, and said digit by digit
_PLAIN = re.compile(rf"({NUMBER})")
_COUNTED = re.compile(
    r" (?!(?:was|is|has|as|this|its|his|us|yes|does|plus|minus|across|always|perhaps|towards|besides|unless|less|"
    r"news|thus)\b)"
    r"(?:[a-z]+ing |[a-z]+ed |new |old |more |other |different |small |large )?(?:[a-z]{2,}s|people|men|women|"
    r"children|feet|percent)\b"
)
_YEAR_BEFORE = re.compile(
    r"\b(?:in|since|by|until|till|from|of|before|after|during|circa|year|early|late|mid|summer|spring|fall|"
    r"autumn|winter|"
    r"and|to|class|the|January|February|March|April|May|June|July|August|September|October|November|December),? $",
    re.IGNORECASE,
)
_MODEL_BEFORE = re.compile(r"\b[A-Z]{2,5} $")
_ALNUM = re.compile(
    r"(?<![A-Za-z0-9])(?<!\d\.)(?=[A-Za-z\d\-]{0,40}\d)(?=[\d\-]{0,40}[A-Za-z])[A-Za-z\d]+(?:-[A-Za-z\d]+)*"
)
_ALNUM_PIECE = re.compile(r"[A-Za-z]+|\d+|-")


def read_figures(text: Spoken) -> Spoken:
    """Every figure that no other rule has read."""
    text = text.sub(_PHONE, _phone)
    text = text.sub(_LONG_PHONE, lambda m: _digit_groups(m[0]))
    text = text.sub(_SHORT_PHONE, lambda m: f"{_phone_group(m[1])}, {_phone_group(m[2])}")
    text = text.sub(_GROUPS, lambda m: _digit_groups(m[0]))
    text = text.sub(_SPELT_AFTER, lambda m: f"{m[1]}{m[2].replace('#', ' ')}{spell_digits(m[3])}")
    text = text.sub(_NUMBER_SIGN, "number ")
    text = text.sub(_LIST_MARK, lambda m: f"{ordinal(m[1])}, ")
    text = text.sub(_ABOUT, "about ")
    text = text.sub(_GROUPED, lambda m: re.sub(r"\D", "", m[0]))
    text = text.sub(_POWER_OF_TEN, r"\1 times 10^\2")
    text = text.sub(_TIMES_MORE, lambda m: f"{read_number(m[1])} times")
    text = _read_fractions(text)
    text = text.sub(_RATIO, lambda m: " to ".join(read_number(part) for part in m.groups() if part))
    text = text.sub(_SPOKEN_RANGE, lambda m: f"{m[1] or m[3]} to {m[2] or m[4]}")
    text = text.sub(_SCORE_RANGE, _range)
    for pattern, words in _OPERATORS:
        text = text.sub(pattern, words or _power)
    text = text.sub(_NEGATIVE, "negative ")
    text = text.sub(_POSITIVE, "plus ")
    text = text.sub(_ORDINAL, lambda m: ordinal(m[1].replace(",", "")))
    text = text.sub(_ALNUM, _alphanumeric)
    return text.sub(_PLAIN, _plain)


def _phone_group(digits: str) -> str:
    return f"{cardinal(digits[0])} hundred" if digits in ("800", "900") else spell_digits(digits)


def _phone(match: re.Match[str]) -> str:
    country, trunk, area, bare_area, prefix, line = match.groups()
    groups = [country or trunk, area or bare_area, prefix, line]
    sign = "plus " if country else ""
    return sign + ", ".join(_phone_group(group) for group in groups if group)


def _digit_groups(groups: str) -> str:
    sign = "plus " if groups.startswith("+") else ""
    return sign + ", ".join(_phone_group(group) for group in re.findall(r"\d+", groups))


def _read_fractions(text: Spoken) -> Spoken:
    text = text.sub(_SLASHED, lambda m: " slash ".join(cardinal(part) for part in m[0].split("/")))
    text = text.sub(_OUT_OF_TEN, lambda m: f"{read_number(m[1])} out of {read_number(m[2])}")
    text = text.sub(_MIXED_FRACTION, lambda m: _mixed(m))
    return text.sub(_FRACTION, lambda m: _FAMOUS.get(m[0]) or _fraction(m[1], m[2]))


def _mixed(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    if not 0 < int(top) < int(bottom):
        return match[0]
    part = _fraction(top, bottom)
    return f"{cardinal(whole)} and {part.replace('one', 'a', 1) if part in ('one half', 'one quarter') else part}"


def _fraction(top: str, bottom: str) -> str:
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


def _range(match: re.Match[str]) -> str:
    """A hyphen between figures is `to`, unless it stands apart in a sum."""
    first, last = (float(n.replace(",", "")) for n in match.groups())
    rest = match.string[match.end() :][:3]
    if (" - " in match[0] and first > last) or re.match(r" ?[=+×÷*]", rest):
        return match[0].replace("-", " minus ") if rest.lstrip().startswith("=") else match[0]
    return f"{_plain_words(match, match[1])} to {_plain_words(match, match[2])}"


def _power(match: re.Match[str]) -> str:
    exponent = match[1]
    if exponent in ("2", "3"):
        return {"2": " squared", "3": " cubed"}[exponent]
    said = f"negative {cardinal(exponent[1:])}" if exponent.startswith("-") else exponent
    return f" to the power of {said}"


def _plain(match: re.Match[str]) -> str:
    """A figure on its own, kept apart from letters that touch it."""
    before = match.string[match.start() - 1] if match.start() else " "
    after = match.string[match.end()] if match.end() < len(match.string) else " "
    lead = " " if before.isalpha() else ""
    return f"{lead}{_plain_words(match, match[0])}{' ' if after.isalpha() else ''}"


def _plain_words(match: re.Match[str], number: str) -> str:
    """Four digits as a year, unless they count something."""
    if len(number) == 4 and number.isdigit() and "1000" < number < "3000":
        counted = _COUNTED.match(match.string[match.end() :][:40])
        before = match.string[max(0, match.start() - 12) : match.start()]
        if counted and not number.endswith("00") and not _YEAR_BEFORE.search(before):
            return cardinal(number)
        return year(number)
    if (
        len(number) == 4
        and number.isdigit()
        and not number.endswith("00")
        and _MODEL_BEFORE.search(match.string[: match.start()][-8:])
    ):
        return year(number)
    if len(number) >= CODE_DIGITS and number.isdigit() and not _COUNTED.match(match.string[match.end() :][:40]):
        return spell_digits(number)
    return read_number(number)


def _alphanumeric(match: re.Match[str]) -> str:
    """Model names such as `B12`, `RTX3090` and `GPT-4`: letters and figures apart; `3-year-old` keeps its hyphens."""
    pieces = _ALNUM_PIECE.findall(match[0])
    words = []
    for i, piece in enumerate(pieces):
        if piece == "-":
            figures = [p for p in pieces[max(0, i - 1) : i + 2] if p.isdigit()]
            words.append("-" if not figures or (i and pieces[i - 1].isdigit() and pieces[i + 1].islower()) else " ")
        elif piece.isdigit():
            words.append(_model_number(piece))
        elif piece.isupper() and len(piece) <= 3 and "-" not in pieces[max(0, i - 1) : i + 2]:
            words.append(" ".join(piece))
        else:
            words.append(piece)
    joined = ""
    for i, word in enumerate(words):
        if i and word not in "- " and words[i - 1] not in "- ":
            joined += " "
        joined += word
    return joined


def _model_number(digits: str) -> str:
    if len(digits) > 4 or (len(digits) > 1 and digits.startswith("0")):
        return spell_digits(digits)
    if len(digits) == 4:
        return year(digits)
    if len(digits) == 3 and digits[1] != "0":
        return f"{cardinal(digits[0])} {cardinal(digits[1:])}"
    return cardinal(digits)
