"""How Mandarin says amounts: numbers with units, money, ranges of them, and bare numbers as codes or counts."""

from __future__ import annotations

import re
from functools import lru_cache

from sovits_service.text.kinds.units import unit_names
from sovits_service.text.kinds.values import Amount, Number, Place
from sovits_service.text.zh import notation as context
from sovits_service.text.zh.notation import notation
from sovits_service.text.zh.numbers import read_cardinal, read_digits, read_number
from sovits_service.text.zh.own_kinds import YEAR_LIKE, read_code

_CELSIUS = frozenset(("°C", "℃", "°"))
_FAHRENHEIT = frozenset(("°F", "℉"))
_DEGREES = _CELSIUS | _FAHRENHEIT
_SHARES = {"%": "百分之", "‰": "千分之"}
_LONGEST_COUNT_DIGITS = 8
_ROOM_DIGITS = 4
_MODEL_NAME = re.compile(r"[A-Z]{1,5} ?$")
_CURRENCY_CODE = re.compile(r"(?:RMB|USD|CNY|EUR|JPY|GBP|HKD|TWD|KRW|NT|US|HK)\s?$")
_PRICED = re.compile(r"[了有达到共价格超过近约卖花付售下仅剩余多少罚奖赔缴充氪赚亏省欠借还涨跌降扣补贴]$|为$|是$")
_MONEY_AFTER = re.compile("[万亿]?(?:元|块|[美欧日港]元|英镑)")
_STATUS_BEFORE = re.compile(r"(?:返回|状态码|错误码?|报错|抛出|响应|HTTP)\s?$")
_CHANNEL_BEFORE = re.compile(r"(?:频道|直播间|房间|口令|暗号)\s?$")
_PAIR_BEFORE = re.compile(r"(?:\d-\d{1,2}|比[零一二三四五六七八九十]{1,3})\s?[、,，和]\s?$")
_PAIR_AFTER = re.compile(
    r"\s?[、,，和]\s?\d{1,2}-\d{1,2}(?![\d-]|\s?(?:[年月日号点岁元个人万%米千克天分秒页章节层]|小时))"
)
_MATCH_WORDS = re.compile(
    "逆转|横扫|击败|战胜|打败|险胜|完胜|[大小]胜|不敌|决赛|晋级|夺冠|局分|盘分|苦战|[男女][排乒单双]|选手|网球|羽毛球|排球"
)
_CHAT = re.compile(r"6{3,}|23{2,}")


@lru_cache(maxsize=1)
def per_words() -> dict[str, str]:
    words = dict(unit_names("zh"))
    return {sign: words[sign] for sign in ("h", "hr", "s", "sec", "min", "kg", "g", "L", "l", "dL", "mL", "m", "km",
                                           "m²", "m2", "m³", "m3", "cm³", "cm2", "cm²", "kWh")}  # fmt: skip


def say_range(first: Amount, last: Amount, between: str, place: Place) -> str | None:
    """A score, a difference, a span of years, or from one amount to another."""
    low, high = first.number, last.number
    bare = not (first.unit or last.unit)
    if bare and not (first.scale or last.scale):
        if between in "-–—" and (
            context.SCORE_BEFORE.search(place.before[-12:]) or context.SCORE_AFTER.match(place.after)
        ):
            counted = re.match(r"\s?(?:[年月日号点岁元个人万%米千克天分秒]|小时)", place.after)
            if len(low.digits) < 4 > len(high.digits) and not (low.sign or high.sign) and not counted:
                return f"{read_number(low.digits)}比{read_number(high.digits)}"
        if _is_code(low.digits, place.before):
            return None
        if between in "-–—" and _is_set_score(place):
            return f"{read_number(low.digits)}比{read_number(high.digits)}"
        if _is_difference(low, high, place.after):
            return f"{read_number(low.digits)}减{read_number(high.digits)}"
        years = YEAR_LIKE.fullmatch(low.digits) and YEAR_LIKE.fullmatch(high.digits)
        if years and not context.COUNTED.match(place.after):
            return f"{read_digits(low.digits)}到{read_digits(high.digits)}"
    unit = last.unit or first.unit
    if first.is_money or last.is_money:
        unit = first.unit if first.is_money else last.unit
    joint = between if between in ("至", "到") else "到"
    own = first.unit or (unit if unit in _SHARES or unit in _DEGREES else "")
    start = _measured(first, own, place, counted=bool(last.scale or last.unit))
    if first.unit and first.unit != unit:
        start += unit_names("zh").get(first.unit, "")
    elif unit in _CELSIUS and (low.sign == "-" or first.unit):
        start += "度"  # 零下五度到三度
    return start + joint + _measured(last, unit, place, counted=True) + _ending(last, unit, place)


def _is_set_score(place: Place) -> bool:
    """One of several scores in a row (25-23、19-25) in a text about a match."""
    listed = _PAIR_BEFORE.search(place.before) or _PAIR_AFTER.match(place.after)
    return listed is not None and _MATCH_WORDS.search(place.text, max(0, place.start - 60), place.end + 60) is not None


def _is_difference(low: Number, high: Number, after: str) -> bool:
    if low.sign or high.sign:
        return False
    return after.startswith(("等于", "得", "=")) or (float(low.digits) > float(high.digits) and not after[:1].isalpha())


def say_amount(value: Amount, place: Place) -> str | None:
    if not (value.unit or value.number.sign):
        return _plain(value, place)
    return _measured(value, value.unit, place) + _ending(value, value.unit, place)


def _measured(value: Amount, unit: str, place: Place, *, counted: bool = False) -> str:
    """The number with its sign and scale, per cent before it."""
    number, after = value.number, place.after
    digits = re.sub(r"\.00$", "", number.digits) if value.is_money else number.digits
    counted = counted or bool(value.scale or unit) or context.PAIRED.match(after) is not None
    two = digits == "2" and counted and unit not in _SHARES and unit not in _DEGREES
    words = _SHARES.get(unit, "") + ("两" if two else read_number(digits))
    cold = unit in _CELSIUS or (not unit and re.match("摄氏|度(?!数)", after))
    if unit in _FAHRENHEIT:
        words = {"-": "华氏负", "+": "华氏正"}.get(number.sign, "华氏") + words
    elif number.sign == "-" and cold:
        words = words if place.before.endswith("零下") else "零下" + words
    else:
        words = {"-": "负", "+": "正" if cold else "加", "±": "正负"}.get(number.sign, "") + words
    return words + value.scale.replace("+", "多") + ("多" if value.more else "")


def _ending(value: Amount, unit: str, place: Place) -> str:
    """The name of the unit or currency, unless it is written out behind."""
    if unit in _SHARES:
        return ""
    names = notation().currencies if unit in notation().currencies else unit_names("zh")
    name = names.get(unit, "")
    per = f"每{per_words()[value.per]}" if value.per else ""
    written = ("元", "块", "美元", "美金", "欧元", "英镑", "日元", "港币", "港元", *((name,) if name else ()))
    if value.is_money and place.after.startswith(written):
        name = ""
    return name + per


def _is_code(digits: str, before: str) -> bool:
    return context.CODE_BEFORE.search(before) is not None or (
        len(digits) >= 5 and context.TELEPHONE_BEFORE.search(before) is not None
    )


def _plain(value: Amount, place: Place) -> str:
    """A number without unit: a code by its digits, everything else by its value."""
    number, before = value.number.digits, place.before[-14:]
    rest = value.scale.replace("+", "多") + ("多" if value.more else "")
    after = rest + place.after
    if "." in number:
        whole, _, decimals = number.partition(".")
        return read_number(whole if decimals == "00" and _MONEY_AFTER.match(after) else number) + rest
    if number == "2" and not _ends_in_letter(before) and not before.endswith(("第", "初", "周", "星期", "礼拜", "十")):
        pairs = context.PAIRED.match(after, 1 if after[:1] in ("多", "余", "几", "来") else 0)
        if (pairs or after.startswith("点")) and not context.NOT_PAIRED.match(after):
            return "两" + rest
    if before.endswith("第"):
        return read_cardinal(number) + rest
    if not value.number.grouped and _reads_as_code(number, before, after):
        return read_code(number) + rest
    is_year = YEAR_LIKE.fullmatch(number) and not value.number.grouped and not context.COUNTED.match(after)
    if is_year and not _PRICED.search(before):
        return read_digits(number) + rest
    return read_cardinal(number) + rest


def _ends_in_letter(before: str) -> bool:
    return before[-1:].isascii() and before[-1:].isalpha()


def _reads_as_code(number: str, before: str, after: str) -> bool:
    if len(number) < 3:
        return number.startswith("0") and len(number) > 1
    if _is_code(number, before) or (_MODEL_NAME.search(before) and not _CURRENCY_CODE.search(before)):
        return True
    if context.CODE_AFTER.match(after):
        return True
    if context.COUNTED.match(after):
        return number.startswith("0")
    if _STATUS_BEFORE.search(before) and len(number) == 3 and number[0] in "12345":
        return True
    if _CHANNEL_BEFORE.search(before) or _CHAT.fullmatch(number) or number in context.NAMED_NUMBERS:
        return True
    if number.startswith("0") or _ends_in_letter(before.rstrip("-·,")):
        return True
    if before.endswith(("单元", "栋", "楼", "座")) and len(number) <= _ROOM_DIGITS:
        return True
    if re.search(r"\d\.\d{1,3}[:：]$", before) or (len(number) > 6 and before.endswith(("是", "为", "：", ":"))):
        return True  # a port, an account
    return len(number) > _LONGEST_COUNT_DIGITS and not number.endswith("0000")
