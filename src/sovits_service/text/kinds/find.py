"""Find every kind of thing in a text and let a language say it, in one pass.

From left to right, at everything that may begin one, the kinds are tried in the order of `Finder._kinds`. The
language says a value in its place, or None where it knows from the words beside it that it is something else. Every
pattern is bounded, so that the time is in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache, partial
from itertools import chain

from sovits_service.text.kinds.habits import Habits, OwnRule
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.kinds.values import (
    Amount,
    Clock,
    Date,
    Digits,
    Formula,
    Fraction,
    Number,
    Place,
    Power,
    Range,
    Standard,
    Telephone,
    Term,
    Value,
)
from sovits_service.text.lazy_pattern import LazyPattern, may_match
from sovits_service.text.spoken import Spoken

Say = Callable[[Value, Place], str | None]

NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,12}(?:\.\d{1,30})?(?![\d]|,\d)|\d{1,60}(?:\.\d{1,30})?|\.\d{1,30})"
POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹ˣʸⁿ"
POWER_DIGITS = str.maketrans(POWERS + "⁻⁺", "0123456789xyn-+")
_LETTER = r"(?<![A-Za-z])[A-Za-zα-ωΑ-Ω](?![A-Za-z])"
_RAISED = rf"(?:[{POWERS}⁻]{{1,8}}|\^-?\d{{1,4}}|[%°])?"
_OPERAND = rf"(?:[-√∠±]?(?:\(-{NUMBER}\)|{NUMBER}(?:(?:[abknxyz]|[abcxy]{{2}})(?![A-Za-z]))?|{_LETTER}){_RAISED})"
_FORMULA = LazyPattern(
    rf"(?<![A-Za-z0-9.'’]){_OPERAND}(?:\s?(?:[+×÷=*<>≤≥≠≈±/-](?!L(?![A-Za-z]))|(?<=\d)[xX](?=\d))\s?{_OPERAND}){{0,20}}(?![A-Za-z0-9Ω]|\.\d)"
)
_NEGATIVE = re.compile(rf"\((-{NUMBER})\)")
_EQUATION_SIGN = re.compile(rf"[+×÷=*<>≤≥≠≈±^√{POWERS}]|(?<=\d)[xX](?=\d)")
_COMPARED = re.compile(r"(?<![A-Za-z])[A-Za-zα-ω]\s?[<>≤≥≠≈=+×÷^]\s?[A-Za-zα-ω](?![A-Za-z])")
_PART = LazyPattern(rf"{NUMBER}[%°]?|[A-Za-zα-ωΑ-Ω]|[{POWERS}⁻]+|\^-?\d+|\S")

_HALF = r"(?:\s?([AaPp])(?:\.\s?[Mm](?:\.|\b)|[Mm])(?![A-Za-z]))"
_TIME = r"(\d{1,3})[:：]([0-5]\d)(?:[:：]([0-5]\d)(?:[.,](\d{1,6}))?)?(?![\d:：]|\.\d)"
_CLOCK = LazyPattern(rf"(?<![\d.:：]){_TIME}{_HALF}?")
_HOUR = LazyPattern(rf"(?<![\d.:：])(\d{{1,2}}){_HALF}")
_HOUR_RANGE = LazyPattern(rf"(?<![\d.:：-])(1[0-2]|0?[1-9])\s?[-–~～]\s?(1[0-2]|0?[1-9]){_HALF}")
_YEAR_MONTH_DAY = LazyPattern(
    r"(?<!\d)(?<!\d\.)([12]\d{3})([-/.])\s?(0?[1-9]|1[0-2])\2\s?(0?[1-9]|[12]\d|3[01])(?!\d|[-/]\d|\.\d)"
)
_DAY_MONTH_YEAR = LazyPattern(r"(?<![\w.\-/])(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|(?<=/)\d{2})(?![\w/\-]|\.\d)")
_YEAR_MONTH = LazyPattern(r"(?<![\d./-])((?:19|20)\d\d)([-/])(0[1-9]|1[0-2]|[1-9])(?![\d./%-])")
_MONTH_DAY = LazyPattern(r"(?<![\d./])(1[0-2]|0?[1-9])/(3[01]|[12]\d|0?[1-9])(?![\d/]|\.\d)")
_DOTTED = LazyPattern(r"(?<!\d)(?<!\d\.)\d{1,8}(?:\.\d{1,8}){2,12}(?!\d)")
_HYPHENED = LazyPattern(r"(?<![\d.-])\d{1,20}(?:-\d{1,20}){2,12}(?![\d-])")
_CARD = LazyPattern(r"(?<!\d)(?<!\d\.)\d{4}(?:[ -]\d{4}){2,4}(?:[ -]\d{1,3})?(?!\d)")
_SLASHED = LazyPattern(r"(?<![\d./])\d{1,8}(?:/\d{1,8}){2,12}(?![\d/])")
_RATIO = LazyPattern(
    r"(?<![\d.:：])\d{1,12}(?:\.\d{1,12})?(?:\s?[:：∶]\s?(?:\d{1,3}(?:,\d{3})+|\d{1,12}(?:\.\d{1,12})?)){1,6}(?![\d:：])"
)
_POWER = LazyPattern(r"(?<![A-Za-z\d.])(\d{1,12}(?:\.\d{1,12})?)[eE]\+?(-?\d{1,3})(?![A-Za-z\d]|\.\d)")
_FRACTION = LazyPattern(
    rf"(?<![\d./])([-−])?(?:(\d{{1,6}})(?:[ +]| and )(?=\d{{1,3}}/\d{{1,3}}(?!\d)))?({NUMBER})/"
    r"(\d{1,12}(?:\.\d{1,12})?)"
    r"(?![\d/]|[.,]\d)"
)
_SIZE = LazyPattern(
    rf"(?<![\dA-Za-z.])({NUMBER})\s?(?:×|\*|(?<=\d)[xX](?=\d)|\sx\s)\s?({NUMBER})"
    rf"(?:\s?[×xX*]\s?({NUMBER}))?(?![A-Za-z\d]*\s?=)"
)
_STANDARD = LazyPattern(
    r"(?<![A-Za-z])([A-Z]{2,5}(?:/[A-Z]{1,2})?)[ -]?(\d{3,6}(?:\.\d{1,2})?)([:：-])((?:19|20)\d\d)(?![\d-])"
)
_NUMERAL = re.compile(r"\d+")
_ZEROS = {"k": 3, "K": 3, "M": 6, "mn": 6, "B": 9, "bn": 9, "T": 12, "tn": 12}
_PLAIN = re.compile(NUMBER)
_DATES = ((_YEAR_MONTH_DAY, "ymd"), (_DAY_MONTH_YEAR, "dmy"), (_YEAR_MONTH, "ym"), (_MONTH_DAY, "md"))
# each with the characters of which a text has one, or has nothing of the kind
_GROUPS = (
    (_DOTTED, ".", "."), (_CARD, " ", " -"), (_HYPHENED, "-", "-"), (_SLASHED, "/", "/"), (_RATIO, ":", ":：∶"),
    (_SIZE, "x", "×*xX"),
)  # fmt: skip

Found = Iterator[tuple[Value, int]]
Kind = Callable[[str, int], Found]


class Finder:
    """Finds and says the kinds of one language.

    Args:
        habits: how they are written.
        say: how they are said; None where the words beside a value make it something else.
    """

    def __init__(self, habits: Habits, say: Say) -> None:
        self._habits = habits
        self._say = say
        currency = alternatives(habits.currencies)
        signs = "".join(sorted({re.escape(sign[-1]) for sign in habits.currencies if not sign[-1].isalnum()}))
        self._anchor = re.compile(
            rf"(?<![A-Za-z\d])[A-Za-z][A-Za-z/&]{{0,15}}[.\-#:]?[ -]?(?=[{signs}]?\.?\d)"
            rf"|[{signs}](?=\s?[-+(]?[\d.])|[-+±~～〜–—≈<>#√'№](?=[ {signs}]?[\d.(])|\((?=\d{{2,4}}\))|\d|\.(?=\d)"
        )
        sign = rf"((?<![{habits.no_sign_after}])[-+±])?"
        scale = rf"(?:\s?({habits.scales}))?({habits.more})?"
        unit = rf"(?:(?:\s?(?:{habits.apart_units})|(?:{habits.touching_units})){habits.unit_end})"
        per = (
            rf"(?:(?:\s?/\s?(?:a )?|\sper )({alternatives(habits.per)})(?![A-Za-z\d])(?:\.(?=,| [a-z]))?)?"
            if habits.per
            else "()"
        )
        letter = rf"(?:\s?({habits.money_scales}))?"
        self._money = LazyPattern(
            rf"{sign}(?<![A-Za-z])({currency})\s?([-+±])?({NUMBER}){letter}{scale}(?:\s?({currency})(?![A-Za-z]))?{per}"
        )
        self._money_after = LazyPattern(rf"{sign}({NUMBER}){letter}{scale}\s?({currency})(?![A-Za-z]){per}")
        self._unit = LazyPattern(unit)
        self._amount = LazyPattern(rf"{sign}({NUMBER}){scale}({unit})?{per}")
        self._between = LazyPattern(habits.between)
        # the more special first, with the characters of which a text has one, or has nothing of the kind
        self._kinds: tuple[tuple[str, Kind], ...] = (
            ("", self._telephones),
            ("-:：", _standards),
            ("-/.", _dates),
            (":：AaPp", self._clocks),
            *((needs, partial(self._groups, pattern, mark)) for pattern, mark, needs in _GROUPS),
            ("eE", _powers),
            ("/", self._fractions),
        )
        self._currency_starts = frozenset(sign[0] for sign in habits.currencies)

    def read(self, text: Spoken) -> Spoken:
        """Say every kind; words and what is none of them stay."""
        if _EQUATION_SIGN.search(text.text):
            text = text.sub(_FORMULA.compiled, self._formula)
        return text.rewrite(self._found(text.text))

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        kinds = self._kinds_in(text)
        own = [rule for rule in self._habits.own if may_match(rule[0], text)]
        position = 0
        while match := self._anchor.search(text, position):
            start = match.start()
            if (said := self._said(text, start, own, kinds)) is not None:
                position, words = said
                yield start, position, words
            elif digits := _NUMERAL.match(text, start):
                position = digits.end()
            else:
                position = match.end() if text[start].isalpha() else start + 1

    def _said(self, text: str, start: int, own: Iterable[OwnRule], kinds: Iterable[Kind]) -> tuple[int, str] | None:
        for pattern, words in own:
            match = pattern.match(text, start)
            if match and match.end() > start and (said := words(match)) is not None:
                return match.end(), said
        for value, end in chain.from_iterable(kind(text, start) for kind in kinds):
            if (said := self._say(value, Place(text, start, end))) is not None:
                return end, said
        for pattern, words in self._habits.last:
            match = pattern.match(text, start)
            if match and (said := words(match)) is not None:
                return match.end(), said
        return None

    def _formula(self, match: re.Match[str]) -> str:
        """Only what has a sign that no date, range or fraction has."""
        if not _EQUATION_SIGN.search(match[0], 1):
            return match[0]
        parts = _PART.compiled.findall(_NEGATIVE.sub(r"\1", match[0]))
        for i, part in enumerate(parts[1:-1], 1):
            if part in "xX*" and parts[i - 1][-1].isdigit() and parts[i + 1][0].isdigit():
                parts[i] = "×"
        said = self._say(Formula(tuple(_terms(parts))), Place(match.string, match.start(), match.end()))
        return match[0] if said is None else said

    def _kinds_in(self, text: str) -> list[Kind]:
        """What a text may have, by its characters; amounts come last."""
        has = frozenset(text)
        kinds = [kind for needs, kind in self._kinds if not needs or not has.isdisjoint(needs)]
        return [*kinds, partial(self._amounts, not has.isdisjoint(self._currency_starts))]

    def _telephones(self, text: str, start: int) -> Found:
        for pattern in self._habits.telephones:
            if match := pattern.match(text, start):
                extension = match.groupdict().get("extension") or ""
                last = match.re.groupindex.get("extension", 0) - 1
                written = match.groups() if match.re.groups else _NUMERAL.findall(match[0])
                groups = ("".join(_NUMERAL.findall(group or "")) for i, group in enumerate(written) if i != last)
                yield Telephone(tuple(filter(None, groups)), match[0].startswith("+"), extension), match.end()

    def _clocks(self, text: str, start: int) -> Found:
        if match := _HOUR_RANGE.match(text, start):
            yield Range(Clock(match[1]), Clock(match[2], half=match[3].lower()), "-"), match.end()
        if not (found := _clock_at(text, start)):
            return
        first, end = found
        if (between := self._between.match(text, end)) and (last := _clock_at(text, between.end())):
            yield Range(first, last[0], between[0]), last[1]
        yield first, end

    def _groups(self, pattern: LazyPattern, mark: str, text: str, start: int) -> Found:
        if match := pattern.match(text, start):
            numbers = _PLAIN if mark in ":x" else _NUMERAL
            groups = tuple(number.replace(",", "") for number in numbers.findall(match[0]))
            unit = self._unit.match(text, match.end()) if mark == "x" else None
            yield Digits(groups, mark, unit[0].strip() if unit else ""), (unit or match).end()

    def _fractions(self, text: str, start: int) -> Found:
        if match := _FRACTION.match(text, start):
            sign, whole, top, bottom = match.groups()
            unit = self._unit.match(text, match.end())
            said = unit[0].strip() if unit else ""
            yield Fraction(top.replace(",", ""), bottom, whole or "", sign or "", said), (unit or match).end()

    def _amounts(self, priced: bool, text: str, start: int) -> Found:
        """A range of two amounts, the first of them, and at last the bare number."""
        if found := self._amount_at(priced, text, start):
            first, end = found
            if (between := self._between.match(text, end)) and (last := self._amount_at(priced, text, between.end())):
                yield Range(first, last[0], between[0]), last[1]
            yield first, end
        if match := _PLAIN.match(text, start):
            yield Amount(_number(match[0])), match.end()

    def _amount_at(self, priced: bool, text: str, start: int) -> tuple[Amount, int] | None:
        if priced and (match := self._money.match(text, start)):
            sign, currency, inner, written, letter, scale, more, _, per = match.groups()
            return self._priced(written, sign or inner, letter, scale, more, currency, per), match.end()
        if priced and (match := self._money_after.match(text, start)):
            sign, written, letter, scale, more, currency, per = match.groups()
            return self._priced(written, sign, letter, scale, more, currency, per), match.end()
        if match := self._amount.match(text, start):
            sign, written, scale, more, unit, per = match.groups()
            value = Amount(_number(written, sign), (unit or "").strip(), False, scale or "", per or "", bool(more))
            return value, match.end()
        return None

    def _priced(self, written: str, sign: str | None, letter: str | None, *rest: str | None) -> Amount:
        scale, more, currency, per = rest
        word = self._habits.letter_scales.get(letter or "")
        number = _number(written, sign, None if word else letter)
        return Amount(number, currency or "", True, word or scale or "", per or "", bool(more))


def reader(habits: Callable[[], Habits], say: Say) -> Callable[[Spoken], Spoken]:
    """What says every kind in the text of one language; its patterns are built at the first text that has one."""

    @lru_cache(maxsize=1)
    def finder() -> Finder:
        return Finder(habits(), say)

    def read(text: Spoken) -> Spoken:
        return finder().read(text) if any(map(str.isdigit, text.text)) or _COMPARED.search(text.text) else text

    return read


def _number(written: str, sign: str | None = None, letter: str | None = None) -> Number:
    """A number without separators; the letter of `$5M` moves its point."""
    digits = written.replace(",", "")
    if letter:
        digits = f"{Decimal(digits).scaleb(_ZEROS[letter]):f}"
    return Number(digits, sign or "", "," in written)


def _clock_at(text: str, start: int) -> tuple[Clock, int] | None:
    if match := _CLOCK.match(text, start):
        hour, minute, second, fraction, half = match.groups()
        return Clock(hour, minute, second or "", fraction or "", (half or "").lower()), match.end()
    if match := _HOUR.match(text, start):
        return Clock(match[1], half=match[2].lower()), match.end()
    return None


def _terms(parts: Iterable[str]) -> Iterator[Term]:
    after_operand = False
    for part in parts:
        if part[0] in POWERS + "⁻" or (part[0] == "^" and len(part) > 1):
            yield Term("power", part.translate(POWER_DIGITS).lstrip("^"))
        elif part[0].isdigit() or (part[0] == "." and len(part) > 1):
            yield Term("number", part.rstrip("%°").replace(",", ""), part[-1] if part[-1] in "%°" else "")
        elif part.isalpha():
            yield Term("letter", part)
        else:
            yield Term("negative" if part == "-" and not after_operand else "sign", part)
            after_operand = False
            continue
        after_operand = True


def _powers(text: str, start: int) -> Found:
    if match := _POWER.match(text, start):
        yield Power(_number(match[1]), match[2]), match.end()


def _standards(text: str, start: int) -> Found:
    if match := _STANDARD.match(text, start):
        yield Standard(match[1], match[2], match[3], match[4]), match.end()


def _dates(text: str, start: int) -> Found:
    for pattern, written in _DATES:
        if match := pattern.match(text, start):
            parts = dict(zip(written, (group for group in match.groups() if group.isdigit()), strict=True))
            yield Date(parts.get("y", ""), parts["m"], parts.get("d", ""), written), match.end()
