"""Tables of Chinese notation, and the words around a number that tell what kind it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple


class Notation(NamedTuple):
    """How symbols are said."""

    currencies: Mapping[str, str]
    greek: Mapping[str, str]
    signs: Mapping[str, str]
    compatible: Mapping[str, str]
    marks: Mapping[str, str]


@lru_cache(maxsize=1)
def notation() -> Notation:
    return Notation(**json.loads((files("sovits_service.text.zh") / "data" / "notation.json").read_text("utf-8")))


@lru_cache(maxsize=1)
def mark_table() -> Mapping[int, str]:
    """Marks of Chinese typography and the ones of the phoneme set, for `str.translate`."""
    return str.maketrans(dict(notation().marks))


@lru_cache(maxsize=1)
def simplified_characters() -> Mapping[int, int]:
    """Traditional characters and their simplified ones, for `str.translate`."""
    table = json.loads((files("sovits_service.text.zh") / "data" / "traditional.json").read_text("utf-8"))
    return str.maketrans(table["traditional"], table["simplified"])


# Measure words: a number before one of them is a count, and a lone 2 is said 两. The first group is the original's.
MEASURE_WORDS = (
    "处台架枚趟幅平方堵间床株批项例列篇栋注亩封艘把目套段人所朵匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣"
    "客贯扎捆刀令打罗坡山岭江溪钟队单双对出口头脚板跳枝件贴针线管名位身堂课本页家户层丝毫厘分钱斤铢石钧锱忽寸尺丈里寻常铺程米撮勺"
    "合升斗盘碗碟叠桶笼盆盒杯斛锅簋篮罐瓶壶卮盏箩箱煲啖袋钵年季时周天秒旬纪岁夜春夏秋冬伏辈丸泡粒幢堆根道面片块元角毛吨"
    "次种倍部款样类节集门点克幕声步句字拍圈轮束滴缕串排股副帖剂餐顿桌席晚届成座届艘发声枪招遍番则员族份"
)
COUNTED = re.compile(
    rf"[多余几来]?(?:[{MEASURE_WORDS}]|公[里斤尺分顷克升]|[千毫微厘分]米|[千毫微]克|[毫]升|小时|分钟|秒钟|星期|礼拜|"
    r"平方|立方|美元|欧元|英镑|日元|港元|港币|卢布|人民币|英[里寸尺]|海里|光年|摄氏|华氏|百分点|像素|字节|[万亿千百])"
)
PAIRED = re.compile(
    rf"(?:[{MEASURE_WORDS}]|公[里斤尺分顷克升]|[千毫微]米|[千毫微]克|毫升|小时|分钟|秒钟|星期|礼拜|[万亿千])"
)
NOT_PAIRED = re.compile(
    r"单元|口井|年级|手[房车货]|等[奖座舱]|点[零一二三四五六七八九\d](?!\d?分|\d)|头肌|维|线城|分之|人转|层楼|班|路|本[院科线]"
)

# Words that make the digits after them a name, said one by one
CODE_BEFORE = re.compile(
    r"(?:学号|编号|房间号?|房号|号码|密码|验证码|校验码|邀请码|口令|尾号|车牌号?|航班号?|邮编|邮政编码|身份证号?|账号|帐号|卡号|工号|门牌号?|"
    r"证号|单号|订单号?|代码|代号|型号|取件码|提货码|快递单|会员号|考号|准考证号?|座机|电话|手机|手机号|热线|拨打|拨|致电|来电|打给|"
    r"客服|火警|匪警|急救|报警|交警|联系方式|传真|QQ|qq|微信号?|群号|分机|转|频道号|波音|空客|歼|运|班次|车次|学籍号|流水号|批号|批次号|序列号|ID|id|No\.?|NO\.?)"
    r"(?:号码?|为|是|：|:|叫|改成|设为|输入|[（(]|[\"“]|\s){0,3}$"
)
CODE_AFTER = re.compile(
    r"(?:工作制|单元|电话|号?房间?(?![价子产])|室(?!友)|路(?:公交|车|电车|汽车)|次(?:列车|航班|高铁|动车)|航班|国道|省道|医院急救|热线|事件|房客|分机)"
)
TELEPHONE_BEFORE = re.compile(
    r"(?:电话|手机|热线|拨打?|致电|座机|客服|火警|匪警|急救|报警|交警|联系方式|传真|号码|打给?|Tel|TEL|tel)[^，。！？,!?]{0,6}$"
)
# Numbers that are names: hotlines, university programmes, days and films
NAMED_NUMBERS = frozenset((
    "985", "211", "996", "007", "911", "315", "618", "404", "360", "520", "1314", "747", "737",
    "648", "10086", "10010", "12306", "12315", "12348", "12333", "12320", "12355", "12366", "12377", "12110",
    "95588", "95533", "95599", "95566", "95559", "95555", "95528", "95595", "95568", "95561", "95558",
    "95511", "95518", "95519", "95338", "95546", "95598", "11185", "11183", "96110",
))  # fmt: skip
SCORE_BEFORE = re.compile(
    r"(?:比分|决赛|系列赛|以|大胜|完胜|小胜|险胜|战胜|击败|打败|领先|落后|战平|打平|惜败|赢|输|总分|逆转|扳成|改写为|定格在|赔率|比例|配比|按|之比|成绩)[^，。！？,!?]{0,6}$"
)
SCORE_AFTER = re.compile(
    r"\s?(?:战胜|击败|打败|领先|落后|险胜|大胜|完胜|小胜|战平|逆转|告负|不敌|负于|获胜|取胜|胜|平)"
)
CLOCK_BEFORE = re.compile(r"(?:用时|耗时|时长|计时|成绩|全长|片长|历时|跑进|跑出|总时长)[^，。！？,!?\d]{0,4}$")
YEAR_SPAN_AFTER = re.compile(r"[多余来]?年(?:的?历史|前|后|以来|来|之后|之前|间|内|时间|老|陈酿|不变|如一|期)")
