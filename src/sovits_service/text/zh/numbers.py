"""Chinese number words."""

from __future__ import annotations

DIGIT_WORDS = "零一二三四五六七八九"
_SMALL_UNITS = ("", "十", "百", "千")
_LONGEST_CARDINAL = 16


def read_digits(digits: str, *, telephone: bool = False) -> str:
    """`1203` -> 一二零三; on the telephone and in codes a one is 幺."""
    words = "".join(DIGIT_WORDS[int(digit)] for digit in digits)
    return words.replace("一", "幺") if telephone else words


def read_cardinal(digits: str) -> str:
    """`10050` -> 一万零五十; digit by digit beyond sixteen digits."""
    digits = digits.lstrip("0")
    if not digits:
        return "零"
    if len(digits) > _LONGEST_CARDINAL:
        return read_digits(digits)
    words = _read_groups(digits)
    if words[1:2] in ("千", "万", "亿") and words[0] == "二":
        return "两" + words[1:]  # 两千, but 二百 and 一万二千
    return words[1:] if words.startswith("一十") else words


def _read_groups(digits: str) -> str:
    """The part above 亿, above 万, and the rest; a gap of zeros within is said once."""
    for length, unit in ((8, "亿"), (4, "万")):
        if len(digits) > length:
            high, low = digits[:-length], digits[-length:]
            rest = low.lstrip("0")
            words = _read_groups(high) + unit
            if not rest:
                return words
            return words + ("零" if len(rest) < length else "") + _read_groups(rest)
    words = ""
    for i, digit in enumerate(digits):
        if digit != "0":
            words += DIGIT_WORDS[int(digit)] + _SMALL_UNITS[len(digits) - 1 - i]
        elif not words.endswith("零") and digits[i:].strip("0"):
            words += "零"
    return words


def read_number(number: str) -> str:
    """`3.20` -> 三点二零, `.5` -> 零点五, `0012` -> 十二."""
    whole, _, decimals = number.partition(".")
    # parity: of several zeros at the end of a decimal the original says one
    kept = decimals.rstrip("0") + "0" if decimals.endswith("0") else decimals
    words = read_cardinal(whole)
    return f"{words}点{read_digits(kept)}" if kept else words
