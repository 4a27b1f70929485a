"""What a text holds besides words, as values without a language: numbers, amounts, dates, clocks, telephones, ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
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


@dataclass(frozen=True, slots=True)
class Amount:
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


@dataclass(frozen=True, slots=True)
class Date:
    """A date in figures; year or day may be missing. `written` has the order of the text: `ymd`, `dmy`, `md`, ..."""

    year: str
    month: str
    day: str
    written: str = "ymd"


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, or a duration where the text says so; `half` is `a`, `p` or nothing."""

    hour: str
    minute: str = ""
    second: str = ""
    fraction: str = ""
    half: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """From one value to another of its kind; `between` is what stood there."""

    first: Amount | Clock
    last: Amount | Clock
    between: str


@dataclass(frozen=True, slots=True)
class Telephone:
    """Groups of digits; the first one is a country's where `plus` is set."""

    groups: tuple[str, ...]
    plus: bool = False
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Digits:
    """Groups of digits with one mark between them: `192.168.0.1`, `978-7-111`, `1/2/3`, `16:9`, `3x4` and a unit."""

    groups: tuple[str, ...]
    mark: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Fraction:
    """`1/2`, with the whole number before it and its sign; two pressures where the unit is (`120/80mmHg`)."""

    top: str
    bottom: str
    whole: str = ""
    sign: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Power:
    """`1.5e-3`: a number and the power of ten it is multiplied with."""

    number: Number
    exponent: str


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a formula.

    Attributes:
        kind: `negative` is the minus of a number, `sign` any other operator.
        text: digits without separators, a letter, the exponent (`-3`, `n`), or the operator as it is written.
        unit: of a number: `%`, `°` or none.
    """

    kind: Literal["number", "letter", "power", "negative", "sign"]
    text: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Formula:
    """Operands, operators, powers and roots, in order."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Standard:
    """`GB/T 2828.1-2012`, `ISO 9001:2015`: who made it, its number and, behind a mark, its year."""

    name: str
    number: str
    mark: str
    year: str


Value: TypeAlias = Amount | Date | Clock | Range | Telephone | Digits | Fraction | Power | Formula | Standard


@dataclass(frozen=True, slots=True)
class Place:
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
