"""Korean numerals in Hangul: Sino-Korean, native and digit by digit."""

from __future__ import annotations

_DIGITS = "영일이삼사오육칠팔구"
_PLACES = ("", "십", "백", "천")
_MYRIADS = ("", "만", "억", "조", "경", "해")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
MAX_CARDINAL_DIGITS = 4 * len(_MYRIADS)


def digit_by_digit(digits: str) -> str:
    """`010` -> 영일영."""
    return "".join(_DIGITS[int(digit)] for digit in digits)


def sino(digits: str) -> str:
    """`2024` -> 이천이십사; a number too long for the scale is read digit by digit."""
    digits = digits.lstrip("0")
    if not digits:
        return "영"
    if len(digits) > MAX_CARDINAL_DIGITS:
        return digit_by_digit(digits)
    groups = []
    while digits:
        groups.append(digits[-4:])
        digits = digits[:-4]
    spoken = ""
    for power in range(len(groups) - 1, -1, -1):
        group = _sino_group(groups[power])
        if not group:
            continue
        # 10000 is 만, not 일만; 1 0000 0000 is 일억.
        is_bare_man = power == 1 and group == "일" and power == len(groups) - 1
        spoken += ("" if is_bare_man else group) + _MYRIADS[power]
    return spoken


def _sino_group(digits: str) -> str:
    spoken = ""
    for place, digit in zip(range(len(digits) - 1, -1, -1), digits, strict=True):
        if digit == "0":
            continue
        spoken += ("" if digit == "1" and place else _DIGITS[int(digit)]) + _PLACES[place]
    return spoken


def native(digits: str) -> str:
    """`12` -> 열두, the form before a counter; a hundred and more starts in Sino-Korean: `365` -> 삼백예순다섯."""
    digits = digits.lstrip("0")
    if not digits or len(digits) > 3:
        return sino(digits)
    hundreds, rest = digits[:-2], digits[-2:].rjust(2, "0")
    high = sino(hundreds + "00") if hundreds else ""
    if rest == "20":
        return high + "스무"
    return high + _NATIVE_TENS[int(rest[0])] + _NATIVE_ONES[int(rest[1])]


def decimal(whole: str, fraction: str) -> str:
    """`3`, `14` -> 삼점일사."""
    return f"{sino(whole)}점{digit_by_digit(fraction)}"
