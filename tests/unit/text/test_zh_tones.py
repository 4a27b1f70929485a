"""Mandarin tones by rule: 一 in figures and in words, 地 and 得 as particles and at the end of words."""

from __future__ import annotations

import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _tones(frontend: Frontend, text: str, characters: str) -> list[str]:
    """Every reading of the characters, in order, as phonemes joined: `yi1`, `di4`."""
    names = {i: name for name, i in symbol_ids("v2").items()}
    said: list[str] = []
    for segment in frontend.segments(text, "zh", "v2", "cut0"):
        for run in segment.runs:
            position = 0
            for character, count in zip(run.norm_text, run.word2ph or (), strict=run.word2ph is not None):
                if character in characters:
                    said.append("".join(names[i] for i in run.phoneme_ids[position : position + count]))
                position += count
    return said


@pytest.mark.parametrize(
    ("text", "tones"),
    [
        # per cent and decimals
        ("增长1.8%", "1"),
        ("涨了0.1%", "1"),
        ("十一点五倍", "1"),
        ("圆周率3.1415", "11"),
        ("约1.1元", "11"),
        ("21.1度", "11"),
        # fractions
        ("1/3的人", "1"),
        ("百分之一", "1"),
        ("三分之一的人", "1"),
        # ordinals
        ("第1名", "1"),
        ("第一次", "1"),
        ("第11个", "1"),
        ("第二十一章", "1"),
        ("一年级", "1"),
        ("一等奖", "1"),
        # months, days and years
        ("1月的天气", "1"),
        ("1月1日到期", "11"),
        ("二〇二四年一月一日", "11"),
        ("11月11日", "11"),
        ("三十一日那天", "1"),
        ("1988年", "1"),
        ("2011年", "11"),
        ("公元前221年", "1"),
        ("2024-01-31", "11"),
        ("5·12地震和九一八事变", "11"),
        ("双11购物节", "1"),
        ("星期一上午", "1"),
        ("周一的会", "1"),
        ("五一节", "1"),
        # clocks
        ("11点开会", "1"),
        ("11:11开始", "11"),
        ("21:00结束", "1"),
        ("1点钟", "4"),
        ("下午1:20", "4"),
        ("一点半", "4"),
        # floors and numbers of houses
        ("11楼", "1"),
        ("他住一楼", "1"),
        ("1号柜", "1"),
        ("坐1路公交", "1"),
        ("坐1路车去", "1"),
        ("一路车水马龙", "2"),
        ("一路平安", "2"),
        ("三年级1班", "1"),
        ("三年一班", "1"),
        ("一单元", "1"),
        # counts: the one that ends a larger numeral, and the single one
        ("21个", "1"),
        ("一百零一条", "41"),
        ("1个", "2"),
        ("1条", "4"),
        ("一天", "4"),
        ("1次", "2"),
        # before hundreds, thousands and so on
        ("一百", "4"),
        ("1000米", "4"),
        ("一万", "2"),
        ("1亿", "2"),
        ("1,100人", "44"),
        ("111元", "411"),
        ("12,345", "2"),
        ("第100天", "4"),
        ("第一百货公司", "1"),
        ("十一万", "1"),
        # read digit by digit
        ("版本2.1.1", "11"),
        ("地址192.168.1.1", "1111"),
        ("一一对应", "11"),
        # ranges, scores and sums
        ("1到3个", "1"),
        ("1-5月", "1"),
        ("3-1战胜", "1"),
        ("比分1:0", "1"),
        ("1:1", "11"),
        ("1+1=2", "11"),
        # in words
        ("一起一定一样一直", "4224"),
        ("统一六国", "1"),
        ("唯一的", "1"),
        ("看一看", "5"),
        ("万一下雨", "1"),
        ("两千一个月", "2"),
        ("每周一次", "2"),
        ("好一点", "4"),
        ("一点一滴", "44"),
        ("二十一样", "2"),
        ("买一送一", "11"),
    ],
)
def test_one_is_read_by_what_it_counts(frontend: Frontend, text: str, tones: str) -> None:
    assert "".join(syllable[-1] for syllable in _tones(frontend, text, "一")) == tones


def test_one_on_the_telephone_is_yao(frontend: Frontend) -> None:
    assert "一" not in frontend.segments("电话13811111111", "zh", "v2", "cut0")[0].norm_text


@pytest.mark.parametrize(
    "text",
    [
        "土地",
        "基地",
        "当地",
        "产地",
        "目的地",
        "湿地公园",
        "工地上",
        "落地了",
        "草地、绿地",
        "在种地",
        "这片地很肥",
        "特地来",
        "忽地站住",
        "他蓦地回头",
        "霍地站起来",
        "倏地不见了",
    ],
)
def test_the_ground_keeps_its_tone(frontend: Frontend, text: str) -> None:
    assert {*_tones(frontend, text, "地")} == {"di4"}


@pytest.mark.parametrize(
    "text", ["慢慢地走", "高兴地笑", "颤巍巍地站起身", "他散漫地去公园", "认真地一看", "轻轻地", "猛地站住", "不停地说"]
)
def test_the_particle_of_manner_is_neutral(frontend: Frontend, text: str) -> None:
    assert {*_tones(frontend, text, "地")} == {"de5"}


@pytest.mark.parametrize(
    "text",
    [
        "获得奖金",
        "取得冠军",
        "难得",
        "赢得比赛",
        "心得",
        "志在必得",
        "不得不去",
        "他得了重感冒",
        "差不多得了",
        "爷爷得了癌症",
        "获得感",
    ],
)
def test_the_verb_of_getting_keeps_its_tone(frontend: Frontend, text: str) -> None:
    assert {*_tones(frontend, text, "得")} == {"de2"}


@pytest.mark.parametrize(
    "text",
    [
        "觉得",
        "记得他",
        "懂得了",
        "显得很",
        "舍得",
        "免得",
        "跑得快",
        "下得妙",
        "埋得太深",
        "变得更好",
        "看得见",
        "吃得了",
        "高兴得跳起来",
    ],
)
def test_the_particle_of_degree_is_neutral(frontend: Frontend, text: str) -> None:
    assert {*_tones(frontend, text, "得")} == {"de5"}


@pytest.mark.parametrize("text", ["须得绕行", "我得走了", "得好好休息", "总得吃饭"])
def test_the_verb_of_need(frontend: Frontend, text: str) -> None:
    assert {*_tones(frontend, text, "得")} == {"dei3"}


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("不得了", "liao3"),
        ("高兴得不得了", "liao3"),
        ("这下不得了了", "liao3le5"),
        ("舍不得了", "le5"),
        ("他恨不得了结此事", "liao3"),
        ("差不多得了", "le5"),
    ],
)
def test_liao_of_what_cannot_be_finished(frontend: Frontend, text: str, reading: str) -> None:
    assert "".join(_tones(frontend, text, "了")) == reading
