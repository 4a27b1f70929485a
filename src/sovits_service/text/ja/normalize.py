"""Japanese text as written in, text that OpenJTalk reads rightly out: numbers, units, dates, signs, Latin words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from sovits_service.text.ja.tables import CURRENCIES, DIGITS, LATIN_WORDS, LETTERS, SIGNS, UNITS, WORDS
from sovits_service.text.spoken import Spoken

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SCALE = r"[十百千]?[万億兆]|[百千]"
_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF10, 0xFF5B) if chr(code - 0xFEE0).isalnum()},
    **{ord(char): plain for char, plain in zip("＄＠％＋＝／＃", "$@%+=/#", strict=True)},
    **{ord(char): "-" for char in "−‐‑‒–－"},
    0x2236: ":",
    0x2044: "/",
    0x2109: "°F",
}
# a letter and its voicing mark at a time
_HALF_KANA = re.compile("[\uff66-\uff9d][\uff9e\uff9f]?|[\uff9e\uff9f]")


def _alternatives(words: dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_UNIT = _alternatives(UNITS)
_CURRENCY = _alternatives(CURRENCIES)
_COUNTER = "[時分秒日月年人個円歳階回枚本冊杯台匹名点番度%％週ヶか名泊倍割巻話章頁キメグセ]"
_LONG = re.compile(r"\d{21,}")  # beyond any scale: digit by digit, and first, since every rule would search it
_URL = re.compile(r"https?://[!-~]+|www\.[!-~]+", re.ASCII)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_DATE = re.compile(r"(?<![\d.])(\d{4})([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12]\d|3[01])(?!\d|[-/]\d)")
_SHORT_DATE = re.compile(r"(?<![\d/])(1[0-2]|0?[1-9])/(3[01]|[12]\d|0?[1-9])\s?(?=[(（][月火水木金土日祝][)）])")
_WEEKDAY = re.compile(r"(?<=日)\s?[(（]([月火水木金土日])[)）]")
_CLOCK = re.compile(r"(?<![\d:：])([01]?\d|2[0-4])[:：]([0-5]\d)(?:[:：]([0-5]\d))?(?![\d:：])")
# Counters after which OpenJTalk changes the sound where people do not: サンゲン, イックミ, ヒトパコ.
_CASES = re.compile(r"(?<=[3三千])件|(?<=000)件")
_CLASSES = re.compile(r"(?<=[168])組(?![織合みん])")
_BOX = re.compile(r"(?<!\d)1箱")
_TENTHS = re.compile(r"(\d割\d)分")
_WEEKDAYS = re.compile(r"(?<![一-鿿])([月火水木金土日])\s?[~〜～-]\s?([月火水木金土日])(?![一-鿿])")
_FIRST_DAY = re.compile(r"(?<!\d)1日(?=\s?(?:から|[~〜～-])\s?\d{1,2}日(?!間))")
_SOME_DAYS = re.compile(r"(?<![\d、])([2-7])、([3-8])日(?!間?[目ま]|曜)")
_DAYS_SAID = {"23": "ニサンニチ", "34": "サンヨッカ", "45": "シゴニチ", "56": "ゴロクニチ", "78": "シチハチニチ"}
_ROOM = re.compile(r"(?<![\d.,-])\d{3,4}(?=号室)")
_CODE = re.compile(r"((?:番号|コード|暗証番号|パスワード|ＩＤ|ID)(?:は|が|:|：)?\s?)(\d{4,})(?![\d,.-])")
_MIDNIGHT = re.compile(r"(?<![\d.])0時(?!間)")
_FROM = re.compile(r"(?<=[一-鿿])[~〜～](?=[一-鿿])")
_VERSION = re.compile(r"(?<![A-Za-z])[Vv]er\.\s?(?=\d)")
_TIMES = re.compile(r"(?<=[\dァ-ヶー²³])\s?×\s?(?=\d)")
_POWER = re.compile(r"(?<=\d)([²³])")
_SHARP = re.compile(r"(?<![A-Za-z])([A-Z])([#♯]|\+\+)")
_DIMENSIONS = re.compile(r"(?<![\dA-Za-z])([2-9])([DGK])(?![A-Za-z\d])")
_EACH = re.compile(r"(?<=[円人個回件本])/([個人本枚回件週])")
_PARTS = re.compile(r"([\d一二三四五六七八九十百千])分の(?=[\d一二三四五六七八九十百])")
_KANJI_DIGITS = re.compile(r"(?<![一二三四五六七八九十百千])[一二三四五六七八九]*〇[一二三四五六七八九〇]*(?![十百千])")
_UNTIL = re.compile(r"(?<=[\d分])(時)?\s?[-~〜～]\s?(?=\d{1,2}時)|(?<=曜日)[-~〜～](?=\d)")
_LOT = re.compile(r"(?<![\d-])\d+(?:-\d+){2,}(?![\d-])")
_FLOOR = re.compile(r"(?<![A-Za-z\d])(B?)(\d{1,2})F(?![A-Za-z\d])")
_PLUS = re.compile(r"(?<![\dA-Za-z])\+(?=\d)")
_EQUALS = re.compile(r"(?<=[\dA-Za-z一-鿿ァ-ヶー])\s?=\s?(?=[\d¥$A-Za-z])")
_HALF_DAY = re.compile(r"(午前|午後)?\s?(?<![\d.:])(1[0-2]|0?[1-9])\s?([AaPp])\.?[Mm](?![A-Za-z])\.?")
_BEST = re.compile(r"(?<![A-Za-z])No\.\s?1(?![\d.])", re.IGNORECASE)
_LABEL = re.compile(r"(?<![A-Za-z])(No|Vol)\.\s?(?=\d)", re.IGNORECASE)
_RATIO = re.compile(r"(?<![\d:：.])(\d+)\s?[:：]\s?(\d+)(?![\d:：])")
_SCORE = re.compile(
    r"(?<![\d-])(\d{1,3})\s?-\s?(\d{1,3})"
    r"(?=\s?(?:で[^、。\d]{0,10}(?:勝|負|敗|引き?分|快勝|辛勝|制|破|下し)|の(?:勝利|敗北|引き分け)))"
)
_FRACTION = re.compile(r"(?<![\d/.])(\d+)/(\d+)(?![\d/])")
_PHONE = re.compile(
    r"(?<![\d-])(?:\+81[- ]?)?0?\d{1,4}[-(（]\d{1,4}[-)）]\d{3,4}(?![\d-])|(?<![\d.,])0[5789]0\d{8}(?!\d)"
)
_POSTCODE = re.compile(r"(?:〒|郵便番号)\s?(\d{3})-(\d{4})")
_SERIAL = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_MONEY_BEFORE = re.compile(rf"({_CURRENCY})\s?({_NUMBER})\s?({_SCALE})?", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"({_NUMBER})\s?({_SCALE})?\s?({_CURRENCY})(?![A-Za-z])")
_SQUARE = re.compile(r"(?<=\d)(\s?[kcm]?m)\^?([23])(?![\d.A-Za-z])")
_FAHRENHEIT = re.compile(rf"({_NUMBER})\s?°F")
_WITH_UNIT = re.compile(rf"(?<![A-Za-z\d.])({_NUMBER})\s?({_UNIT})(?![A-Za-z²³])")
_PER_UNIT = re.compile(r"(?<=[ァ-ヶーパトル])/([時分秒日月年人])")
_RANGE = re.compile(r"(\d(?:[時分秒日月年人個円歳階回枚本度台%]|パーセント)?)\s?[~〜～]\s?(?=\d)")
_HYPHEN_RANGE = re.compile(rf"(?<![\d-])(\d{{1,4}})-(?=\d{{1,4}}{_COUNTER})")
_NEGATIVE = re.compile(rf"(?<![\dA-Za-z)])-(?={_NUMBER})")
_OPERATOR = re.compile(r"(?<=[\d)])\s*([+×÷=±≒])\s*(?=[\d(-])|(?<=\d)\s+(-)\s+(?=\d)")
_GROUPED = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!\d)")
_PERCENT = re.compile("%")
_LAUGH = re.compile(r"(?<![A-Za-z])[wW]{2,}(?![A-Za-z.])")
_LATIN = re.compile(r"[A-Za-zé]+(?:-[A-Za-z]+)*")
_WORDS = re.compile(_alternatives(WORDS))


def normalize(text: Spoken) -> Spoken:
    """Write a text so that OpenJTalk reads it rightly; what has no rule is left as it is."""
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0]))
    text = text.sub(_URL, lambda match: _address(match[0])).sub(_EMAIL, lambda match: _address(match[0]))
    text = text.sub(_WORDS, lambda match: WORDS[match[0]])
    for pattern, speak in _PASSES:
        text = text.sub(pattern, speak)
    return text


def fold(text: Spoken) -> Spoken:
    """One form for letters that Unicode writes in several: half-width kana, full-width digits, squared words."""
    text = text.normalized("NFC").sub(_HALF_KANA, lambda match: unicodedata.normalize("NFKC", match[0]))
    return text.translate(_FOLDED).each(_fold)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    if "\u3300" <= char <= "\u33ff" or "\u2460" <= char <= "\u2473" or "\u2160" <= char <= "\u217b":
        value = unicodedata.numeric(char, None)
        space = " " if char < "\u2480" and char >= "\u2460" else ""
        return f"{value:.0f}{space}" if value is not None else unicodedata.normalize("NFKC", char)
    if char in "¼½¾⅓⅔⅛":
        return unicodedata.normalize("NFKC", char).replace("⁄", "/")
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "\n" or char in "\u3099\u309a" or not unicodedata.category(char).startswith(("C", "M")):
        return " " if char.isspace() and char != "\n" else char
    return ""


def digit_by_digit(digits: str) -> str:
    """`03` -> ゼロサン."""
    return "".join(DIGITS[int(digit)] for digit in digits)


def _address(address: str) -> str:
    address = address.replace("www", "ダブリュー" * 3)
    for sign, word in (
        ("https://", ""),
        ("http://", ""),
        ("@", "アット"),
        (".", "ドット"),
        ("/", "スラッシュ"),
        ("-", "ハイフン"),
    ):
        address = address.replace(sign, word)
    return re.sub(r"\d+", lambda match: digit_by_digit(match[0]), address)


def _clock(match: re.Match[str]) -> str:
    minute = f"{int(match[2])}分" if match[2] != "00" or match[3] else ""
    return f"{int(match[1])}時{minute}" + (f"{int(match[3])}秒" if match[3] else "")


def _phone(match: re.Match[str]) -> str:
    number = match[0].replace("+81", "81").strip("-(（")
    return "、".join(digit_by_digit(part) for part in re.findall(r"\d+", number))


def _money_before(match: re.Match[str]) -> str:
    word = CURRENCIES[match[1].upper()]
    amount = match[2].replace(",", "")
    if match[3]:
        return f"{amount}{match[3]}{word}"
    whole, _, fraction = amount.partition(".")
    if word == "ドル" and len(fraction) == 2:
        return f"{whole}ドル" + (f"{int(fraction)}セント" if fraction != "00" else "")
    return f"{amount}{word}"


def _money_after(match: re.Match[str]) -> str:
    return f"{match[1].replace(',', '')}{match[2] or ''}{CURRENCIES[match[3].upper()]}"


def _with_unit(match: re.Match[str]) -> str:
    unit = UNITS[match[2]]
    # Kept apart, or OpenJTalk says ハチジュッヘーホー.
    return match[1].replace(",", "") + (" " if unit.startswith("平方") else "") + unit


def _latin(match: re.Match[str]) -> str:
    return LATIN_WORDS.get(match[0].lower(), match[0])


def spell(word: str) -> str:
    """Letter by letter, as kana."""
    return "".join(LETTERS.get(letter, "") for letter in word.lower())


_NAMED_SIZES = {
    "2D": "ツーディー",
    "3D": "スリーディー",
    "4G": "フォージー",
    "5G": "ファイブジー",
    "4K": "ヨンケー",
    "8K": "ハチケー",
}

_KANJI_VALUES = str.maketrans("〇一二三四五六七八九", "0123456789")

_PASSES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_POSTCODE, lambda match: f"郵便番号{digit_by_digit(match[1])}の{digit_by_digit(match[2])}"),
    (_KANJI_DIGITS, lambda match: match[0].translate(_KANJI_VALUES)),
    (_HALF_DAY, lambda match: f"{match[1] or ('午前' if match[3] in 'aA' else '午後')}{int(match[2])}時"),
    (_BEST, lambda match: "ナンバーワン"),
    (_LABEL, lambda match: {"no": "ナンバー", "vol": "ボリューム"}[match[1].lower()]),
    (_FLOOR, lambda match: f"{'地下' if match[1] else ''}{match[2]}階"),
    (_VERSION, lambda match: "バージョン"),
    (_WEEKDAYS, lambda match: f"{match[1]}曜から{match[2]}曜"),
    (_FIRST_DAY, lambda match: "ツイタチ"),
    (_SOME_DAYS, lambda match: _DAYS_SAID.get(match[1] + match[2], match[0])),
    (_ROOM, lambda match: digit_by_digit(match[0])),
    (_CODE, lambda match: match[1] + digit_by_digit(match[2])),
    (_MIDNIGHT, lambda match: "零時"),
    (_FROM, lambda match: "から"),
    (_DATE, lambda match: f"{match[1]}年{int(match[3])}月{int(match[4])}日"),
    (_SHORT_DATE, lambda match: f"{int(match[1])}月{int(match[2])}日"),
    (_WEEKDAY, lambda match: f"{match[1]}曜日"),
    (_SQUARE, lambda match: match[1] + ("²" if match[2] == "2" else "³")),
    (_PHONE, _phone),
    (_CLOCK, _clock),
    (_SERIAL, lambda match: match[0].replace(".", "ドット" if match[0].count(".") == 3 else "点")),
    (_LOT, lambda match: match[0].replace("-", "の")),
    (_UNTIL, lambda match: f"{match[1] or ''}から"),
    (_EQUALS, lambda match: "イコール"),
    (_PLUS, lambda match: "プラス"),
    (_MONEY_BEFORE, _money_before),
    (_RANGE, lambda match: f"{match[1]}から"),
    (_HYPHEN_RANGE, lambda match: f"{match[1]}から"),
    (_SCORE, lambda match: f"{match[1]}対{match[2]}"),
    (_NEGATIVE, lambda match: "マイナス"),
    (_FRACTION, lambda match: f"{match[2]}分の{match[1]}"),
    (_PARTS, lambda match: f"{match[1]}ブンノ"),  # OpenJTalk says サンプンノ, of minutes
    (_RATIO, lambda match: f"{match[1]}対{match[2]}"),
    (_CASES, lambda match: "ケン"),
    (_CLASSES, lambda match: "クミ"),
    (_BOX, lambda match: "ヒトハコ"),
    (_TENTHS, lambda match: f"{match[1]}ブ"),
    (_DIMENSIONS, lambda match: _NAMED_SIZES.get(match[0], match[0])),
    (_SHARP, lambda match: spell(match[1]) + ("シャープ" if match[2] in "#♯" else "プラスプラス")),
    (_OPERATOR, lambda match: SIGNS[match[1]] if match[1] else "マイナス"),
    (_FAHRENHEIT, lambda match: f"カ氏{match[1]}度"),
    (_MONEY_AFTER, _money_after),
    (_WITH_UNIT, _with_unit),
    (_TIMES, lambda match: "かける"),
    (_POWER, lambda match: "の2乗" if match[1] == "²" else "の3乗"),
    (_EACH, lambda match: f"、1{match[1]}につき"),
    (_PER_UNIT, lambda match: f"毎{match[1]}"),
    (_GROUPED, lambda match: match[0].replace(",", "")),
    (_PERCENT, lambda match: "パーセント"),
    (_LAUGH, lambda match: "ワラ"),
    (_LATIN, _latin),
)
