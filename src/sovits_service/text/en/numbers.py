"""Numbers in English words: integers, digits, years, ordinals and decimals (American, without "and")."""

from __future__ import annotations

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen""".split()  # noqa: SIM905
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = """_ thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion
decillion""".split()  # noqa: SIM905
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
MAX_CARDINAL_DIGITS = 3 * len(_SCALES)


def cardinal(digits: str | int) -> str:
    """`12345` as twelve thousand, three hundred forty-five; a number too long for a name digit by digit."""
    number = str(digits).lstrip("0") or "0"
    if len(number) > MAX_CARDINAL_DIGITS:
        return spell_digits(number)
    groups = []
    for scale in range((len(number) + 2) // 3):
        end = len(number) - 3 * scale
        value = int(number[max(0, end - 3) : end])
        if value:
            groups.append((value, _SCALES[scale] if scale else ""))
    if not groups:
        return _ONES[0]
    words = ""
    for value, name in reversed(groups):
        if words:
            # No comma before a remainder below one hundred: one thousand five.
            words += " " if value < 100 and not name else ", "
        words += _below_thousand(value) + (f" {name}" if name else "")
    return words


def _below_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = f"{_ONES[hundreds]} hundred" if hundreds else ""
    if not rest:
        return words
    return f"{words} {_below_hundred(rest)}" if words else _below_hundred(rest)


def _below_hundred(value: int) -> str:
    if value < 20:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def ordinal(digits: str | int) -> str:
    """`21` as twenty-first."""
    return ordinal_of_words(cardinal(digits))


def ordinal_of_words(words: str) -> str:
    """The last word of a number as an ordinal."""
    at = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:at], words[at:]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def spell_digits(digits: str, zero: str = "zero") -> str:
    """`105` as one zero five; other characters are passed over."""
    return " ".join(zero if c == "0" else _ONES[int(c)] for c in digits if c in "0123456789")


def year(digits: str | int) -> str:
    """`1998` as nineteen ninety-eight, `2005` as two thousand five, `1905` as nineteen oh five, `1900` with hundred.

    Any other number is read as it counts.
    """
    value = int(digits)
    high, low = divmod(value, 100)
    if not 1000 < value < 10000 or (high % 10 == 0 and low < 10):
        return cardinal(value)
    if low == 0:
        return f"{_below_hundred(high)} hundred"
    return f"{_below_hundred(high)} {'oh ' if low < 10 else ''}{_below_hundred(low)}"


def decimal(whole: str, fraction: str) -> str:
    """`3`, `14` as three point one four."""
    return f"{cardinal(whole or '0')} point {spell_digits(fraction)}"


def plural(words: str) -> str:
    """The last word in the plural: twenties, halves, sixths."""
    if words.endswith("half"):
        return f"{words[:-1]}ves"
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return words + ("es" if words.endswith(("x", "s", "sh", "ch")) else "s")
