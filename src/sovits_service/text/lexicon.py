"""The users' pronunciation dictionary (YAML); errors name the line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from sovits_service.errors import SettingsError

Readings = Mapping[str, tuple[str, ...]]

_NO_READINGS: Readings = MappingProxyType({})
_PINYIN = re.compile(r"[a-zêüv]{1,6}[1-5]")
_ARPABET = re.compile(
    r"(?:AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[012]|"
    r"B|CH|D|DH|F|G|HH|JH|K|L|M|N|NG|P|R|S|SH|T|TH|V|W|Y|Z|ZH"
)
_JYUTPING = re.compile(r"[a-z]{1,6}[1-6]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\u30fc]+")
_HANGUL = re.compile(r"[\uac00-\ud7a3 ]+")
_NOTATION = {
    "zh": (_PINYIN, "pinyin with tone numbers, one syllable a character, such as 'jue2 se4'"),
    "en": (_ARPABET, "ARPAbet with stress marks, such as 'T OW1 M EY0 T OW0'"),
    "ja": (_KANA, "kana, such as 'とうきょう'"),
    "ko": (_HANGUL, "hangul, such as '서울'"),
    "yue": (_JYUTPING, "jyutping with tone numbers, one syllable a character, such as 'hoeng1 gong2'"),
}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words and their readings: pinyin, ARPAbet and jyutping by syllable or phoneme, kana and hangul as one piece."""

    words: Mapping[str, Readings] = field(default_factory=lambda: MappingProxyType({}))

    def readings(self, language: str) -> Readings:
        return self.words.get(language, _NO_READINGS)

    def digest(self) -> str:
        """SHA-256 of what it says: comments and the order of lines do not count."""
        words = {language: dict(readings) for language, readings in self.words.items() if readings}
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def read_lexicon(path: Path) -> str:
    """The text of the file. Raises SettingsError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not UTF-8 text") from error


def parse_lexicon(text: str, name: str) -> Lexicon:
    """Check the text of a file of this name. Raises SettingsError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{name}, line {line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not valid YAML: it holds a character that YAML does not allow") from error
    words: dict[str, Readings] = {}
    for language_node, section in _pairs(root, name):
        language = language_node.value
        if language not in _NOTATION:
            raise _fault(name, language_node, f"{language!r} is not a language; use one of {', '.join(_NOTATION)}")
        entries: dict[str, tuple[str, ...]] = {}
        for word_node, reading_node in _pairs(section, name):
            word = word_node.value.lower() if language == "en" else word_node.value
            if word in entries:
                raise _fault(name, word_node, f"{word!r} appears twice")
            entries[word] = _parse_reading(name, language, word, reading_node)
        words[language] = MappingProxyType(entries)
    return Lexicon(MappingProxyType(words))


def _parse_reading(file_name: str, language: str, word: str, node: yaml.Node) -> tuple[str, ...]:
    pattern, notation = _NOTATION[language]
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise _fault(file_name, node, f"{word!r} needs a reading in {notation}")
    value = node.value.strip()
    parts = (value,) if language in ("ja", "ko") else tuple(value.split())
    wrong = next((part for part in parts if not pattern.fullmatch(part)), None)
    if wrong is not None:
        raise _fault(file_name, node, f"{wrong!r} in the reading of {word!r} is not {notation}")
    if not word.strip():
        raise _fault(file_name, node, "a reading without a word")
    if language in ("zh", "yue") and len(parts) != len(word):
        raise _fault(
            file_name, node, f"{word!r} has {len(word)} characters and {len(parts)} syllables; write one for each"
        )
    return parts


def _pairs(node: yaml.Node | None, file_name: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Keys and values of a mapping; nothing of an empty file or section."""
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "~", "null")):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise _fault(file_name, node, "expected 'name: value' lines")
    pairs: list[tuple[yaml.ScalarNode, yaml.Node]] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _fault(file_name, key, "expected a word before the colon")
        pairs.append((key, value))
    return pairs


def _fault(file_name: str, node: yaml.Node, message: str) -> SettingsError:
    return SettingsError(f"{file_name}, line {node.start_mark.line + 1}: {message}")
