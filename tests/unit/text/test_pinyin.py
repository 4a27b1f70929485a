"""Pinyin with tone marks within a Chinese text is said as it is written."""

from __future__ import annotations

import pytest

from sovits_service.text.spoken import Spoken
from sovits_service.text.zh.pinyin import characters_for_pinyin
from tests.unit.text.hard_rows import sounds


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("重庆的重读chóng，不读zhòng。", "重庆的重读虫，不读众。"),
        ("一声mā，二声má，三声mǎ，四声mà。", "一声妈，二声麻，三声马，四声骂。"),
        ("拼音是Běijīng，不是Nánjīng。", "拼音是北京，不是南京。"),
        ("绿色写作lǜsè。", "绿色写作绿色。"),
        ("西安是Xī'ān。", "西安是西安。"),
    ],
)
def test_pinyin_is_said_as_it_is_written(text: str, alike: str) -> None:
    assert sounds(text, "zh") == sounds(alike, "zh")


@pytest.mark.parametrize("text", ["他在café喝咖啡，déjà vu。", "Tōkyō是东京", "读résumé", "Nǐ hǎo", "没有拼音"])
def test_other_words_and_texts_stay(text: str) -> None:
    assert characters_for_pinyin(Spoken.of(text)).text == text


def test_a_word_of_many_marks_takes_time_in_proportion_to_its_length() -> None:
    text = "读" + "ā" * 20_000
    assert characters_for_pinyin(Spoken.of(text)).text == text
