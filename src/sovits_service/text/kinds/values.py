"""What a text holds besides words, as values without a language: numbers, amounts, dates, clocks, telephones, ...

Named tuples, since a process that starts makes them in a tenth of the time of dataclasses.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias


class Number(NamedTuple):
    """Digits as written but for separators: `-1,234.50` is `-` and `1234.50`; signs are `-`, `+`, `±` or none."""

    digits: str
    sign: str = ""
    grouped: bool = False

    @property
    def whole(self) -> str:
        return self.digits.partition(".")[0]

    @property
    def fraction(self) -> str:
        return self.digits.partition(".")[2]


class Amount(NamedTuple):
    """A number that counts something.

    Attributes:
        unit: a sign of `units`, `%` included, or the name of a currency (`is_money`); "" for none.
        scale: what multiplies the number, as written: `万`, `million`, `k`.
        per: the sign or word after a slash.
        more: whether a plus or its like says that there is more.
    """

    number: Number
    unit: str = ""
    is_money: bool = False
    scale: str = ""
    per: str = ""
    more: bool = False


class Date(NamedTuple):
    """A date in figures; year or day may be missing. `written` has the order of the text: `ymd`, `dmy`, `md`, ..."""

    year: str
    month: str
    day: str
    written: str = "ymd"


class Clock(NamedTuple):
    """A time of day, or a duration where the text says so; `half` is `a`, `p` or nothing."""

    hour: str
    minute: str = ""
    second: str = ""
    fraction: str = ""
    half: str = ""


class Range(NamedTuple):
    """From one value to another of its kind; `between` is what stood there."""

    first: Amount | Clock
    last: Amount | Clock
    between: str


class Telephone(NamedTuple):
    """Groups of digits; the first one is a country's where `plus` is set."""

    groups: tuple[str, ...]
    plus: bool = False
    extension: str = ""


class Digits(NamedTuple):
    """Groups of digits with one mark between them: `192.168.0.1`, `978-7-111`, `1/2/3`, `16:9`, `3x4` and a unit."""

    groups: tuple[str, ...]
    mark: str
    unit: str = ""


class Fraction(NamedTuple):
    """`1/2`, with the whole number before it and its sign; two pressures where the unit is (`120/80mmHg`)."""

    top: str
    bottom: str
    whole: str = ""
    sign: str = ""
    unit: str = ""


class Power(NamedTuple):
    """`1.5e-3`: a number and the power of ten it is multiplied with."""

    number: Number
    exponent: str


class Term(NamedTuple):
    """A part of a formula.

    Attributes:
        kind: `negative` is the minus of a number, `sign` any other operator.
        text: digits without separators, a letter, the exponent (`-3`, `n`), or the operator as it is written.
        unit: of a number: `%`, `°` or none.
    """

    kind: Literal["number", "letter", "power", "negative", "sign"]
    text: str
    unit: str = ""


class Formula(NamedTuple):
    """Operands, operators, powers and roots, in order."""

    terms: tuple[Term, ...]


class Standard(NamedTuple):
    """`GB/T 2828.1-2012`, `ISO 9001:2015`: who made it, its number and, behind a mark, its year."""

    name: str
    number: str
    mark: str
    year: str


Value: TypeAlias = Amount | Date | Clock | Range | Telephone | Digits | Fraction | Power | Formula | Standard


class Place(NamedTuple):
    """Where a value stands: what is before and after it tells a score from a range and a year from a count."""

    text: str
    start: int
    end: int

    @property
    def before(self) -> str:
        return self.text[max(0, self.start - 24) : self.start]

    @property
    def after(self) -> str:
        return self.text[self.end : self.end + 40]
