"""Tables of facts for reading Cantonese: units, measure words, characters whose short form is misread."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CURRENCIES = {
    "HK$": "港元", "HKD": "港元", "US$": "美元", "USD": "美元", "NT$": "新台幣", "A$": "澳元", "$": "元", "￥": "元",
    "¥": "元", "RMB": "元", "CNY": "元", "€": "歐元", "EUR": "歐元", "£": "英鎊", "GBP": "英鎊", "₩": "韓元",
    "JPY": "日圓", "₿": "比特幣",
}  # fmt: skip

# After these a 2 is 兩.
MEASURES = _words(
    "個 个 隻 只 條 条 張 张 本 杯 碗 枝 支 件 對 对 雙 双 位 名 人 次 下 日 年 歲 岁 點鐘 點 点 分鐘 "
    "分钟 小時 小时 秒 星期 蚊 塊 块 元 萬 万 億 亿 千 倍 樣 样 種 种 間 间 架 部 台 臺 盒 包 袋 樽 罐 "
    "盤 盘 匙 成 碟 煲 圍 粒 把 套 排 層 层 家 場 场 班 篇 首 封 句 段 份 度 頓 顿 餐 公斤 公里 米 克 升 磅 斤 兩 両 "
    "球 款 湯匙 茶匙 匙羹 "
    "噸 呎 吋 厘米 毫米 毫升 平方米 仔 公升 門 门 單 单 宗 齣 幅 輪 轮"
)

# Latin words that are said in Cantonese, as a character that sounds alike.
LATIN_WORDS = {"hea": "㹃"}

# Characters in short form that ToJyutping, outside the words that it knows, gives the reading of an old homograph
# (价 gaai3, 医 ai3, 厂 hon3); the full form is unambiguous.
FULL_FORMS = dict(
    zip(
        "儿为样价断钱绳会种窍尽几跃惊专胜请离医涨岭达适么扩痒轻缕宁柜钉蕴矿"
        "扑购庙档洼据贼坏链鸽炼厂撑蜡瘫韵赢锯肾腊茎袜韦洒溅垫坞渍捞蝎柠蒋肮",
        "兒為樣價斷錢繩會種竅盡幾躍驚專勝請離醫漲嶺達適麼擴癢輕縷寧櫃釘蘊礦"
        "撲購廟檔窪據賊壞鏈鴿煉廠撐蠟癱韻贏鋸腎臘莖襪韋灑濺墊塢漬撈蠍檸蔣骯",
        strict=True,
    )
)

# Words that ToJyutping cuts or reads otherwise than people do.
CORRECTIONS = {
    "分之": ("fan6", "zi1"),
    "新地圖": ("san1", "dei6", "tou4"),
    "讀小二": ("duk6", "siu2", "ji6"),
    "升小二": ("sing1", "siu2", "ji6"),
    "二六": ("ji6", "luk6"),
    "四六": ("sei3", "luk6"),
    "為異客": ("wai4", "ji6", "haak3"),
    "散場": ("saan3", "coeng4"),
    "輕聲": ("heng1", "seng1"),
    **{f"轉{side}": ("zyun3", sound) for side, sound in (("左", "zo2"), ("右", "jau6"))},
    "曾太": ("zang1", "taai2"),
    "匙糖": ("ci4", "tong4"),
    "銀行": ("ngan4", "hong4"),
    "银行": ("ngan4", "hong4"),
    "銀行行長": ("ngan4", "hong4", "hong4", "zoeng2"),
    "银行行长": ("ngan4", "hong4", "hong4", "zoeng2"),
    **{
        f"{word}{aspect}": ("hok6", "wui5", sound)
        for word in ("學會", "学会")
        for aspect, sound in (("咗", "zo2"), ("了", "liu5"))
    },
    "姓曾": ("sing3", "zang1"),
    **{f"曾{title}": ("zang1", *sounds) for title, sounds in (("生", ("saang1",)), ("先生", ("sin1", "saang1")))},
    "曾小姐": ("zang1", "siu2", "ze2"),
    **{
        f"{verb}吓": (sound, "haa5")
        for verb, sound in (("睇", "tai2"), ("諗", "nam2"), ("等", "dang2"), ("講", "gong2"))
    },
    **{
        f"{verb}吓": (sound, "haa5")
        for verb, sound in (("聽", "teng1"), ("坐", "co5"), ("玩", "waan2"), ("問", "man6"))
    },
}

# Beginnings of a syllable, in the order in which they are tried. parity: aai is aa + i, uk is uk + k, ng is ng + g.
INITIALS = (
    "aa", "aai", "aak", "aap", "aat", "aau", "ai", "au", "ap", "at", "ak", "a", "p", "b", "e", "ts", "t", "dz", "d",
    "kw", "k", "gw", "g", "f", "h", "l", "m", "ng", "n", "s", "y", "w", "c", "z", "j", "ong", "on", "ou", "oi", "ok",
    "o", "uk", "ung",
)  # fmt: skip

SIGNS = {"+": "加", "×": "乘", "÷": "除以", "=": "等於", "±": "正負", "<": "細過", ">": "大過", "≈": "約等於"}
GREEK = dict(
    zip("αβγδεθλμπσφω", _words("阿爾法 貝塔 伽瑪 德爾塔 艾普西龍 西塔 拉姆達 繆 派 西格瑪 斐 歐米伽"), strict=True)
)

# Latin letters are said as in English.
LETTER_NAMES = {
    "A": ("EY1",), "B": ("B", "IY1"), "C": ("S", "IY1"), "D": ("D", "IY1"), "E": ("IY1",), "F": ("EH1", "F"),
    "G": ("JH", "IY1"), "H": ("EY1", "CH"), "I": ("AY1",), "J": ("JH", "EY1"), "K": ("K", "EY1"), "L": ("EH1", "L"),
    "M": ("EH1", "M"), "N": ("EH1", "N"), "O": ("OW1",), "P": ("P", "IY1"), "Q": ("K", "Y", "UW1"), "R": ("AA1", "R"),
    "S": ("EH1", "S"), "T": ("T", "IY1"), "U": ("Y", "UW1"), "V": ("V", "IY1"),
    "W": ("D", "AH1", "B", "AH0", "L", "Y", "UW0"), "X": ("EH1", "K", "S"), "Y": ("W", "AY1"), "Z": ("Z", "IY1"),
}  # fmt: skip
