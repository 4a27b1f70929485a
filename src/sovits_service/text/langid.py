"""Split a text into runs of one language each, by script and language mode, without a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sovits_service.text.kinds.units import alternatives, unit_names
from sovits_service.text.lazy_pattern import LazyPattern

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f"
KANA = "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff\uffa1-\uffdc"
LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
LATIN_WORDS = LazyPattern(rf"[{LATIN}][{LATIN}'’ ]*")
DIGIT = "0-9\uff10-\uff19"

# `角(jue2)色`: a Han character followed by its reading in pinyin or jyutping, written by the user
INLINE_READING = LazyPattern(rf"([{HAN}])[(（]([a-zêüv]{{1,6}}[1-6])[)）]", needs="(（")

_TOKEN = rf"""
    (?P<zh>(?:[{HAN}](?:[(（][a-zêüv]{{1,6}}[1-6][)）])?)+)
    |(?P<ja>[{KANA}]+)
    |(?P<ko>[{HANGUL}]+)
    |(?P<space>[ 、。，！？]+)
    |(?P<link>(?:https?://|ftp://|www\.)[!-~\u00a1-\u10ff\u1200-\u1fff]+
        |[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+
        |[A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*\.(?:com|cn|org|net|io|ai|edu|gov|dev|app|jp|kr|hk|tw|uk|de|me|tv|xyz)
            (?:/[A-Za-z0-9._~/?&=%#-]*)?(?![A-Za-z]))
    |(?P<formula>[A-Za-z0-9]?[⁰¹²³⁴-⁹ⁿˣʸ]+(?:\s*[-+=×÷<>]\s*[A-Za-z0-9.]+[⁰¹²³⁴-⁹ⁿˣʸ]*)+)
    |(?P<power>(?<![A-Za-z0-9])[0-9]{{0,3}}π?[A-Za-z]?[²³](?![A-Za-z0-9]))
    |(?P<equation>(?<![A-Za-z])∠?(?:[A-Za-z]\([a-z]\)|[0-9.]{{1,9}}[A-Za-z]?|[A-Za-z])(?:\s?[-+×÷*/]\s?(?:[0-9.]{{1,9}}[A-Za-z]?|[A-Za-z]))*
        \s?[=<>≤≥≠≈]\s?[-±]?(?:[0-9.]{{1,9}}[A-Za-z]?|[A-Za-z])(?:\s?[-+×÷*/]\s?(?:[0-9.]{{1,9}}[A-Za-z]?|[A-Za-z]))*[%°]?(?![A-Za-z0-9:]|\.[0-9]))
    |(?P<algebra>(?<![A-Za-z0-9.])[0-9]{{1,4}}[a-z]\s?[-+×÷]\s?(?:[0-9.]{{1,9}}[a-z]?|[a-z])(?![A-Za-z0-9]))
    |(?P<money>(?:HK|US|NT|AU|CA|SG)?[$€£¥￥₩₹]\s?[0-9]+(?:\.[0-9]+)?\s?(?:bn|mn|tn|[BMKkT])(?![A-Za-z]))
    |(?P<floor>(?<![A-Za-z{DIGIT}/])[0-9]{{1,3}}/F(?![A-Za-z]))
    |(?P<num>(?:(?:HK|US|NT|AU|CA|SG)?[$€£¥￥₩₹]\s?)?[{DIGIT}]+(?:[.:/~\-–～：／．xX×*][{DIGIT}]+|[,，][{DIGIT}]{{3}}(?![{DIGIT}])|[eE]-?[0-9]{{1,3}}(?![A-Za-z0-9]))*
        (?:[kKwW]\s?[~\-～–]\s?[{DIGIT}.]+[kKwW](?![A-Za-z{DIGIT}])|\s?(?:@UNITS@)(?:\s?[~\-～–]\s?[{DIGIT}.]+\s?[A-Za-zμµΩ℃]{{1,4}})?(?![A-Za-z{DIGIT}])|[%％](?:p|\s?vol)(?![A-Za-z])|\s?(?:[AaPp][Mm]|[ap]\.m\.)(?![A-Za-z])|[%％‰°]|[⁰¹²³⁴-⁹]+)?
        (?:[~\-～–][{DIGIT}.]+[%％‰])?)
    |(?P<notation>(?<=[/每])(?:@UNITS@)(?![A-Za-z])|(?<=第)[IVX]{{1,5}}(?![A-Za-z])|[IVX]{{1,4}}(?=[型期级度世号]))
    |(?P<en>[{LATIN}]+)
    |(?P<x>[^\W_])
    |(?P<mark>.)
    """
# after a slash; a second copy of all units would take milliseconds to compile
_PER_UNITS = "hr?|s|sec|min|d|kg|g|k?Wh|[dm]?[Ll]|m?mol|[ckm]?m[²³23]?"
_MARKS = frozenset(",.!?，。！？、")
_COUNTED = LazyPattern(
    r"[个名位只头条匹台辆架艘部本册张页份件套间座栋层楼号期届次回遍场种类样元块角毛分钱岁年月日天时点秒周季倍折度"
    r"米克斤吨里升寸尺亩平公千百万亿%％℃级班班路线楼室人家户口斤两杯瓶盒包箱袋碗盘把根颗粒片朵棵双对只首篇句字]"
)
# Words that a Japanese text does not have, and words that it has now and then
_CHINESE_WORDS = LazyPattern(
    rf"[你您她它们吗呢吧很嗎們這哪啥咱俺]|我(?![{KANA}々慢])|是(?![{KANA}非正認])(?=[\u4e00-\u9fff])|不是|没有|沒有|可以|喜[欢歡]|"
    r"什[么麼]|怎[么麼]|[因以]为|一[个個]|就是|也是|都是|还|還是"
)
_CHINESE_HINTS = LazyPattern(
    rf"(?<!目)的(?![{KANA}確])|了(?![{KANA}解承見])|在(?![{KANA}庫宅籍住学日留任来外])|和(?=[\u4e00-\u9fff][^{KANA}])",
    needs="了和在的",
)
_OPENING, _CLOSING = "「『“‘《〈【«", "」』”’》〉】»"
_QUOTED = LazyPattern("「[^「」]*」|『[^『』]*』|“[^“”]*”|《[^《》]*》", needs="“《「『")
_BETWEEN_KANA = LazyPattern(r"(?![和与與跟同或是的了在及又也都])[\u4e00-\u9fff]{1,2}")
# Latin words that Japanese and Korean say in their own sounds: abbreviations, laughter, what stands before a number.
_ABBREVIATION = r"[A-Z]{1,3}(?:[-&/][A-Z]{1,3})*|[B-DF-HJ-NP-TV-Z]{4,6}|Wi-?Fi|[A-Z]oT|No\.|[A-Z]-?(?:POP|pop)"
_OWN_LATIN = {
    "ja": LazyPattern(rf"{_ABBREVIATION}|[wｗ]{{2,}}|[Vv]er\.?|Vol\."),
    "ko": LazyPattern(_ABBREVIATION),
    "yue": LazyPattern("[Hh]ea", needs="e"),
}
_UNIT_BETWEEN_NUMBERS = LazyPattern(r"(?:[kcm]?m|[km]?g|[km]?[Ll])\s?")  # 1m75cm
_IS_FIGURE = LazyPattern(r"(?:[^\W_]|[%％‰℃°]\s?)$")
_MARKS_AT_END = " ,!?，。！？、;；:：…「」『』“”()（）・~～\n"
_SHORT_NAME = LazyPattern(r"(?<![A-Za-z])(?:[A-Za-z]{1,3}[-·]?|(?:[A-Z]{2,4}/)?[A-Z]{1,5} )$")


@dataclass(slots=True)
class Run:
    """A stretch of text in one language; `num`, `mark` and `x` are stretches that have not found theirs yet."""

    language: str
    text: str


def is_japanese(text: str) -> bool:
    """Whether a whole text is Japanese: it has kana, or kanji of Japan alone, and nothing that only Chinese has."""
    around = _QUOTED.compiled.sub("", text)
    if any(map(_is_han, around)) or re.search(rf"[{KANA}]", around):
        text = around  # 「谢谢」は中国語です
    han = [character for character in text if "\u4e00" <= character <= "\u9fff"]
    has_kana = re.search(rf"[{KANA}]", text) is not None
    if not has_kana and not any(_is_japanese_only(character) for character in han):
        return False
    return not any(not _encodes(character, "shift_jis") for character in han) and not _sounds_chinese(text)


def _is_han(character: str) -> bool:
    """As the pattern of `HAN`, whose ranges take milliseconds to compile."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or character == "\u3007"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U0003347f"
    )


def _sounds_chinese(text: str) -> bool:
    return _CHINESE_WORDS.search(text) is not None or len(_CHINESE_HINTS.compiled.findall(text)) > 1


def language_runs(text: str, mode: str, *, japanese: bool | None = None) -> list[Run]:
    """Cut a fragment into runs.

    Args:
        text: one fragment.
        mode: a language of a request in lower case.
        japanese: whether the whole text, not only this fragment, is Japanese; None looks at the fragment.

    Returns:
        Runs in order, neighbours of different languages; their texts joined are the text.
    """
    if not text:
        return []
    if mode == "en":
        return [Run("en", text)]
    tokens = _tokens(text)
    base = mode.removeprefix("all_")
    if mode.startswith("all_"):
        own = _settle_fixed(tokens, base)
    elif mode in ("auto", "auto_yue", "zh"):
        own = _settle_auto(tokens, text, is_japanese(text) if japanese is None else japanese)
    else:
        own = _settle_chosen(tokens, base)
    own = _settle_latin(own, base)
    runs = _settle_rest(_merge(own), "zh" if base.startswith("auto") else base, chosen=base in ("zh", "yue"))
    if mode == "auto_yue":
        for run in runs:
            run.language = "yue" if run.language == "zh" else run.language
    return _merge(runs)


@lru_cache(maxsize=1)
def _token_pattern() -> re.Pattern[str]:
    signs = [sign for sign in unit_names("zh") if sign not in ("%", "‰", "°", "%p")]
    unit = alternatives(tuple(signs))
    units = rf"(?:{unit})(?:/(?:{_PER_UNITS}))?|USD|usd|CNY|RMB|rmb|EUR|GBP|JPY|HKD|TWD|KRW"
    return re.compile(_TOKEN.replace("@UNITS@", units), re.VERBOSE | re.DOTALL)


def _tokens(text: str) -> list[Run]:
    tokens: list[Run] = []
    for match in _token_pattern().finditer(text):
        kind = match.lastgroup or "mark"
        kind = {
            "link": "en",
            "formula": "num",
            "space": "mark",
            "power": "num",
            "equation": "num",
            "algebra": "num",
            "money": "num",
            "floor": "num",
            "notation": "zh",
        }.get(kind, kind)
        if kind == "mark" and tokens:
            tokens[-1].text += match.group()
        else:
            tokens.append(Run(kind, match.group()))
    if len(tokens) > 1 and tokens[0].language == "mark":
        first = tokens.pop(0)
        tokens[0].text = first.text + tokens[0].text
    return tokens


def _settle_fixed(tokens: list[Run], base: str) -> list[Run]:
    """`all_zh` and its like: English is English, everything else is the language that was asked for."""
    return [Run("en" if token.language == "en" else base, token.text) for token in tokens]


def _settle_chosen(tokens: list[Run], base: str) -> list[Run]:
    """`ja`, `ko`, `yue`: as asked, but in Cantonese text kana and hangul keep their own language."""
    kept = {"en", "num", "x", "mark"} | ({"ja", "ko"} if base == "yue" else set())
    return [Run(token.language if token.language in kept else base, token.text) for token in tokens]


def _settle_auto(tokens: list[Run], text: str, japanese: bool) -> list[Run]:
    """Kana decide for Japanese; Han does only in a Japanese text, or in a clause that is Japanese around it.

    What stands in quotation marks is settled by itself, and what stands around it without it.
    """
    if not japanese and not any(token.language == "ja" for token in tokens):
        return tokens
    settled = [Run(token.language, token.text) for token in tokens]
    quotations: dict[int, list[int]] = {}
    for place, number in enumerate(_quotations(tokens)):
        quotations.setdefault(number, []).append(place)
    for quotation, places in quotations.items():
        if quotation == 0 and not japanese:
            _settle_clauses(tokens, settled, places)
            continue
        said = "".join(tokens[place].text for place in places if tokens[place].language in ("zh", "ja"))
        is_ja = _may_be_japanese(said) and (japanese or any(tokens[place].language == "ja" for place in places))
        for place in places:
            if is_ja and tokens[place].language == "zh":
                settled[place].language = "ja"
    return settled


def _quotations(tokens: list[Run]) -> list[int]:
    """For each token the number of the innermost quotation that its first letter stands in; 0 where there is none."""
    numbers: list[int] = []
    open_ones = [0]
    count = 0
    if any(mark in token.text for token in tokens for mark in _CLOSING):
        text = "".join(token.text for token in tokens)
        first_closing = min(place for mark in _CLOSING if (place := text.find(mark)) >= 0)
        if not any(mark in text[:first_closing] for mark in _OPENING):
            open_ones.append(count := 1)  # it began in the fragment before
    for token in tokens:
        number = None
        for character in token.text:
            if character in _OPENING:
                count += 1
                open_ones.append(count)
            elif character in _CLOSING:
                if len(open_ones) > 1:
                    open_ones.pop()
            elif number is None and character.isalnum():
                number = open_ones[-1]
        numbers.append(open_ones[-1] if number is None else number)
    return numbers


def _settle_clauses(tokens: list[Run], settled: list[Run], places: list[int]) -> None:
    start = 0
    for clause in _clauses([tokens[place] for place in places]):
        clause_text = "".join(token.text for token in clause if token.language in ("zh", "ja"))
        is_ja = any(token.language == "ja" for token in clause) and _is_japanese_clause(clause_text)
        for i, token in enumerate(clause):
            if token.language == "zh" and (is_ja or _is_between_kana(clause, i)):
                settled[places[start + i]].language = "ja"
        start += len(clause)


def _is_between_kana(clause: list[Run], i: int) -> bool:
    """お好み焼き: a word's kanji stand alone in the midst of its kana."""
    around = clause[i - 1 : i] + clause[i + 1 : i + 2] if i else []
    return (
        len(around) == 2
        and all(token.language == "ja" for token in around)
        and around[0].text[-1].isalnum()
        and _BETWEEN_KANA.fullmatch(clause[i].text) is not None
        and _encodes(clause[i].text, "shift_jis")
    )


def _settle_latin(runs: list[Run], base: str) -> list[Run]:
    """Japanese and Korean say abbreviations themselves (IT, K-POP, ver.), but not a word within a foreign phrase."""
    merged = _merge(runs)
    for i, run in enumerate(merged):
        if run.language != "en":
            continue
        after = i + 1 + (i + 2 < len(merged) and merged[i + 1].language == "num")  # ver.2.0に
        around = [merged[place].language for place in (i - 1, after) if 0 <= place < len(merged)]
        near = [language for language in around if language in _OWN_LATIN]
        if base in _OWN_LATIN:
            language = base
        elif base == "auto_yue" and "zh" in around:
            language = "yue"
        elif near and all(language in (near[0], "num") for language in around):
            language = near[0]
        else:
            continue
        if i and merged[i - 1].text[-1].isdigit() and _UNIT_BETWEEN_NUMBERS.fullmatch(run.text):
            run.language = language
            continue
        word = run.text.strip(_MARKS_AT_END)
        if around and (_OWN_LATIN[language].fullmatch(word.rstrip("-")) or _OWN_LATIN[language].fullmatch(word + ".")):
            run.language = "zh" if base == "auto_yue" and language == "yue" else language
    return merged


def _clauses(tokens: list[Run]) -> list[list[Run]]:
    clauses: list[list[Run]] = [[]]
    for token in tokens:
        clauses[-1].append(token)
        if token.text[-1] in "，。！？、；,.!?;\n ":
            clauses.append([])
    return [clause for clause in clauses if clause]


def _is_japanese_clause(text: str) -> bool:
    han = re.findall(rf"[{HAN}]", text)
    kana = re.findall(rf"[{KANA}]", text)
    if not re.search("[\u3041-\u3096]", text):
        return False  # a katakana word alone is a loan in Chinese as well
    return len(kana) * 2 >= len(han) and _may_be_japanese(text)


def _may_be_japanese(text: str) -> bool:
    han = re.findall(rf"[{HAN}]", text)
    return all(_encodes(character, "shift_jis") for character in han) and not _sounds_chinese(text)


def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _is_japanese_only(character: str) -> bool:
    return _encodes(character, "shift_jis") and not _encodes(character, "gb2312") and not _encodes(character, "big5")


def _merge(runs: list[Run]) -> list[Run]:
    merged: list[Run] = []
    for run in runs:
        is_list = run.language == "num" and merged and merged[-1].text.rstrip()[-1:] in ",，、"
        if merged and merged[-1].language == run.language and not is_list:
            merged[-1].text += run.text
        else:
            merged.append(Run(run.language, run.text))
    return merged


def _settle_rest(runs: list[Run], base: str, *, chosen: bool = False) -> list[Run]:
    """Give numbers the language of their neighbours, and what is left that of the run before it."""
    has_chinese = chosen or any(run.language in ("zh", "yue") for run in runs)
    with_numbers: list[Run] = []
    for i, run in enumerate(runs):
        language, text = run.language, run.text
        if language == "num":
            before = with_numbers[-1] if with_numbers else None
            beside = runs[i + 1] if i + 1 < len(runs) else None
            after = next((run for run in runs[i + 1 :] if run.language != "num"), None)
            name = _SHORT_NAME.search(before.text) if has_chinese and before and before.language == "en" else None
            if name and before and (beside is None or beside.language != "en"):
                # MP3, A4, PM2.5: in a Chinese sentence the number is Chinese, and its name helps to tell how it is said
                before.text = before.text[: name.start()]
                language, text = base, name.group() + text
            else:
                language = _number_language(before, run, after, base, has_chinese)
        with_numbers.append(Run(language, text))
    with_numbers = [run for run in with_numbers if run.text]
    with_numbers = _merge(with_numbers)
    settled: list[Run] = []
    for i, run in enumerate(with_numbers):
        language = run.language
        if language in ("x", "mark"):
            if settled:
                language = settled[-1].language
            elif i + 1 < len(with_numbers):
                language = with_numbers[i + 1].language
            else:
                language = base
        settled.append(Run(language, run.text))
    return settled


def _number_language(before: Run | None, number: Run, after: Run | None, base: str, has_chinese: bool) -> str:
    """Whose words a number is read in; the rules are the original's, but a counted number and 3D are Chinese."""
    if before is None and after is None:
        return base
    if before is not None and has_chinese and before.language == "en" and before.text.rstrip()[-1] in ":：":
        return base  # WhatsApp：9876 5432
    if before is not None and before.language != "en" and number.text[0] in "$€£¥￥₩₹":
        return before.language
    is_open = before is None or before.language != "en" or before.text[-1] in _MARKS or before.text[-1] in "/、"
    if has_chinese and is_open and after is not None and after.language == "en" and _IS_FIGURE.search(number.text):
        return base
    if after is None:
        return before.language if before is not None else base
    if before is not None and before.language == "en" and after.language in ("ja", "ko"):
        return after.language  # Python 3.12を使う
    if before is None:
        return after.language
    if before.language == after.language:
        return before.language
    if after.language == "zh" and number.text[-1].isdigit() and _COUNTED.match(after.text):
        return "zh"
    if before.text[-1] in _MARKS:
        return after.language
    if after.text[0] in _MARKS or number.text.rstrip()[-1] in _MARKS:
        return before.language
    return before.language if len(before.text) >= len(after.text) else after.language
