"""Japanese text normalisation: numbers, units, dates, signs and Latin words in a form that OpenJTalk reads rightly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from sovits_service.text.ja import kinds
from sovits_service.text.ja.kinds import digit_by_digit
from sovits_service.text.ja.tables import LATIN_WORDS, LETTERS, WORDS
from sovits_service.text.kinds.units import alternatives
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_FOLDED: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF10, 0xFF5B) if chr(code - 0xFEE0).isalnum()},
    **{ord(char): plain for char, plain in zip("＄＠％＋＝／＃", "$@%+=/#", strict=True)},
    **{ord(char): "-" for char in "−‐‑‒–－"},
    0x2236: ":",
    0x2044: "/",
    0x2109: "°F",
}
# a letter and its voicing mark at a time
_HALF_KANA = LazyPattern("[\uff66-\uff9d][\uff9e\uff9f]?|[\uff9e\uff9f]")


_LONG = LazyPattern(r"\d{21,}")  # beyond any scale: digit by digit, and first, since every rule would search it
_URL = LazyPattern(r"https?://[!-~]+|www\.[!-~]+", re.ASCII, needs=".:")
_EMAIL = LazyPattern(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII, needs="@")
_WEEKDAY = LazyPattern(r"(?<=日)\s?[(（]([月火水木金土日])[)）]", needs="日")
# Counters after which OpenJTalk changes the sound where people do not: サンゲン, イックミ, ヒトパコ.
_CASES = LazyPattern(r"(?<=[3三千])件|(?<=000)件", needs="件")
_CLASSES = LazyPattern(r"(?<=[168])組(?![織合みん])", needs="組")
_BOX = LazyPattern(r"(?<!\d)1箱", needs="箱")
_TENTHS = LazyPattern(r"(\d[割度]\d)分(?!の)", needs="分")
_WEEKDAYS = LazyPattern(r"(?<![一-鿿])([月火水木金土日])\s?[~〜～-]\s?([月火水木金土日])(?![一-鿿])", needs="~〜～-")
_FIRST_DAY = LazyPattern(r"(?<!\d)1日(?=\s?(?:から|[~〜～-])\s?\d{1,2}日(?!間))", needs="日")
_SOME_DAYS = LazyPattern(r"(?<![\d、])([2-7])、([3-8])日(?!間?[目ま]|曜)", needs="、")
_DAYS_SAID = {"23": "ニサンニチ", "34": "サンヨッカ", "45": "シゴニチ", "56": "ゴロクニチ", "78": "シチハチニチ"}
_ROOM = LazyPattern(r"(?<![\d.,-])\d{3,4}(?=号室)", needs="号")
_CODE = LazyPattern(
    r"((?:番号|コード|暗証番号|パスワード|ＩＤ|ID)(?:は|が|:|：)?\s?(?:[A-Z]{1,3}-?)?)(\d{4,})(?![\d,.-])",
    needs="Iコパ暗番Ｉ",
)
_MIDNIGHT = LazyPattern(r"(?<![\d.])0時(?!間)", needs="時")
_FROM = LazyPattern(r"(?<=[一-鿿])[~〜～](?=[一-鿿])", needs="~〜～")
_POWER = LazyPattern(r"(?<=\d)([²³])", needs="²³")
_SHARP = LazyPattern(r"(?<![A-Za-z])([A-Z])([#♯]|\+\+)", needs="#+♯")
_EACH = LazyPattern(r"(?<=[円人個回件本])/([個人本枚回件週])", needs="/")
_PARTS = LazyPattern(r"([\d一二三四五六七八九十百千])分の(?=[\d一二三四五六七八九十百])", needs="分")
_KANJI_DIGITS = LazyPattern(
    r"(?<![一二三四五六七八九十百千])[一二三四五六七八九]*〇[一二三四五六七八九〇]*(?![十百千])", needs="〇"
)
_EQUALS = LazyPattern(r"(?<=[\dA-Za-z一-鿿ァ-ヶー])\s?=\s?(?=[\d¥$A-Za-z])", needs="=")
_OPERATION = LazyPattern(r"(?<=[\w)²³])\s?([×÷])\s?(?=[\w(])", needs="×÷")
_HUNDREDTHS = LazyPattern(r"(?<![\d.])(\d{1,2}秒)(\d\d)(?![\d.])", needs="秒")
_EXTENSION = LazyPattern(r"(内線(?:番号)?(?:は|:|：)?\s?)(\d{2,})(?![\d,.-])", needs="内")
_BEST = LazyPattern(r"(?<![A-Za-z])No\.\s?1(?![\d.])", re.IGNORECASE, needs="1")
_SQUARE = LazyPattern(r"(?<=\d)(\s?[kcm]?m)\^?([23])(?![\d.A-Za-z])", needs="23")
_PER_UNIT = LazyPattern(r"(?<=[ァ-ヶーパトル])/([時分秒日月年人])", needs="/")
_TIMES = LazyPattern(r"(?<=[\dァ-ヶー²³])\s?×\s?(?=\d)", needs="×")
_PERCENT = LazyPattern("%", needs="%")
_LAUGH = LazyPattern(r"(?<![A-Za-z])[wW]{2,}(?![A-Za-z.])", needs="Ww")
_LATIN = LazyPattern(r"[A-Za-zé]+(?:-[A-Za-z]+)*")
_WORDS = LazyPattern(alternatives(WORDS))


def normalize(text: Spoken) -> Spoken:
    """Write a text so that OpenJTalk reads it rightly; what has no rule is left as it is."""
    text = fold(text).sub(_LONG, lambda match: digit_by_digit(match[0]))
    text = text.sub(_URL, lambda match: _address(match[0])).sub(_EMAIL, lambda match: _address(match[0]))
    text = text.sub(_WORDS, lambda match: WORDS[match[0]])
    for pattern, speak in _BEFORE:
        text = text.sub(pattern, speak)
    text = kinds.read(text)
    for pattern, speak in _AFTER:
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
        return " " + unicodedata.normalize("NFKC", char).replace("⁄", "/")
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "\n" or char in "\u3099\u309a" or not unicodedata.category(char).startswith(("C", "M")):
        return " " if char.isspace() and char != "\n" else char
    return ""


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


def _latin(match: re.Match[str]) -> str:
    return LATIN_WORDS.get(match[0].lower(), match[0])


def spell(word: str) -> str:
    """Letter by letter, as kana."""
    return "".join(LETTERS.get(letter, "") for letter in word.lower())


def _operation(match: re.Match[str]) -> str:
    """`底辺×高さ÷2`; between names alone, × is no operation."""
    if match[1] == "÷":
        return " わる "
    around = match.string[max(0, match.start() - 12) : match.end() + 12]
    return " かける " if re.search(r"[÷=\d]|イコール|わる", around) else match[0]


_KANJI_VALUES = str.maketrans("〇一二三四五六七八九", "0123456789")

_BEFORE: tuple[tuple[LazyPattern, Callable[[re.Match[str]], str]], ...] = (
    (_KANJI_DIGITS, lambda match: match[0].translate(_KANJI_VALUES)),
    (_BEST, lambda match: "ナンバーワン"),
    (_WEEKDAYS, lambda match: f"{match[1]}曜から{match[2]}曜"),
    (_FIRST_DAY, lambda match: "ツイタチ"),
    (_SOME_DAYS, lambda match: _DAYS_SAID.get(match[1] + match[2], match[0])),
    (_ROOM, lambda match: digit_by_digit(match[0])),
    (_CODE, lambda match: match[1] + digit_by_digit(match[2])),
    (_MIDNIGHT, lambda match: "零時"),
    (_FROM, lambda match: "から"),
    (_SQUARE, lambda match: match[1] + ("²" if match[2] == "2" else "³")),
    (_EXTENSION, lambda match: match[1] + digit_by_digit(match[2])),
    (_HUNDREDTHS, lambda match: match[1] + digit_by_digit(match[2])),
    (_EQUALS, lambda match: "イコール"),
)
_AFTER: tuple[tuple[LazyPattern, Callable[[re.Match[str]], str]], ...] = (
    (_WEEKDAY, lambda match: f"{match[1]}曜日"),
    (_TIMES, lambda match: "かける"),
    (_OPERATION, _operation),
    (_PERCENT, lambda match: "パーセント"),
    (_PARTS, lambda match: f"{match[1]}ブンノ"),  # OpenJTalk says サンプンノ, of minutes
    (_CASES, lambda match: "ケン"),
    (_CLASSES, lambda match: "クミ"),
    (_BOX, lambda match: "ヒトハコ"),
    (_TENTHS, lambda match: f"{match[1]}ブ"),
    (_SHARP, lambda match: spell(match[1]) + ("シャープ" if match[2] in "#♯" else "プラスプラス")),
    (_POWER, lambda match: "の2乗" if match[1] == "²" else "の3乗"),
    (_EACH, lambda match: f"、1{match[1]}につき"),
    (_PER_UNIT, lambda match: f"毎{match[1]}"),
    (_LAUGH, lambda match: "ワラ"),
    (_LATIN, _latin),
)
