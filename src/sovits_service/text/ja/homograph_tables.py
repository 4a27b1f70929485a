"""Japanese homographs: what is said of a word, where.

Readings were checked on the ITA and ROHAN corpora where these have the word; accents are entries of our own, which no
dictionary has been asked about.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Homograph:
    """One reading of a word.

    Attributes:
        said: katakana as it sounds; None leaves the word as it is, and ends the search.
        accent: mora of the accent's kernel in its phrase, 0 for none; None where the word does not begin a phrase.
        before, after, near: regular expressions of what ends at the word, of what is right behind it, and of what is
            anywhere between the marks around it. Most are never needed, so that each is compiled when it first is.
        old: what OpenJTalk may have said; anything where it is empty.
    """

    said: str | None
    accent: int | None = None
    before: str = ""
    after: str = ""
    near: str = ""
    old: tuple[str, ...] = ()


def _rule(
    said: str | None, accent: int | None = None, before: str = "", after: str = "", near: str = "", old: str = ""
) -> Homograph:
    return Homograph(said, accent, before and f"(?:{before})$", after, near, tuple(old.split()))


_START = "^|[^一-鿿々〇ァ-ヺーA-Za-z0-9]"  # the word stands alone, and does not end a compound
_FOOD = (
    "カレー|料理|ラーメン|味|スープ|食べ|キムチ|唐辛子|豆腐|わさび|ソース|スパイス|塩|鍋|麺|カラシ|お菓子|大根|酒の肴"
)
_LONELY = "道|通り|路地|場所|山|森|部屋|町|街|家|公園|夜|寺|神社|海岸|廊下|校舎|ビル|静か|暗|寂し|路|駅"
_CONTAINER = (
    "箱|瓶|ビン|器|皿|コップ|グラス|財布|バッグ|袋|缶|部屋|椅子|ペットボトル|容器|鞄|かばん|ポケット|引き出し|冷蔵庫|胃|弁当|"
    "バケツ|リスト|文字|配列|ファイル|棺|籠|カゴ|段ボール|状態|タンク|電池"
)
_PERSONS = (
    "年寄り|初めて|はじめて|担当|一般|高齢|外国|関係|会員|女性|男性|妊娠中|お連れ|希望|お持ち|既婚|未婚|独身|家族|遺族|地元|近所|"
    "先輩|上司|車椅子|車いす|多く|大勢|すべて|全て|全員|別|ほか|他|次|土地|在住|出身|お住まい|お勤め|経験|素人|プロ|"
    "[者員人生客歳代様]|以上|以下|未満|さん|連れ|持ち|対象|以外"
)
_WAYS = "こちら|そちら|あちら|どちら|東|西|南|北|上|下|左|右|前|後ろ|奥|中|外|内|山|海|町|街|駅|家|川|空|親"
_BETTER = (
    "が(?:いい|良|よ[いかくさ]|まし|早|速|安|高|大き|小さ|楽|得|強|弱|上|下|美味|おいし|簡単|便利|むしろ|ずっと|もっと|"
    "はるか|お得|好き|合っ|似合)"
)
_COUNTED_MINUTES = "ほど|間|後|前|くらい|ぐらい|おき|ごと|以内|程度|休|遅|待|歩|かか|経|過ぎ|足らず|弱|強"

_DAYS = (
    "(?!月・日(?!・))(?<![月火水木金土日・0-9〇一二三四五六七八九十])[月火水木金土日](?:・[月火水木金土日])+"
    "(?![一-鿿々])"
)

HOMOGRAPHS: dict[str, tuple[Homograph, ...]] = {
    "何": (
        _rule("ナニ", 0, after="[色語県]", old="ナン"),
        # before sounds made with the tip of the tongue, に apart: 何の, 何だ, 何です, 何て, 何と, 何なら
        _rule("ナン", 1, after="[のだてでど]|と(?!何)|な(?![いくか])|じゃ", old="ナニ"),
    ),
    "色": (_rule("イロ", before="何"),),
    "方": (
        _rule(None, before=f"(?:{_WAYS}|より.{{1,12}})の"),
        _rule(None, before="[こそ]の", after="が"),
        _rule(None, after=_BETTER),
        _rule("カタ", 2, before=f"(?:{_PERSONS})の", old="ホー"),
        _rule("カタ", 2, before="[こそあど]の", old="ホー"),
        _rule("カタ", 2, before="な", after="が(?:お見え|いらっしゃ|来)", old="ホー"),
        _rule(
            "カタ",
            2,
            before="[うくぐすつぬぶむる]|[ただ]|ない|若い|詳しい|忙しい|優しい|(?:好き|苦手|元気|健康|必要|可能|不安|有名|親切)な",
            after="[はにもでへ]|から|と(?!い[うっ])|の(?!が)|なら|が(?:いら|い[るた]|お[らり]|来|多|少な|ほとんど|増|減|亡|言|見)|です",
            old="ホー",
        ),
    ),
    "米": (
        _rule(
            "コメ",
            2,
            before=_START,
            after="[一二三四五六七八九十数半]+合|を(?:炊|研|洗|食|作|買|育)|と(?:水|塩|味噌|麦)|の(?:値段|価格|収穫|ご飯)|農家|が(?:炊|余|足り)",
            old="ベー ベイ",
        ),
    ),
    "気風": (_rule("キップ", 0, after="[のが](?:[いよ良])"),),
    "博士": (_rule("ハクシ", 1, after="号|課程|論文|[前後]期|学位", old="ハカセ"),),
    "色紙": (_rule("シキシ", 0, near="サイン|寄せ書き|揮毫|一筆"),),
    "目下": (_rule("メシタ", 0, after="の(?:者|人|方|相手|部下)|に(?:対|も|は|当)"),),
    "札": (_rule("フダ", 0, before="お", near="神社|寺|厄|魔除|貼|守り|参拝|祈祷", old="サツ"),),
    "お札": (_rule("オフダ", 0, near="神社|寺|厄|魔除|貼|守り|参拝|祈祷"),),
    "智": (_rule("チ", 1, before=_START, after="[にをはの](?!さん|くん|君)", old="サトシ"),),
    "取手": (_rule("トリデ", 0, near="線|駅|茨城|行き"),),
    "獲る": (_rule("トル", 1),),
    "常磐": (_rule("ジョーバン", 0, after="線|道|自動車"),),
    "この間": (_rule("コノアイダ", 0),),
    "その間": (_rule("ソノアイダ", 0),),
    "時": (
        _rule("ジ", before="[ァ-ヺー]", after="[にのはも]", old="トキ"),
        _rule("ドキ", before="暮れ", old="ジ"),
        _rule("トキ", 2, before=r"^|[^\w]", after="[がをはのにも]", old="ジ"),
    ),
    "他": (_rule("ホカ", 0, before=_START, after="に(?!類)|の(?!追随|者|国)|は|なら", old="タ"),),
    "後": (_rule("アト", 1, before="[ただの]", old="ノチ ゴ"),),
    "辛い": (
        _rule("カライ", 2, after="もの|物|の(?:が好|は苦手)", old="ツライ"),
        _rule("カライ", 2, near=_FOOD, old="ツライ"),
    ),
    "辛く": (_rule(None, near=_FOOD), _rule("ツラク", 1, old="カラク")),
    "辛けれ": (_rule(None, near=_FOOD), _rule("ツラケレ", 2, old="カラケレ")),
    "辛かっ": (_rule(None, near=_FOOD), _rule("ツラカッ", 2, old="カラカッ")),
    "角": (
        _rule("カド", 1, before=_START, after="が(?:立|取れ)|を立"),
        _rule(
            "ツノ", 2, before="(?:牛|鹿|羊|山羊|ヤギ|鬼|サイ|トナカイ|動物|カブトムシ|悪魔|竜|ドラゴン|[一二三]本)の?"
        ),
        _rule("ツノ", 2, before=_START, after="[がは](?:生え|折れ|立派|ある)"),
        _rule(
            "カド",
            1,
            before="(?:次|最初|机|道|通り|店|交差点|箱|曲がり|街|町|四つ|手前|突き当たり|部屋|[そこあ]|校舎|たんす|タンス)の?",
        ),
        _rule(
            "カド",
            1,
            before=_START,
            after="を(?:右|左|曲|まが)|[にの](?:店|家|席|部屋|コンビニ|ビル|交差点|喫茶|ポスト|銀行|パン|花屋|郵便|ある|建)",
        ),
    ),
    "額": (
        _rule(
            "ヒタイ",
            0,
            before=_START,
            after="[にのをがはか]",
            near="汗|しわ|シワ|皺|鉢巻|前髪|たんこぶ|キス|傷|手を当て",
        ),
    ),
    "金": (
        _rule(None, near="メダル|銀|銅|価格|相場|精錬|純度|オンス|グラム|採掘|掘|採れ|溶か|鉱|輝"),
        _rule(
            "カネ",
            0,
            before=_START,
            after="[をがはもに]|の(?:話|ため|問題|切れ目|力|使い|亡者|無駄|貸し借り|心配|なる)",
            old="キン",
        ),
    ),
    "空": (
        _rule("カラ", 1, before=_START, after=f"の(?:{_CONTAINER})"),
        _rule("カラ", 1, before="[がはもを]", after="に(?:な|し|する)|だ|です|でし|じゃ"),
    ),
    "十分": (
        _rule("ジュップン", 1, after=_COUNTED_MINUTES),
        _rule("ジュップン", 1, before="あと|約|ほぼ|毎|徒歩|車で|バスで|歩いて|残り|およそ|たった|わずか|時"),
        _rule("ジュップン", 1, before="まで|から", after="で|です|$|[、。]"),
    ),
    "市場": (
        _rule("イチバ", 1, before="魚|青果|朝|闇|花|卸売|食肉|(?:駅前|築地|町|街|近く|地元|港|村)の"),
        _rule(
            "イチバ",
            1,
            before=_START,
            after="[にへ](?:行|出かけ|買い)|で(?:買|野菜|魚|果物|働|売)|の(?:前|中|入口|店|魚)",
        ),
    ),
    "人気": (_rule("ヒトケ", 0, after="[のがも](?:な|無)", near=_LONELY),),
    "開い": (
        _rule(None, near="花|差が|蕾|つぼみ|会議|会が"),
        _rule("アイ", 0, before="^|[、。]", after="た(?:ままの)?(?:窓|ドア|扉|口|戸|缶|瓶|箱|穴|席)", old="ヒライ"),
        _rule("アイ", 0, before="^[^を]*[がはにもで時ま]", old="ヒライ"),
    ),
    "開か": (_rule("アカ", 0, before="[がはも]", after="ない|なかっ|ず", old="ヒラカ"),),
    "止め": (_rule("ヤメ", 0, before="の[はをも]|お|もう", old="トメ"),),
    **{
        f"拘{kana}": (_rule(f"コダワ{said}", 3),)
        for kana, said in (("る", "ル"), ("り", "リ"), ("ら", "ラ"), ("っ", "ッ"))
    },
    "火傷": (_rule("ヤケド", 0),),
    "貴女": (_rule("アナタ", 2),),
    "風": (_rule("カゼ", 0, before="い|ビル", after="[がはを]", old="フー"),),
    "様": (_rule("サマ", before="[ァ-ヺー]", old="ヨー"),),
    "君": (_rule("クン", before="[ァ-ヺー]", old="キミ"),),
    "語": (_rule("ゴ", before="[ァ-ヺー]", old="カタリ"),),
    "者": (
        _rule(
            "モノ",
            before="頑固|剽軽|若輩|働き|怠け|人気|余所|臆病|卑怯|乱暴|正直|馬鹿|裏切り|変わり|笑い|田舎|悪",
            old="シャ",
        ),
    ),
    "瞬い": (_rule("マタタイ", 3),),
    "艶やか": (_rule("ツヤヤカ", 2, near="髪|肌|毛|唇|葉|木|光沢|声|音|調べ"),),
    "生": (
        _rule(
            "ナマ",
            1,
            before=_START,
            after="で|の(?:魚|肉|野菜|演奏|声|卵|牡蠣|まま|音|ビール|状態)|が(?:いい|好き|一番)",
        ),
    ),
    "羽生": (_rule("ハニュー", 0, after="結弦"),),
    "日本": (_rule("ニホン", 4, after="大学"),),
    "日本武道館": (_rule("ニッポンブドーカン", 6),),
    "日本人": (_rule("ニホンジン", 4),),
    "東日本": (_rule("ヒガシニホン", 4),),
    "駿": (_rule("ハヤオ", 1, before="宮崎"),),
    "走": (_rule("ソー", 1, before="メートル"),),
    "走で": (_rule("ソーデ", 1, before="メートル"),),
    "降り": (_rule("フリ", 1, before="(?:雨|雪|霰|雹|みぞれ|あられ|ひょう|夕立)[がはもの]?", old="オリ"),),
    "中": (_rule("ジュー", before="一日|一年|一晩|世界|日本|国|体", old="チュー"),),
    "表": (_rule("オモテ", 3, before=_START, after="に出|で(?:遊|待|話|騒)|から(?:入|回)|通り|を(?:歩|掃|通)"),),
}
for _day, _said in zip("月火水木金土日", ("ゲツ", "カー", "スイ", "モク", "キン", "ド", "ニチ"), strict=True):
    HOMOGRAPHS[_day] = (
        _rule(_said, 1, before="[月火水木金土日]・", after="・[月火水木金土日]|(?![一-鿿々])", near=_DAYS),
        _rule(_said, 1, after="・[月火水木金土日]", near=_DAYS),
        *HOMOGRAPHS.get(_day, ()),
    )

COMPOUNDS: tuple[tuple[tuple[str, ...], Homograph], ...] = (
    (
        ("二", "十", "歳"),
        _rule("ハタチ", 1, before="^|[^〇一二三四五六七八九十百千万第]", after="(?!以|未満|代|から|前後|台|ごろ|頃)"),
    ),
    (("何", "人", "たり"), _rule("ナンピトタリ", 1, after="と")),
    (("一番", "星"), _rule("イチバンボシ", 5)),
)
