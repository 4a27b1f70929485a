"""Sentences of a text that is still being written."""

from __future__ import annotations

import pytest

from sovits_service.text.growing import GrowingText


def written(*parts: str) -> list[list[str]]:
    text = GrowingText()
    return [[piece.text for piece in text.write(part)] for part in parts]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["今天天气很好。", "明天呢"], [["今天天气很好。"], []]),
        (["他说：“今天天气很好。”", "明天"], [["他说：“今天天气很好。”"], []]),
        (["好。", "今天天气很好。"], [[], ["好。今天天气很好。"]]),
        (["Hello there.", " How are you"], [[], ["Hello there. "]]),
        (["Hello there!", " How"], [[], ["Hello there! "]]),
        (
            ["It costs 3", ".", "14 dollars. Is it", " much? No"],
            [[], [], ["It costs 3.14 dollars. "], ["Is it much? "]],
        ),
        (["Ask Dr. Smith or J. Doe at a.b@c.org. He", " knows"], [["Ask Dr. Smith or J. Doe at a.b@c.org. "], []]),
        (["The first line\nthe second"], [["The first line\n"]]),
        (["一二三四。五六七八！九十"], [["一二三四。", "五六七八！"]]),
        (["... 😀 ", "hello there. And"], [[], ["... 😀 hello there. "]]),
    ],
)
def test_a_sentence_goes_out_when_it_is_surely_over(parts: list[str], expected: list[list[str]]) -> None:
    assert written(*parts) == expected


def test_every_character_goes_out_once_with_its_place() -> None:
    whole = "今天天气很好。Hello there, said Mr. X! It is 3.14. 明天呢？ " * 20
    text = GrowingText()
    pieces = [piece for character in whole for piece in text.write(character)] + text.rest()
    assert "".join(piece.text for piece in pieces) == whole.rstrip() + " "
    assert all(whole[piece.start : piece.end] == piece.text for piece in pieces)
    assert (len(text), text.length) == (0, len(whole))


@pytest.mark.parametrize(
    ("text", "given", "left"),
    [
        ("I went to the mar", ["I went to the "], 3),
        ("Well, yes, I mar", ["Well, yes, I "], 3),
        ("今天天气", ["今天天气"], 0),
        ("hel", [], 3),
        ("... ", [], 4),
        ("", [], 0),
    ],
)
def test_a_writer_who_pauses_is_heard_up_to_a_word(text: str, given: list[str], left: int) -> None:
    growing = GrowingText()
    assert growing.write(text) == []
    assert [piece.text for piece in growing.give_way()] == given
    assert len(growing) == left


@pytest.mark.parametrize("unit", ["word ", "字", "x", "一二，"])
def test_a_text_without_an_end_is_cut_all_the_same(unit: str) -> None:
    text = GrowingText()
    pieces = text.write(unit * 1000) + text.rest()
    assert max(len(piece.text) for piece in pieces) <= 200
    assert "".join(piece.text for piece in pieces) == unit * 1000
