"""Markup, lines and emoji, in every language: what is heard of them, by the words that are said."""

from __future__ import annotations

import pytest

from sovits_service.text.frontend import Frontend
from sovits_service.text.markup import without_markup
from sovits_service.text.spoken import Spoken


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend()


def _said(frontend: Frontend, text: str, language: str, *, read_emoji: bool = False) -> str:
    segments = frontend.segments(text, language, "v2", "cut5", read_emoji=read_emoji)
    return " ".join(run.norm_text for segment in segments for run in segment.runs).replace("。", ".").strip(".")


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        # links and images
        ("zh", "请看[链接](https://example.com/a)。", "请看链接"),
        ("en", "See [the docs](https://x.org/y).", "See the docs"),
        ("ja", "[リンク](https://example.com/a)を見る", "リンクを見る"),
        # tags and character references
        ("zh", "你好<br>世界", "你好.世界"),
        ("zh", "你好&nbsp;世界", "你好世界"),
        ("zh", "这是<b>重点</b>", "这是重点"),
        ("zh", '<speak>你好<break time="1s"/>世界</speak>', "你好.世界"),
        ("en", "<p>This is one.</p><p>This is two.</p>", "This is one. This is two"),
        ("zh", "<style>p { color: red }</style>正文", "正文"),
        # emphasis and inline code
        ("ko", "**굵게** 강조", "굵게 강조"),
        ("en", "**Bold** and *italic* and `code`.", "Bold and italic and code"),
        ("zh", "运行`ls`命令", "运行 ls 命令"),
        # blocks of code are not read
        ("zh", "看代码：\n```python\nprint(1)\n```\n完了", "看代码,完了"),
        ("en", "Look at this:\n```\nx = 1\n```\nIt is done.", "Look at this, It is done"),
        # tables: a sentence for each row, a pause between cells
        ("zh", "|姓名|年龄|\n|---|---|\n|张三|20|", "姓名,年龄. 张三,二十"),
        ("en", "| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b.one, two"),
        # headings, lists, quotations: a line is a phrase
        ("zh", "# 标题\n正文", "标题.正文"),
        ("zh", "水果\n- 苹果\n- 香蕉", "水果.苹果.香蕉"),
        ("zh", "清单\n- 一\n- 二", "清单.一.二"),
        ("yue", "- 蘋果\n- 橙", "蘋果.橙"),
        ("ko", "- 사과\n- 배", "사과.배"),
        ("ja", "> 引用\n本文", "引用.本文"),
        # figures do not reach across lines
        ("zh", "温度：5\n- 10号开会", "温度,五. 十号开会"),
        ("zh", "得分：3\n-2分", "得分,三.负两分"),
        ("en", "Score: 3\n-2 points", "Score, three. negative two points"),
        # formulas
        ("en", "$E=mc^2$", "E equals M C squared"),
        ("zh", "公式\\(a^2+b^2\\)成立", "公式 A 的二次方加 b 的二次方成立"),
        ("zh", "$\\frac{1}{2}$的人", "二分之一的人"),
        ("en", "$\\frac{1}{2}$ of $x_1$", "one half of x one"),
        ("en", "It costs $5 and $10.", "It costs five dollars and ten dollars"),
        # faces
        ("zh", "早上好(´・ω・`)今天加油T_T", "早上好,今天加油"),
        ("en", "Nice work :D", "Nice work"),
        ("ja", "やった(・∀・)ノ", "やった"),
        ("zh", "选项:D", "选项, D"),
        ("zh", "角度(°)和T.T.先生", "角度和 T T. 先生"),
        # what only looks like markup
        ("en", "2 * 3 * 4", "two times three times four"),
        ("en", "a < b and c > d", "a is less than b and c is greater than d"),
    ],
)
def test_markup_is_not_heard(frontend: Frontend, language: str, text: str, said: str) -> None:
    assert _said(frontend, text, language) == said


@pytest.mark.parametrize(
    ("language", "text", "silent", "named"),
    [
        ("zh", "太好了👍", "太好了", "太好了,拇指向上"),
        ("zh", "你好😀世界", "你好,世界", "你好,嘿嘿,世界"),
        ("en", "I love it 😀 Let's go", "I love it. Let's go", "I love it, grinning face, Let's go"),
        ("ja", "誕生日おめでとう🎉", "誕生日おめでとう", "誕生日おめでとう, クラッカー"),
        ("ko", "축하해 🎉", "축하해", "축하해, 파티"),
        ("auto", "生日快乐🎂", "生日快乐", "生日快乐,生日蛋糕"),
    ],
)
def test_emoji_are_silent_or_named(frontend: Frontend, language: str, text: str, silent: str, named: str) -> None:
    assert _said(frontend, text, language) == silent
    assert _said(frontend, text, language, read_emoji=True).replace("，", ",") == named


@pytest.mark.parametrize("unit", ["```a\n", "|", "|a|\n", "$", "<", "<a", "[a](", "\\(", "**", "- \n", "😀", "\n"])
def test_markup_without_an_end_takes_few_steps(unit: str) -> None:
    text = unit * (8_000 // len(unit))
    assert len(without_markup(Spoken.of(text), "。").text) <= 2 * len(text)
