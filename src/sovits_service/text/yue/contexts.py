"""Cantonese characters with several readings: which one is said, by what stands around them.

Facts of usage as in Cheung Kwan-hin's and the words.hk dictionaries: changed tones, colloquial and literary readings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A reading of a character between `before` and `after`; None leaves what the dictionary says."""

    said: str | None
    before: re.Pattern[str]
    after: re.Pattern[str]


def _rule(said: str | None, before: str = "", after: str = "") -> Rule:
    return Rule(said, re.compile(f"(?:{before})$" if before else ""), re.compile(after))


_END = r"$|[,.!?…-]"
_ASPECT = "咗|緊|过|過|完|晒|返|番|埋|吓|下"
_VERBS = (
    " "
    "睇諗等講聽玩問試查傾透數行食飲影抖搞整搵學練讀計量幫拍笑郁搖轉洗抹掃執論量慮究較解紹釋備溫望摸聞嗅嘗嚐打踢跑跳唱彈睬理教借用"
    " "
    "開補氹嚇揸搭游動撩拎睡低遊散醒敲推拉揀改傳逛炒煮煎蒸焗寵錫攬抱捽按鬆衝充提示應對住諮詢查試休息遲估度揼尋觀察體驗感受"
)
_DAUGHTER = "[我佢你女仔靚乖衰細孫姪阿湊生囡隻親]|[^一-鿿]個|[我佢你呢嗰有兩二三四五六七八九十幾一嘅]個|大"
_NOT_DAUGHTER = "(?![人仔生士性友朋皇王兒星孩工廁裝傭子明教同主歌婿神方權巫童團將排籃足單式])"

RULES: dict[str, tuple[Rule, ...]] = {
    "返": (_rule(None, "[往重遣折反]"), _rule(None, "", "[回還璞老航程]"), _rule("faan1")),
    "下": (
        _rule(None, "", "[個次星禮年月晝昼午面底邊边層层樓楼屆届巴車车山水雨雪落屬属級级載载課课基去來来嚟]"),
        _rule("haa5", f"[{_VERBS}]"),
    ),
    "坐": (
        _rule(None, "[靜静打就連连端反]", ""),
        _rule(None, "", "[標标落鎮镇視视享擁拥骨井立化以]"),
        _rule("co5"),
    ),
    "數": (
        _rule("sou2", "[,.!?]|^|一|[我佢你哋慢再重]", "[一下吓住清完咗緊返埋數錢]|到[^據]"),
        _rule("sou2", "數一?"),
    ),
    "魚": (
        _rule(
            "jyu2",
            "[食買卖買釣钓捉劏養养蒸煎隻条條游啲咩生煮捕炸煲]",
            "(?![類类缸塘蛋丸翅排柳肉頭头骨湯汤港市露皮片腩雷油肝])",
        ),
    ),
    "女": (_rule("neoi2", _DAUGHTER, _NOT_DAUGHTER),),
    "樣": (
        _rule("joeng2", "[我你佢嘅]個|^個|[,.!?]個|^嗰個|變", "(?![嘢本板品])"),
        _rule("joeng2", "嗰個|呢個", "[衰好靚似醜幾真咁都]"),
    ),
    "處": (
        _rule("cyu5", "相|獨|共"),
        _rule(None, "[身正判懲惩]"),
        _rule(None, "", "[理境於于分罰罚方女決决置事]"),
        _rule("cyu3", "[一-鿿]"),
    ),
    "會": (
        _rule(
            "wui5", "禮拜|礼拜|星期|下晝|聽日|今晚|呢個|邊個|每個", "[唔會嚟去做講有食返俾畀幫變飛出入落上開識話想覺]"
        ),
        _rule("wui2", "個", "(?!唔會|[嚟去做講有食返俾畀幫變識話想覺])"),
        _rule("wui2", "家長|校友|舊生|學生", "(?![嚟去做講有食返俾畀幫變識話想覺問知唔])"),
    ),
    "假": (_rule("gaa3", "[日病年產大長放請请例事婚暑寒春薪期]|侍產|銀行", "(?![嘅髮牙裝如設定貨的])"),),
    "覺": (_rule("gaau3", "瞓.{0,3}|[午一]", "(?![得])"),),
    "傳": (_rule("zyun6", "水滸|白蛇|外|列|評|正傳之|正", f"{_END}|[入嘅中裡裏》]"),),
    "灣": (_rule("waan1"),),
    "湾": (_rule("waan1"),),
    "近": (
        _rule("kan5", "[好幾咁太仲夠都唔係真最更]?[好幾咁太仲夠唔]|離.{0,6}好"),
        _rule("kan5", "", "[住啲得咗晒]|過去"),
    ),
    "正": (
        _rule("zeng3", "[好真勁超幾夠]|抵食", "(?![常確确式在宗直義义經经面當当派版])"),
        _rule("zeng3", r"^[.]?|[,.!?]", f"{_END}|[啊呀喎嘢晒]"),
    ),
    "輕": (_rule("heng1", "", "聲"), _rule("heng1", "好|咁|幾|太")),
    "重": (_rule("zung6", "[我你佢哋]|^", "[未有係要想會唔喺可記得話可識]"),),
    "着": (
        _rule(None, "[瞓搵估睡點碰燒唔]"),
        _rule("zoek3", "", "[返住件條對黑白紅藍綠咗緊衫褲裙鞋西校新呢嗰咩乜制波起番得晒]"),
    ),
    "著": (
        _rule(None, "[瞓搵估睡點碰燒唔]"),
        _rule("zoek3", "", "[返住件條對黑白紅藍綠咗緊衫褲裙鞋西校新呢嗰咩乜制波起番得晒]"),
    ),
    "調": (_rule("tiu4", "", "[到教校整節高低細大返]"),),
    "袋": (_rule("doi2", "[個膠紙手背書錢鎖嗰呢]|環保|垃圾"),),
    "隊": (_rule("deoi2", "[國港校]"),),
    "相": (
        _rule("soeng2", "(?:影|睇|曬|張|幅|自拍|結婚|證件|學生|合)[咗緊返過啲]?", "(?![信關反處同當對比])"),
        _rule("soeng2", "影.{0,3}張"),
    ),
    "上": (_rule("soeng5", "", "[一二三四五六七八九十廿]+樓"),),
    "行": (_rule("hong4", "[銀到任做個位]|副", "長(?![路啲途咗])"),),
    "長": (_rule("zoeng2", "[銀到任做個位副]行", "(?![路啲途咗])"),),
}


def settle_readings(text: str, syllables: list[tuple[str, ...]]) -> None:
    """Give characters the reading of their context; `syllables`, one for each character, is changed in place."""
    for place, character in enumerate(text):
        for rule in RULES.get(character, ()):
            if rule.before.search(text[max(place - 8, 0) : place]) and rule.after.match(text[place + 1 : place + 9]):
                if rule.said is not None:
                    syllables[place] = (rule.said,)
                break
