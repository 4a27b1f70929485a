"""Cantonese text as written in, text as spoken out: numbers, units, dates and signs in Chinese characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from sovits_service.text.spoken import Span, Spoken
from sovits_service.text.yue.numerals import cardinal, digit_by_digit, number
from sovits_service.text.yue.tables import CURRENCIES, GREEK, LATIN_WORDS, LETTER_NAMES, MEASURES, SIGNS, UNITS

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF10, 0xFF5B) if chr(code - 0xFEE0).isalnum()},
    **{ord(char): plain for char, plain in zip("　％＋－＝／＄＃＆＜＞", " %+-=/$#&<>", strict=True)},
    **{ord(char): "~" for char in "～〜∼"},
    **{ord(char): "-" for char in "−‐‑‒–"},
    0x2236: ":",
    0x2109: "°F",
}
_MARKS = {
    "：": ",", "；": ",", "，": ",", "。": ".", "！": "!", "？": "?", "\n": ".", "·": ",", "、": ",", "—": "-",
    "～": "-", "~": "-", ":": ",", ";": ",", "…": "…", "⋯": "…", "!": "!", "?": "?", ".": ".", ",": ",", "-": "-",
    "﹐": ",", "．": ".",
}  # fmt: skip


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_UNIT = _alternatives(UNITS)
_CURRENCY = _alternatives(CURRENCIES)
_MEASURE = _alternatives(MEASURES)
_SCALE = r"[十百千]?[萬万億亿]|[百千]"
_LONG = re.compile(r"\d{21,}")  # beyond any scale: digit by digit, and first, since every rule would search it
_ADDRESS = re.compile(r"https?://[!-~]+|www\.[!-~]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_DATE = re.compile(r"(?<![\d.])(\d{4})([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12]\d|3[01])(?![\d]|[-/]\d)")
_YEARS = re.compile(r"(?<!\d)(\d{4})\s?[-~至]\s?(\d{4})(?=\s?年)")
_DAY_FIRST = re.compile(r"(?<![\d/])(0?[1-9]|[12]\d|3[01])/(0?[1-9]|1[0-2])/(\d{4})(?![\d/])")
_STORE = re.compile(r"(?<![\d.-])7-(?:11|[Ee]leven)(?![\d.-])")
_DISCOUNT = re.compile(r"(?<!\d)([1-9][1-9])(?=\s?折)")
_YEAR = re.compile(r"(?<!\d)(\d{4}|(?<=['’])\d\d)(?=\s?年)|(?<!\d)(\d{4})(?=[-~至](?:\d{4}|\d\d)年)")
_CLOCK = re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])\s?(am|pm)?", re.IGNORECASE)
_HALF_DAY = re.compile(r"(?:朝早|朝頭早|上[晝昼午]|下[晝昼午]|晏晝|晏昼|夜晚|晚上|今晚|凌晨)\s?$")
_HOUR = re.compile(r"(?<![\d.:])(1[0-2]|0?[1-9])\s?(am|pm)(?![A-Za-z])", re.IGNORECASE)
_RATIO = re.compile(r"(?<![\d:.])(\d+)\s?:\s?(\d+)(?![\d:])")
_MOBILE = re.compile(r"(?<![\d.,])(?:\+?86[- ]?)?1[3-9]\d{9}(?!\d)")
_PHONE = re.compile(
    r"(?<![\d-])(?:\+?\d{1,3}[- ])?\d{3,4}[- ]\d{4}(?:[- ]\d{4})?(?![\d-])|(?<![\d-])0\d{2,3}-\d{7,8}(?!\d)"
)
_CALLED = re.compile(
    r"((?:電話|电话|致電|致电|熱線|热线|手機|手机|打去|WhatsApp|號碼|号码|密碼|密码|撥|拨)\D{0,4})(\d{3,12})(?!\d)"
)
_EMERGENCY = re.compile(r"(打|報|报|call\s?)(999|112|110|119|120)(?!\d)")
_SERIAL = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_MONEY_BEFORE = re.compile(rf"({_CURRENCY})\s?({_NUMBER})\s?({_SCALE})?", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"({_NUMBER})\s?({_SCALE})?\s?({_CURRENCY})(?![A-Za-z])")
_PERCENT = re.compile(rf"(-?)({_NUMBER})\s?([%‰])")
_PERCENT_RANGE = re.compile(rf"({_NUMBER})%?\s?[~-]\s?({_NUMBER})%")
_FRACTION = re.compile(r"(?<![\d/.])(\d+)/(\d+)(?![\d/])")
_COLD = re.compile(rf"-({_NUMBER})\s?(?:°C|℃|度)")
_RANGE = re.compile(
    rf"({_NUMBER}\s?(?:{_UNIT}|[一-鿿]{{1,2}})?)\s?[~]\s?(?={_NUMBER})|(?<![\d-])(\d+)\s?-\s?(?=\d+(?![\d-]))"
)
_MINUS = re.compile(r"(?<=\d)\s?-\s?(?=\d+(?:\.\d+)?\s?=)")
_ORDINAL = re.compile(r"(?<![A-Za-z])No\.\s?(?=\d)", re.IGNORECASE)
_NEGATIVE = re.compile(rf"(?<![\w一-鿿)])-(?={_NUMBER})")
_OPERATOR = re.compile(r"(?<=[\d)])\s*([+×÷=±<>≈])\s*(?=[\d(-])")
_SPEED = re.compile(rf"(?:時速|时速)?({_NUMBER})\s?(?:km/h|kph)(?![A-Za-z])")
_FAHRENHEIT = re.compile(rf"({_NUMBER})\s?°F")
_SQUARE = re.compile(r"(?<=\d)(\s?[kcm]?m)\^?([23])(?![\d.A-Za-z])")
_WITH_UNIT = re.compile(rf"(?<![A-Za-z\d.])({_NUMBER})\s?({_UNIT})(?![A-Za-z²³])(/[一-鿿])?")
_PAIR = re.compile(rf"(?<![\d.第])2(?=\s?(?:{_MEASURE}))(?!\s?(?:年級|年级|樓|楼|號|号|月份|日前|點五))")
_FLOOR = re.compile(r"(?<![\dA-Za-z/])(\d{1,3})/F(?![A-Za-z])")
_ROUTE = re.compile(r"((?:巴士|小巴|電車|专线|專線|搭|坐)[^\d,.!?，。]{0,4})(\d{3})(?=[A-Z]?[號号])")
_HEA = re.compile(r"(?<![A-Za-z])hea(?![A-Za-z])", re.IGNORECASE)
_ORDINAL_DAY = re.compile(r"(月)\s?2(?=\s?日)")
_PLAIN = re.compile(_NUMBER)
_SIGN_WORDS = {**GREEK, "&": "同", "№": "號", "℃": "度", "±": "正負", "√": "開方", "²": "平方", "³": "立方", "×": "乘"}
_HYPHENS = re.compile("-{2,}")


def normalize(text: Spoken) -> tuple[Spoken, list[Span]]:
    """Write a text out as it is spoken.

    Returns:
        Han characters, Latin capitals and `! ? … , . -` only, and the places of letters and numerals that were dropped.
    """
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0])).sub(_ADDRESS, _address)
    for pattern, speak in _PASSES:
        text = text.sub(pattern, speak)
    dropped: list[Span] = []
    text = text.replace("...", "…")
    for char, span in text.characters():
        if not _said(char) and unicodedata.category(char)[0] in "LN":
            dropped.append(span)
    return text.each(_said).sub(_HYPHENS, "-"), dropped


def _said(char: str) -> str:
    if is_han(char):
        return char
    if char in _MARKS:
        return _MARKS[char]
    if char in _SIGN_WORDS:
        return _SIGN_WORDS[char]
    return char.upper() if char.upper() in LETTER_NAMES else ""


def is_han(char: str) -> bool:
    return (
        "一" <= char <= "鿿"
        or "㐀" <= char <= "䶿"
        or "\U00020000" <= char <= "\U000323af"
        or "豈" <= char <= "\ufaff"
        or char == "々"
        or char == "〇"
    )


def fold(text: Spoken) -> Spoken:
    """One form for letters that Unicode writes in several: full width, squared units, circled numbers; no controls."""
    return text.normalized("NFC").translate(_FOLDED).each(_fold)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    if "\u3300" <= char <= "\u33ff" or "\u2460" <= char <= "\u2473" or "\u2160" <= char <= "\u217b":
        plain = unicodedata.normalize("NFKC", char)
        value = unicodedata.numeric(char, None)
        return f"{value:.0f}" if value is not None and not plain.isdecimal() else plain
    if char in "¼½¾⅓⅔⅛":
        return unicodedata.normalize("NFKC", char).replace("⁄", "/")
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "\n" or not unicodedata.category(char).startswith(("C", "M")):
        return " " if char.isspace() and char != "\n" else char
    return ""


def _address(match: re.Match[str]) -> str:
    """Its letters are spelt, its digits read one by one and its dots said."""
    return re.sub(r"\d+", lambda part: digit_by_digit(part[0]), match[0]).replace(".", "點")


def _clock(match: re.Match[str]) -> str:
    half = {"am": "朝早", "pm": "下晝"}.get((match[4] or "").lower(), "")
    if _HALF_DAY.search(match.string[: match.start()]):
        half = ""
    hour = "兩" if match[1] in ("2", "02") else cardinal(match[1])
    minute = ""
    if match[2] != "00":
        minute = ("零" if match[2][0] == "0" else "") + cardinal(match[2]) + "分"
    second = f"{'' if minute else '零分'}{cardinal(match[3])}秒" if match[3] else ""
    return f"{half}{hour}點{minute}{second}"


def _hour(match: re.Match[str]) -> str:
    half = "" if _HALF_DAY.search(match.string[: match.start()]) else "朝早" if match[2][0] in "aA" else "下晝"
    return f"{half}{'兩' if int(match[1]) == 2 else cardinal(match[1])}點"


def _phone(match: re.Match[str]) -> str:
    return re.sub(r"\d+", lambda part: digit_by_digit(part[0]), re.sub(r"[- +]", "", match[0]))


def _money_before(match: re.Match[str]) -> str:
    return f"{_amount(match[2], match[3] or '')}{CURRENCIES[match[1].upper()]}"


def _money_after(match: re.Match[str]) -> str:
    return f"{_amount(match[1], match[2] or '')}{CURRENCIES[match[3].upper()]}"


def _amount(digits: str, scale: str) -> str:
    if re.fullmatch(r"[\d,]+\.\d0", digits):
        digits = digits.rstrip("0").rstrip(".")
    return ("兩" if digits == "2" else number(digits)) + scale


def _percent(match: re.Match[str]) -> str:
    base = "百分之" if match[3] == "%" else "千分之"
    return f"{'負' if match[1] else ''}{base}{number(match[2])}"


def _with_unit(match: re.Match[str]) -> str:
    per = f"每{match[3][1]}" if match[3] else ""
    return ("兩" if match[1] == "2" else number(match[1])) + UNITS[match[2]] + per


_PASSES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_HEA, lambda match: LATIN_WORDS[match[0].lower()]),
    (_FLOOR, lambda match: f"{cardinal(match[1])}樓"),
    (_ROUTE, lambda match: match[1] + digit_by_digit(match[2])),
    (_DATE, lambda match: f"{digit_by_digit(match[1])}年{cardinal(match[3])}月{cardinal(match[4])}日"),
    (_DAY_FIRST, lambda match: f"{digit_by_digit(match[3])}年{cardinal(match[2])}月{cardinal(match[1])}日"),
    (_STORE, lambda match: "七十一"),
    (_DISCOUNT, lambda match: digit_by_digit(match[1])),
    (_YEARS, lambda match: f"{digit_by_digit(match[1])}至{digit_by_digit(match[2])}"),
    (_YEAR, lambda match: digit_by_digit(match[1] or match[2])),
    (_SQUARE, lambda match: match[1] + ("²" if match[2] == "2" else "³")),
    # parity: a mainland mobile number has 幺 for one.
    (_MOBILE, lambda match: digit_by_digit(re.sub(r"\D", "", match[0]), one="幺")),
    (_PHONE, _phone),
    (_CALLED, lambda match: match[1] + digit_by_digit(match[2])),
    (_EMERGENCY, lambda match: match[1] + digit_by_digit(match[2])),
    (_CLOCK, _clock),
    (_HOUR, _hour),
    (_SERIAL, lambda match: "點".join(cardinal(part) for part in match[0].split("."))),
    (_COLD, lambda match: f"零下{number(match[1])}度"),
    (_PERCENT_RANGE, lambda match: f"百分之{number(match[1])}至{number(match[2])}"),
    (_MONEY_BEFORE, _money_before),
    (_MINUS, lambda match: "減"),
    (_ORDINAL, lambda match: "第"),
    (_RANGE, lambda match: f"{match[1] or match[2]}至"),
    (_NEGATIVE, lambda match: "負"),
    (_PERCENT, _percent),
    (_FRACTION, lambda match: f"{cardinal(match[2])}分之{cardinal(match[1])}"),
    (_RATIO, lambda match: f"{cardinal(match[1])}比{cardinal(match[2])}"),
    (_OPERATOR, lambda match: SIGNS[match[1]]),
    (_SPEED, lambda match: f"時速{number(match[1])}公里"),
    (_FAHRENHEIT, lambda match: f"華氏{number(match[1])}度"),
    (_MONEY_AFTER, _money_after),
    (_WITH_UNIT, _with_unit),
    (_ORDINAL_DAY, lambda match: f"{match[1]}二"),
    (_PAIR, lambda match: "兩"),
    (_PLAIN, lambda match: number(match[0])),
)
