"""The pronunciation dictionary: right entries are read, wrong ones are named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovits_service.errors import SettingsError
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon import Lexicon, load_lexicon
from sovits_service.text.symbols import symbol_ids


def _load(tmp_path: Path, content: str) -> Lexicon:
    path = tmp_path / "lexicon.yaml"
    path.write_text(content, encoding="utf-8")
    return load_lexicon(path)


def _phonemes(frontend: Frontend, text: str, language: str) -> list[str]:
    names = {i: name for name, i in symbol_ids("v2").items()}
    return [names[i] for segment in frontend.segments(text, language, "v2", "cut0") for i in segment.phoneme_ids]


def test_the_shipped_file_is_right() -> None:
    assert load_lexicon(Path(__file__).parents[3] / "configs" / "lexicon.yaml").readings("zh") == {}


def test_words_are_read_as_written(tmp_path: Path) -> None:
    lexicon = _load(tmp_path, "zh:\n  角色: jiao3 se4\nen:\n  Tomato: T AH0 M AA1 T OW0\n")
    frontend = Frontend(lexicon=lexicon)
    assert _phonemes(frontend, "这个角色很好", "zh")[4:8] == ["j", "iao3", "s", "e4"]
    assert "AA1" in _phonemes(frontend, "I like a TOMATO very much", "en")
    assert _phonemes(Frontend(), "这个角色很好", "zh")[4:8] == ["j", "ve2", "s", "e4"]


def test_sandhi_applies_to_words_of_the_dictionary(tmp_path: Path) -> None:
    frontend = Frontend(lexicon=_load(tmp_path, "zh:\n  佘琴: she3 li3\n"))
    assert _phonemes(frontend, "你说佘琴在哪里", "zh")[4:8] == ["sh", "e2", "l", "i3"]


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("zh:\n  角色: jue2 se4\n  角: jue9\n", 3, "jue9"),
        ("zh:\n  角色: jue2\n", 2, "2 characters and 1 syllables"),
        ("en:\n  cat: K AE T\n", 2, "AE"),
        ("ja:\n  東雲: shinonome\n", 2, "kana"),
        ("ko:\n  서울: seoul\n", 2, "hangul"),
        ("yue:\n  香港: hoeng1 gong9\n", 2, "gong9"),
        ("zh:\n\n  角色:\n", 3, "needs a reading"),
        ("zh:\n  角色: jue2 se4\n  角色: jue2 se4\n", 3, "twice"),
        ("fr:\n  chat: SH AA1\n", 1, "fr"),
        ("zh: [a, b]\n", 1, "name: value"),
        ("zh:\n  角色: 'jue2\n", 3, "YAML"),
    ],
)
def test_a_wrong_entry_is_named_by_its_line(tmp_path: Path, content: str, line: int, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, content)
    assert f"line {line}:" in str(caught.value)
    assert told in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_lexicon(tmp_path / "lexicon.yaml")


@pytest.mark.parametrize("content", ["", "zh:\n", "# nothing\n"])
def test_an_empty_file_is_an_empty_dictionary(tmp_path: Path, content: str) -> None:
    assert _load(tmp_path, content).readings("zh") == {}
