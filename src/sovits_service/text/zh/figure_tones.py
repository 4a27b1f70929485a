"""Tone sandhi of 一 within figures and numerals."""

from __future__ import annotations

import re

from sovits_service.text.zh.notation import MEASURE_WORDS

_DIGIT = "零〇一二三四五六七八九"
_NUMERAL = f"{_DIGIT}两十百千万亿"
_COUNTED = "[" + "".join(sorted(set(MEASURE_WORDS) - set("年月日号分秒"))) + "]"
_WORD = "一(?:定|样|共|直|般|旦|律|齐|同|并|向|边|切|早|大早)"  # 二十一样 is twenty of the same
_CLOCK = "一点(?:零[一二三四五六七八九]分(?!之)|[二三四五]?十)"  # 一点二十, but 一点二 is a decimal

# 一 as a digit keeps its first tone
_DIGIT_ONE = re.compile(
    rf"""
    (?!{_WORD})(?:
    (?<=第)一(?![百千万亿](?!货))
    |(?<=[零〇一十])一 | (?<=[二三四五六七八九])一(?!{_COUNTED}) | (?<=[五六七八])一(?=节)
    |(?<=负)一(?![百千万亿]|{_COUNTED})
    |一(?=[{_DIGIT}十])
    |(?<=[百千万亿])一(?![百千万亿起点两]|{_COUNTED})
    |(?<=分之)一(?![百千万亿]) | 一(?=分之)
    |(?!{_CLOCK}|一点一[点滴刻丝])一(?=点[{_DIGIT}])
    |(?<=[{_NUMERAL}]点)一(?![点滴刻丝百千万亿位名次场班趟声群起])(?!个(?!百分点))
    |(?<=[{_NUMERAL}][比杠])一(?![个百千万亿]) | 一(?=[比杠][{_NUMERAL}])
    |(?<=[{_NUMERAL}][到至加减])一(?![百千万亿起]|{_COUNTED})
    |一(?=[至加减][{_NUMERAL}]|到[{_NUMERAL}](?!.{{0,8}}就)|[乘除]以?[{_NUMERAL}]|等于|[大小]于[{_NUMERAL}])
    |一(?=次(?:列车|航班|高铁|动车|城际|特快|直达))
    |一(?=月(?!有余|之|一次)|号) | (?<=按)一(?=键) | (?<=买)一(?=[送赠])
    |(?<![上下高低每同这那某另哪有])一(?=楼|年级|季度|等[奖座舱品功]|级(?!一)|单元|审|线城)
    |一(?=路(?:公交|公共汽车|电车|车(?![水流队马]))) | (?:(?<=年级)|(?<=[一二三四五六]年))一(?=班)
    |(?<=[月份])一(?=日) | 一(?=日[起至到前后晚早上下凌])
    |(?<=星期)一 | (?<=礼拜)一 | (?<=[周初])一(?![百千万亿些]|{_COUNTED})
    )
    """,
    re.VERBOSE,
)
# 一 that counts hundreds, thousands and so on, anywhere in a numeral
_COUNTING_ONE = re.compile(rf"(?<![{_DIGIT}十])一(?=百(?!货)|[千万亿])")


def settle_ones(clause: str, syllables: list[str]) -> None:
    """Change the syllables of 一 in place: first tone as a digit, sandhi before 百, 千, 万 and 亿; words stay."""
    for match in _COUNTING_ONE.finditer(clause):
        syllables[match.start()] = "yi2" if syllables[match.end()].endswith("4") else "yi4"
    for match in _DIGIT_ONE.finditer(clause):
        syllables[match.start()] = "yi1"
