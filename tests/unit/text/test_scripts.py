"""A transcript that is written as another language is."""

from __future__ import annotations

import pytest

from sovits_service.text.scripts import fits_language


@pytest.mark.parametrize(
    ("text", "language", "fits"),
    [
        ("你好，很高兴见到你。", "zh", True),
        ("你好，很高兴见到你。", "all_zh", True),
        ("你好，很高兴见到你。", "en", False),
        ("他发了一封 letter 给 teacher。", "zh", True),
        ("This story begins in a small town.", "en", True),
        ("This story begins in a small town.", "zh", False),
        ("こんにちは、元気ですか。", "ja", True),
        ("東京都庁", "ja", True),
        ("こんにちは、元気ですか。", "zh", False),
        ("안녕하세요, 반갑습니다.", "ko", True),
        ("안녕하세요, 반갑습니다.", "ja", False),
        ("你今日食咗飯未呀？", "yue", True),
        ("This story begins.", "auto", True),
        ("12345", "en", True),
    ],
)
def test_whether_a_text_is_written_as_its_language(text: str, language: str, fits: bool) -> None:
    assert fits_language(text, language) is fits
