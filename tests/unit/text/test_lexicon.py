"""The pronunciation dictionary: right entries are read, wrong ones are named by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sovits_service.errors import SettingsError
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon import Lexicon, parse_lexicon, read_lexicon
from sovits_service.text.lexicon_file import LexiconFile
from sovits_service.text.symbols import symbol_ids


def _load_file(path: Path) -> Lexicon:
    return parse_lexicon(read_lexicon(path), path.name)


def _load(tmp_path: Path, content: str) -> Lexicon:
    path = tmp_path / "lexicon.yaml"
    path.write_text(content, encoding="utf-8")
    return _load_file(path)


def _phonemes(frontend: Frontend, text: str, language: str) -> list[str]:
    names = {i: name for name, i in symbol_ids("v2").items()}
    return [names[i] for segment in frontend.segments(text, language, "v2", "cut0") for i in segment.phoneme_ids]


def test_the_shipped_file_is_right() -> None:
    assert _load_file(Path(__file__).parents[3] / "configs" / "lexicon.yaml").readings("zh") == {}


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
        _load_file(tmp_path / "lexicon.yaml")


@pytest.mark.parametrize("content", ["", "zh:\n", "# nothing\n"])
def test_an_empty_file_is_an_empty_dictionary(tmp_path: Path, content: str) -> None:
    assert _load(tmp_path, content).readings("zh") == {}


def _replace(path: Path, content: str) -> None:
    """As editors do: another file in its place."""
    beside = path.with_suffix(".new")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)


def test_a_changed_file_is_taken_and_an_equal_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.yaml"
    file = LexiconFile(path)
    _replace(path, "zh:\n  角色: jiao3 se4\n")
    assert (file.refresh(), file.refresh()) == (True, False)
    first = file.lexicon.digest()
    _replace(path, "# a comment\nzh:\n  角色: jiao3 se4\nen:\n")
    assert file.refresh()
    assert file.lexicon.digest() == first
    _replace(path, "zh:\n  角色: jue2 se4\n")
    assert file.refresh()
    assert file.lexicon.digest() != first
    path.unlink()
    assert file.refresh()
    assert file.lexicon == Lexicon()


def test_a_broken_file_keeps_the_one_before_and_names_the_line_once(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.yaml"
    path.write_text("zh:\n  角色: jiao3 se4\n", encoding="utf-8")
    file = LexiconFile(path)
    _replace(path, "zh:\n  角色: jiao3 se4\n  银行: yin hang\n")
    with capture_logs() as lines:
        assert (file.refresh(), file.refresh()) == (False, False)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "line 3" in lines[0]["reason"]
    assert file.lexicon.readings("zh") == {"角色": ("jiao3", "se4")}
    _replace(path, "zh:\n  银行: yin2 hang2\n")
    assert file.refresh()


def test_another_dictionary_counts_for_later_texts() -> None:
    frontend = Frontend()
    assert _phonemes(frontend, "这个角色很好", "zh")[4:8] == ["j", "ve2", "s", "e4"]
    assert "EY1" in _phonemes(frontend, "I like a TOMATO very much", "en")
    frontend.use_lexicon(
        Lexicon({"zh": {"角色": ("jiao3", "se4")}, "en": {"tomato": ("T", "AH0", "M", "AA1", "T", "OW0")}})
    )
    assert _phonemes(frontend, "这个角色很好", "zh")[4:8] == ["j", "iao3", "s", "e4"]
    assert "AA1" in _phonemes(frontend, "I like a TOMATO very much", "en")
