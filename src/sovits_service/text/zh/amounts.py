"""Text in, the same text with telephone numbers, amounts, units, formulas and plain numbers said in characters out."""

from __future__ import annotations

import re
from collections.abc import Callable

from sovits_service.text.spoken import Spoken
from sovits_service.text.zh import notation as context
from sovits_service.text.zh.notation import notation
from sovits_service.text.zh.numbers import read_cardinal, read_digits, read_number

_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?!\d|,\d)")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3}(?: \d{3})+)(?![\d.]| \d)")
_CARD = re.compile(r"(?<![\d.])\d{4}(?:[ -]\d{4}){2,4}(?:[ -]\d{1,3})?(?!\d)")
_MORE_THAN = re.compile(r"(?<=\d)\+(?=[\u4e00-\u9fff])|(?<=[万亿千百])\+")
_UP_TO = re.compile(
    r"(?<![信编]号)(?:(?<=[\d零一二三四五六七八九十两半几百千万亿][年月日号点时分秒岁元度米克天周万亿千百%℃])"
    r"|(?<=小时|公里|公斤|方米)|(?<=[千厘毫公]米)|(?<=[千毫]克)|(?<=\d[%℃])|(?<=[万亿千百]))\s?[-~～–—]\s?(?=\d)"
    r"|(?<=[年月日号点时分秒岁元度米克天周])\s?[~～–—]\s?(?=\d)"
)
_AIRCRAFT = re.compile(
    r"(?<=[歼运轰直苏图鹰])-(?=\d{1,3}(?!\d))|(?<=米格|东风|长征|神舟|红旗|巨浪|嫦娥|天宫|波音|空客)-(?=\d)"
)
_BY_VOLUME = re.compile(r"(?<=\d)%\s?vol(?![A-Za-z])")
_CALLED = r"1(?:10|19|20|22)"
_EMERGENCY = re.compile(
    rf"(?<=[打拨叫报])({_CALLED})(?![\d.])|(?<![\d.])({_CALLED}(?:[、和,，及与]{_CALLED})+)(?![\d.])"
)
_BLOOD_PRESSURE = re.compile(r"(?<![\d./])(\d{2,3})/(\d{2,3})\s?(?:mmHg|毫米汞柱)")
_FAHRENHEIT = re.compile(r"(?<![\d.])(-?\d+(?:\.\d+)?)\s?(?:℉|°F)")
_NUMERO = re.compile(r"№\s?(\d+)")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?)[eE](-?\d{1,3})(?![A-Za-z\d])")
_DIGITS = re.compile(r"\d+")
_CHAT = re.compile(r"6{3,}|23{2,}")
_METRES_AND_MORE = re.compile(r"(?<![\d.])(\d)(米|块|毛)(\d{1,2})(?![\d.]|[\u4e00-\u9fff]*[厘分公毫])")
_MOBILE = re.compile(r"(?<![\d.])(?:(\+?86)[ -]?)?(1[3-9]\d)([ -]?)(\d{4})\3(\d{4})(?!\d)")
_LANDLINE = re.compile(
    r"(?<![\d.-])(?:(\+?86)[ -])?(?:[(（](0\d{2,3})[)）][ -]?|(0(?:10|2\d|[3-9]\d{2}))[ -]?)"
    r"([1-9]\d{2,3}[ -]?\d{4})(?:[-转](\d{1,5}))?(?!\d)"
)
_SERVICE = re.compile(r"(?<![\d.-])([48]00)([ -]?)(\d{3}|\d{4})([ -]?)(\d{4}|\d{3})(?!\d)")
_DOTTED = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_GROUPED = re.compile(r"(?<![\d.-])\d+(?:-\d+){2,}(?![\d-])")
_CELSIUS_ONLY = re.compile(r"(?:零下|气温|温度|体温|低温|高温|最低|最高|水温|室温)[^，。,\d]{0,6}$")

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
_MAGNITUDE = r"(?:万亿|千亿|百亿|十亿|千万|百万|十万|亿|万|千|百)"
_POWER = "⁰¹²³⁴⁵⁶⁷⁸⁹ˣʸⁿ"
_POWER_TABLE = str.maketrans(_POWER, "0123456789xyn")
_OPERATORS = {
    "+": "加",
    "-": "减",
    "×": "乘",
    "*": "乘",
    "x": "乘",
    "X": "乘",
    "÷": "除",
    "=": "等于",
    "<": "小于",
    ">": "大于",
}
_OPERAND = rf"(?:[-√]?(?:{_NUMBER}|(?<![A-Za-z])[A-Za-zα-ωΑ-Ω](?![A-Za-z]))(?:[{_POWER}]+|\^-?\d+|%)?)"
_FORMULA = re.compile(
    rf"(?<![A-Za-z0-9.]){_OPERAND}(?:\s?(?:[+×÷=*<>≤≥≠≈±/-]|(?<=\d)[xX](?=\d))\s?{_OPERAND})+(?![A-Za-z0-9]|\.\d)"
)
_EQUATION_SIGN = re.compile(r"[+×÷=*<>≤≥≠≈±^√⁰-⁹ⁿˣʸ²³¹]|(?<=\d)[xX](?=\d)")
_POWERS = re.compile(rf"([{_POWER}]+)|\^(-?\d+)")
_FRACTION = re.compile(rf"(?<![\d./])([-−])?({_NUMBER})/(\d+)(?![\d/]|\.\d)")
_SLASHES = re.compile(r"(?<![\d./])\d+(?:/\d+){2,}(?![\d/])")
_PLAIN = re.compile(rf"(?<![\d.])({_NUMBER})([多余几来+]?)")
_YEAR_LIKE = re.compile(r"(?:19|20)\d\d")
_LONGEST_COUNT_DIGITS = 8
_ROOM_DIGITS = 4


class AmountRules:
    """The patterns that hold the tables' symbols, compiled once."""

    def __init__(self) -> None:
        table = notation()
        self._units = table.units
        self._currencies = table.currencies
        self._signs = table.signs
        units, currencies = table.alternatives("units"), table.alternatives("currencies")
        signed = rf"(?:(?<![A-Za-z\d])[-+±])?{_NUMBER}"
        unit = rf"(?:(?:{units})(?![A-Za-z\d])(?<!A(?=[级座股罩货类型区班组版楼栋馆]))(?<!s(?=店))|%|‰)"
        self._amount = re.compile(
            rf"(?P<currency>{currencies})?\s?(?<![\d.])(?P<first>{signed})\s?(?P<unit>{unit})?"
            rf"(?:\s?(?P<to>[-~～〜–—]|(?<=\d)[至到])\s?(?P<currency2>{currencies})?(?<![\d.])(?P<second>-?{_NUMBER})\s?(?P<unit2>{unit})?)?"
            rf"(?P<more>[+多余])?(?P<magnitude>{_MAGNITUDE})?(?P<more2>[+多余])?\s?(?P<after>{currencies})?"
        )
        self._per_unit = re.compile(rf"(?<=[\u4e00-\u9fff])\s?/\s?({units})(?![A-Za-z\d])")
        self._loose_unit = re.compile(rf"(?<=[多少几数每百千万亿半十])({units})(?![A-Za-z\d])")
        self._bare_area = re.compile(r"(?<![A-Za-z])(k|c|m)?m([²³])")
        self._sign = re.compile(rf"({table.alternatives('signs')})")

    def read(self, text: Spoken) -> Spoken:
        text = text.sub(self._per_unit, lambda m: "每" + self._units[m[1]])
        text = text.sub(self._bare_area, lambda m: self._units[m.group()])
        text = text.sub(self._loose_unit, lambda m: self._units[m[1]])
        if any(character.isdigit() for character in text.text):
            for pattern, read in self._passes():
                text = text.sub(pattern, read)
        return text.sub(self._sign, self._read_sign)

    def _passes(self) -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]:
        return (
            (_THOUSANDS, lambda m: m[1].replace(",", "")),
            (_CARD, lambda m: ",".join(map(_say_code, re.split("[ -]", m.group())))),
            (_SPACED_THOUSANDS, lambda m: m[1].replace(" ", "")),
            (_AIRCRAFT, lambda _: ""),
            (_BY_VOLUME, lambda _: "%"),
            (_BLOOD_PRESSURE, lambda m: f"{read_number(m[1])},{read_number(m[2])}毫米汞柱"),
            (_FAHRENHEIT, lambda m: "华氏" + ("负" if m[1][0] == "-" else "") + read_number(m[1].lstrip("-")) + "度"),
            (_NUMERO, lambda m: read_cardinal(m[1]) + "号"),
            (_SCIENTIFIC, _read_scientific),
            (_MORE_THAN, lambda _: "多"),
            (_UP_TO, lambda _: "到"),
            (_METRES_AND_MORE, lambda m: f"{'两' if m[1] == '2' else read_digits(m[1])}{m[2]}{read_digits(m[3])}"),
            (_MOBILE, _read_mobile),
            (_LANDLINE, _read_landline),
            (
                _SERVICE,
                lambda m: ",".join(_say_code(m[i]) for i in (1, 3, 5)) if m[2] or m[4] else _say_code(m.group()),
            ),
            (_DOTTED, lambda m: "点".join(read_digits(part) for part in m.group().split("."))),
            (_GROUPED, _read_groups),
            (_SLASHES, lambda m: ",".join(read_cardinal(part) for part in m.group().split("/"))),
            (_FORMULA, self._read_formula),
            (_FRACTION, _read_fraction),
            (self._amount, self._read_amount),
            (_POWERS, _read_power),
            (_EMERGENCY, _read_emergency),
            (_PLAIN, _read_plain),
        )

    def _read_formula(self, match: re.Match[str]) -> str:
        """Only what has a sign that no date, range or fraction has; the numbers in it are read here."""
        formula = match.group()
        if not _EQUATION_SIGN.search(formula, 1):
            return formula
        said: list[str] = []
        for i, part in enumerate(re.findall(rf"{_NUMBER}%?|[A-Za-zα-ωΑ-Ω]|[{_POWER}]+|\^-?\d+|\S", formula)):
            power = _POWERS.fullmatch(part)
            if power:
                said.append(_read_power(power))
            elif part[0].isdigit() or (part[0] == "." and len(part) > 1):
                said.append(f"百分之{read_number(part[:-1])}" if part.endswith("%") else read_number(part))
            elif part == "-" and (i == 0 or said[-1] in _OPERATOR_WORDS):
                said.append("负")
            elif part == "/":
                said.append("除以")
            elif part in "xX" and not (said and said[-1][-1] in _NUMBER_WORDS):
                said.append(part)
            else:
                said.append(_OPERATORS.get(part) or self._signs.get(part) or part)
        return "".join(said)

    def _read_amount(self, match: re.Match[str]) -> str:
        """A number or a range of them with sign, currency and unit; without any of these it is left for later."""
        currency = match["currency"] or match["currency2"] or match["after"]
        unit = match["unit2"] or match["unit"]
        is_range = match["second"] is not None
        after = match.string[match.end() :]
        if not (currency or unit or is_range or match["first"][0] in "-+±"):
            return match.group()
        if is_range and not unit and not currency and _is_code(match, match["first"]):
            return match.group()
        if is_range and not unit and not currency and _is_difference(match, after):
            return f"{read_number(match['first'])}减{read_number(match['second'])}"
        if is_range and not unit and not currency and _is_year_range(match, after):
            return f"{read_digits(match['first'])}到{read_digits(match['second'])}"
        name = self._currencies[currency] if currency else self._units.get(unit or "", "")
        magnitude = match["magnitude"] or ""
        counted = bool(magnitude) or bool(name) or context.PAIRED.match(after) is not None
        numbers = [match["first"], *([match["second"]] if is_range else [])]
        numbers = [re.sub(r"\.00$", "", number) for number in numbers] if currency else numbers
        said = (match["to"] if match["to"] in ("至", "到") else "到").join(
            self._say_measured(number, unit if i or not is_range else match["unit"] or unit, counted, match)
            for i, number in enumerate(numbers)
        )
        more = "多" if match["more"] or match["more2"] else ""
        if is_range and unit in _TEMPERATURES and not match["unit"] and match["first"][0] == "-":
            said = said.replace("到", f"{name}到", 1)  # 零下五度到三度
        said = f"{said}{magnitude}{more}" if magnitude and match["more2"] else f"{said}{more}{magnitude}"
        if currency and after.startswith(("元", "块", "美元", "美金", "欧元", "英镑", "日元", "港币", "港元", name)):
            name = ""
        if match["unit"] and match["unit2"] and match["unit"] in self._units:
            first, _, second = said.partition("到")
            said = f"{first}{self._units[match['unit']]}到{second}"
        return said + name

    def _say_measured(self, number: str, unit: str | None, counted: bool, match: re.Match[str]) -> str:
        sign = number[0] if number[0] in "-+±" else ""
        digits = number[len(sign) :]
        words = "两" if digits == "2" and counted and unit not in _UNPAIRED_UNITS else read_number(digits)
        before = match.string[max(0, match.start() - 8) : match.start()]
        if unit in ("%", "‰"):
            words = ("百分之" if unit == "%" else "千分之") + read_number(digits)
        elif sign == "-" and (unit in _TEMPERATURES or re.match("摄氏|度(?!数)", match.string[match.end() :])):
            return words if before.endswith("零下") else "零下" + words
        return {"-": "负", "+": "正" if unit in _TEMPERATURES else "加", "±": "正负"}.get(sign, "") + words

    def _read_sign(self, match: re.Match[str]) -> str:
        """A lone sign is said beside a number or between words, and is no more than ink elsewhere."""
        text = match.string
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        sign = match[1]
        if sign in "<>＜＞":
            return self._signs[sign] if before in _NUMBER_WORDS and before and after in _NUMBER_WORDS and after else ""
        if sign in "∞√π±≤≥≈≠≦≧∵∴" or (before.isalnum() and after.isalnum()):
            return self._signs[sign] if before.isalnum() or after.isalnum() else ""
        return self._signs[sign] if sign in "+×÷=" and (before.isalnum() or after.isalnum()) else ""


_NUMBER_WORDS = frozenset("零一二三四五六七八九十百千万亿两点")
_OPERATOR_WORDS = frozenset(
    ("加", "减", "乘", "除", "等于", "小于", "大于", "除以", "小于等于", "大于等于", "约等于", "不等于")
)
_TEMPERATURES = frozenset(("°C", "℃", "°F", "℉", "°"))
_UNPAIRED_UNITS = frozenset(("%", "‰", "°C", "℃", "°F", "℉", "°"))


def _say_code(digits: str) -> str:
    return read_digits(digits, telephone=True)


def _read_emergency(match: re.Match[str]) -> str:
    if context.COUNTED.match(match.string, match.end()):
        return match[0]
    return _DIGITS.sub(lambda digits: _say_code(digits[0]), match[0])


def _read_scientific(match: re.Match[str]) -> str:
    power = ("负" if match[2][0] == "-" else "") + read_cardinal(match[2].lstrip("-"))
    return ("" if match[1] == "1" else read_number(match[1]) + "乘") + f"十的{power}次方"


def _read_mobile(match: re.Match[str]) -> str:
    country, first, separator, second, third = match.groups()
    number = ",".join(map(_say_code, (first, second, third))) if separator else _say_code(first + second + third)
    if not country:
        return number
    return ("加" if country[0] == "+" else "") + "八六," + number


def _read_landline(match: re.Match[str]) -> str:
    country, area = match[1], match[2] or match[3]
    parts = [_say_code(area), _say_code(re.sub("[ -]", "", match[4]))]
    if country:
        parts.insert(0, ("加" if country[0] == "+" else "") + "八六")
    said = ",".join(parts)
    return f"{said}转{_say_code(match[5])}" if match[5] else said


def _read_groups(match: re.Match[str]) -> str:
    """`1-2-3` is a sum as in the original; longer groups are a code, said with pauses."""
    parts = match.group().split("-")
    if all(len(part) == 1 for part in parts):
        return "减".join(read_digits(part) for part in parts)
    return ",".join(_say_code(part) for part in parts)


def _read_fraction(match: re.Match[str]) -> str:
    sign, top, bottom = match.groups()
    if top in context.NAMED_NUMBERS and bottom in context.NAMED_NUMBERS:
        return f"{_say_code(top)},{_say_code(bottom)}"
    if match.string[: match.start()].endswith("第"):
        return f"{read_cardinal(top)},{read_cardinal(bottom)}"
    if re.search(r"(?:血压|高压|低压)[^，。,]{0,6}$", match.string[max(0, match.start() - 10) : match.start()]):
        return f"{read_number(top)},{read_number(bottom)}"
    return f"{'负' if sign else ''}{read_number(bottom)}分之{read_number(top)}"


def _read_power(match: re.Match[str]) -> str:
    exponent = (match[1] or "").translate(_POWER_TABLE) or match[2]
    words = read_number(exponent.lstrip("-")) if exponent.lstrip("-").isdigit() else exponent
    return f"的{'负' if exponent.startswith('-') else ''}{words}次方"


def _is_difference(match: re.Match[str], after: str) -> bool:
    first, second = match["first"], match["second"]
    is_plain = first[0].isdigit() and second[0].isdigit() and not match["magnitude"]
    return is_plain and (
        after.startswith(("等于", "得", "=")) or (float(first) > float(second) and not after[:1].isalpha())
    )


def _is_year_range(match: re.Match[str], after: str) -> bool:
    years = (match["first"], match["second"])
    return all(map(_YEAR_LIKE.fullmatch, years)) and not (match["magnitude"] or context.COUNTED.match(after))


def _is_code(match: re.Match[str], digits: str) -> bool:
    before = match.string[max(0, match.start() - 14) : match.start()]
    return context.CODE_BEFORE.search(before) is not None or (
        len(digits) >= 5 and context.TELEPHONE_BEFORE.search(before) is not None
    )


def _read_plain(match: re.Match[str]) -> str:
    """A number without unit: a code by its digits, everything else by its value."""
    number, more = match.groups()
    more = "多" if more == "+" else more
    if "." in number:
        return read_number(number) + more
    after = match.string[match.end(1) :]
    before = match.string[max(0, match.start() - 14) : match.start()]
    if number == "2" and not _ends_in_letter(before) and not before.endswith(("第", "初", "周", "星期", "礼拜", "十")):
        pairs = context.PAIRED.match(after, 1 if more and after[:1] == more else 0)
        if (pairs or after.startswith("点")) and not context.NOT_PAIRED.match(after):
            return "两" + more
    if before.endswith("第"):
        return read_cardinal(number) + more
    if _reads_as_code(number, before, after, match):
        return _say_code(number) + more
    if (
        len(number) == 4
        and _YEAR_LIKE.fullmatch(number)
        and not context.COUNTED.match(after)
        and _names_year(before, after)
    ):
        return read_digits(number) + more
    return read_cardinal(number) + more


_MODEL_NAME = re.compile(r"[A-Z]{1,5} ?$")
_CURRENCY_CODE = re.compile(r"(?:RMB|USD|CNY|EUR|JPY|GBP|HKD|TWD|KRW|NT|US|HK)\s?$")


def _ends_in_letter(before: str) -> bool:
    return before[-1:].isascii() and before[-1:].isalpha()


def _names_year(before: str, after: str) -> bool:
    """A bare 2024 is a year unless something is counted or priced."""
    return re.search(r"[了有达到共价格超过近约卖花付售下仅剩余多少]$|为$|是$", before) is None


def _reads_as_code(number: str, before: str, after: str, match: re.Match[str]) -> bool:
    if len(number) < 3:
        return number.startswith("0") and len(number) > 1
    if _is_code(match, number) or (_MODEL_NAME.search(before) and not _CURRENCY_CODE.search(before)):
        return True
    if context.CODE_AFTER.match(after):
        return True
    if context.COUNTED.match(after):
        return number.startswith("0")
    if _CHAT.fullmatch(number):
        return True
    if number in context.NAMED_NUMBERS:
        return True
    if number.startswith("0") or _ends_in_letter(before.removesuffix("-")):
        return True
    if before.endswith(("单元", "栋", "号楼", "座")) and len(number) <= _ROOM_DIGITS:
        return True
    return len(number) > _LONGEST_COUNT_DIGITS and not number.endswith("0000")
