"""Chinese numerals as Cantonese says them."""

from __future__ import annotations

_DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_MYRIADS = ("", "萬", "億", "萬億")
MAX_CARDINAL_DIGITS = 16


def digit_by_digit(digits: str, one: str = "一") -> str:
    """`2024` -> 二零二四."""
    return "".join(one if digit == "1" else _DIGITS[int(digit)] for digit in digits)


def cardinal(digits: str) -> str:
    """`12` -> 十二, `10500` -> 一萬零五百; a number too long for the scale is read digit by digit."""
    digits = digits.lstrip("0")
    if not digits:
        return "零"
    if len(digits) > MAX_CARDINAL_DIGITS:
        return digit_by_digit(digits)
    groups = []
    while digits:
        groups.append(digits[-4:])
        digits = digits[:-4]
    spoken, is_gap = "", False
    for power in range(len(groups) - 1, -1, -1):
        group = groups[power]
        if not group.strip("0"):
            is_gap = True
            continue
        zero = "零" if spoken and (is_gap or group[0] == "0") else ""
        spoken += zero + _group(group) + _MYRIADS[power]
        is_gap = False
    return spoken.removeprefix("一") if spoken.startswith("一十") else spoken


def _group(digits: str) -> str:
    spoken, is_gap = "", False
    for place, digit in zip(range(len(digits) - 1, -1, -1), digits, strict=True):
        if digit == "0":
            is_gap = True
            continue
        spoken += ("零" if is_gap and spoken else "") + _DIGITS[int(digit)] + _PLACES[place]
        is_gap = False
    return spoken


def number(written: str) -> str:
    """A number as such: cardinal, decimal, or digits where it starts with a zero."""
    whole, _, fraction = written.replace(",", "").partition(".")
    if fraction:
        return f"{cardinal(whole)}點{digit_by_digit(fraction)}"
    if len(whole) > 1 and whole[0] == "0":
        return digit_by_digit(whole)
    return cardinal(whole)
