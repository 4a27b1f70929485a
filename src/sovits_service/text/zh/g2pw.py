"""Polyphones by G2PW's ONNX model: the syllable of each character of a clause.

The model (G2PW: Chen et al., "g2pW: A Conditional Weighted Softmax BERT for Polyphone Disambiguation in Mandarin",
Interspeech 2022) reads traditional characters; its folder holds `g2pW.onnx`, the two lists of characters and the two
tables of bopomofo. Needs the extra `g2pw`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pypinyin import Style, lazy_pinyin

from sovits_service.errors import MissingExtraError, SettingsError
from sovits_service.text.zh.normalize import simplify

_CONTEXT_CHARACTERS = 16  # kept to each side of the outermost polyphones, as the original does
_LONGEST_TEXT = 510
_VOCABULARY_FOLDERS = ("", "../chinese-roberta-wwm-ext-large")
# parity: characters whose list entries the original does not trust
_NOT_POLYPHONIC = frozenset("一不和咋嗲剖差攢倒難奔勁拗肖瘙誒泊听噢")
_NOT_MONOPHONIC = frozenset("似攢")


class G2pwModel:
    """The model and its tables, loaded once; calls are safe from several threads.

    Args:
        folder: the unpacked G2PWModel folder. BERT's vocabulary is in it too, or in `chinese-roberta-wwm-ext-large`
            beside it, as `vocab.txt` or `tokenizer.json`.

    Raises:
        MissingExtraError: the packages of the extra `g2pw` are not installed.
        SettingsError: a file is missing or is not what it should be; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "opencc")):
            raise MissingExtraError("the polyphone model needs the extra g2pw: pip install 'sovits-service[g2pw]'")
        import onnxruntime
        import opencc

        options = _read_options(folder)
        polyphonic = _read_pairs(folder, "POLYPHONIC_CHARS.txt")
        self._labels_name_character = bool(options.get("use_char_phoneme", False))
        names = [self._label(character, phoneme) for character, phoneme in polyphonic]
        self._labels = sorted(set(names))
        self._characters = {character: i for i, character in enumerate(sorted({pair[0] for pair in polyphonic}))}
        self._masks = self._phoneme_masks(polyphonic, names, use_mask=bool(options.get("use_mask", True)))
        self._polyphonic = frozenset(self._characters) - _NOT_POLYPHONIC
        monophonic = _read_pairs(folder, "MONOPHONIC_CHARS.txt")
        self._monophonic = {pair[0]: pair[1] for pair in monophonic if pair[0] not in _NOT_MONOPHONIC}
        self._pinyin: Mapping[str, str] = _read_json(folder, "bopomofo_to_pinyin_wo_tune_dict.json")
        self._vocabulary = _read_vocabulary(folder)
        self._to_traditional = opencc.OpenCC("s2tw")
        self._session = onnxruntime.InferenceSession(
            str(_existing(folder, "g2pW.onnx", "g2pw.onnx")), providers=["CPUExecutionProvider"]
        )

    def __call__(self, clause: str) -> list[str | None]:
        """Syllables with tone numbers by character; a mark, and what no table knows, is None."""
        traditional = self._to_traditional.convert(clause)
        if len(traditional) != len(clause):
            traditional = clause
        plain = lazy_pinyin(simplify(traditional), style=Style.TONE3, neutral_tone_with_five=True)
        syllables: list[str | None] = list(plain) if len(plain) == len(clause) else [None] * len(clause)
        queries: list[int] = []
        for i, character in enumerate(traditional):
            if character in self._polyphonic:
                queries.append(i)
            elif character in self._monophonic:
                syllables[i] = self._to_pinyin(self._monophonic[character]) or syllables[i]
        for position, phoneme in self._predict(traditional, queries).items():
            syllables[position] = self._to_pinyin(phoneme) or syllables[position]
        return syllables

    def _predict(self, text: str, queries: Sequence[int]) -> dict[int, str]:
        """Phonemes of the polyphones, by their position in the text."""
        predicted: dict[int, str] = {}
        group: list[int] = []
        for position in [*queries, None]:
            if group and (position is None or position - group[0] + 2 * _CONTEXT_CHARACTERS >= _LONGEST_TEXT):
                predicted |= self._predict_together(text, group)
                group = []
            if position is not None:
                group.append(position)
        return predicted

    def _predict_together(self, text: str, queries: Sequence[int]) -> dict[int, str]:
        start = max(0, queries[0] - _CONTEXT_CHARACTERS)
        window = text[start : queries[-1] + _CONTEXT_CHARACTERS + 1].lower()
        unknown = self._vocabulary["[UNK]"]
        # every character is its own token here: the clause has Han characters and marks alone
        tokens = [self._vocabulary.get(character, unknown) for character in window if character != " "]
        ids = [self._vocabulary["[CLS]"], *tokens, self._vocabulary["[SEP]"]]
        shape = (len(queries), len(ids))
        spaces_before = [window[: position - start].count(" ") for position in queries]
        probabilities = self._session.run(
            None,
            {
                "input_ids": np.broadcast_to(np.asarray(ids, dtype=np.int64), shape).copy(),
                "token_type_ids": np.zeros(shape, dtype=np.int64),
                "attention_mask": np.ones(shape, dtype=np.int64),
                "phoneme_mask": np.stack([self._masks[text[position]] for position in queries]),
                "char_ids": np.asarray([self._characters[text[position]] for position in queries], dtype=np.int64),
                "position_ids": np.asarray(
                    [position - start + 1 - spaces for position, spaces in zip(queries, spaces_before, strict=True)],
                    dtype=np.int64,
                ),
            },
        )[0]
        best = np.asarray(probabilities).argmax(axis=1)
        return {
            position: self._labels[int(label)].rpartition(" ")[2] for position, label in zip(queries, best, strict=True)
        }

    def _label(self, character: str, phoneme: str) -> str:
        return f"{character} {phoneme}" if self._labels_name_character else phoneme

    def _phoneme_masks(
        self, polyphonic: Sequence[tuple[str, str]], names: Sequence[str], *, use_mask: bool
    ) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        index = {label: i for i, label in enumerate(self._labels)}
        fill = 0.0 if use_mask else 1.0
        masks = {character: np.full(len(self._labels), fill, dtype=np.float32) for character in self._characters}
        for (character, _), name in zip(polyphonic, names, strict=True):
            masks[character][index[name]] = 1.0
        return masks

    def _to_pinyin(self, bopomofo: str) -> str | None:
        syllable = self._pinyin.get(bopomofo[:-1])
        return syllable + bopomofo[-1] if syllable and bopomofo[-1] in "12345" else None


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SettingsError(
        f"the polyphone model's folder has no {names[0]}; unpack G2PWModel_1.1.zip there or unset g2pw_dir"
    )


def _read_options(folder: Path) -> dict[str, object]:
    """Plain assignments of the model's `config.py`, which is read and not run."""
    path = folder / "config.py"
    if not path.is_file():
        return {}
    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SettingsError("config.py in the polyphone model's folder is damaged; unpack the model again") from error
    options: dict[str, object] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            options |= {name.id: statement.value.value for name in statement.targets if isinstance(name, ast.Name)}
    return options


def _read_pairs(folder: Path, name: str) -> list[tuple[str, str]]:
    pairs = [line.split("\t") for line in _existing(folder, name).read_text(encoding="utf-8").splitlines() if line]
    if any(len(pair) != 2 for pair in pairs):
        raise SettingsError(f"{name} in the polyphone model's folder is damaged; unpack the model again")
    return [(character, phoneme.strip()) for character, phoneme in pairs]


def _read_json(folder: Path, name: str) -> dict[str, str]:
    try:
        table: dict[str, str] = json.loads(_existing(folder, name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{name} in the polyphone model's folder is damaged; unpack the model again") from error
    return table


def _read_vocabulary(folder: Path) -> dict[str, int]:
    for place in _VOCABULARY_FOLDERS:
        words, tokenizer = folder / place / "vocab.txt", folder / place / "tokenizer.json"
        if words.is_file():
            return {word: i for i, word in enumerate(words.read_text(encoding="utf-8").splitlines())}
        if tokenizer.is_file():
            vocabulary: dict[str, int] = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
            return vocabulary
    raise SettingsError(
        "the polyphone model needs vocab.txt or tokenizer.json of chinese-roberta-wwm-ext-large in its folder"
    )
