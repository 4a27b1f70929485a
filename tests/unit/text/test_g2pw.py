"""The polyphone model's loader, on a tiny ONNX model with the real one's inputs and output."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sovits_service.errors import MissingExtraError, SettingsError
from sovits_service.text.frontend import Frontend
from sovits_service.text.spoken import Spoken
from sovits_service.text.symbols import symbol_ids
from sovits_service.text.zh.g2pw import G2pwModel
from sovits_service.text.zh.reader import ChineseReader

POLYPHONIC = [("長", "ㄔㄤ2"), ("長", "ㄓㄤ3"), ("行", "ㄏㄤ2"), ("行", "ㄒㄧㄥ2"), ("得", "ㄉㄜ2"), ("得", "ㄉㄟ3")]
LABELS = sorted({phoneme for _, phoneme in POLYPHONIC})
CHARACTERS = sorted({character for character, _ in POLYPHONIC})
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"長行得我他很", ",", "."]
INPUTS = ("input_ids", "token_type_ids", "attention_mask", "char_ids", "position_ids")


def _tiny_model(path: Path) -> None:
    """Scores of a phoneme: a table by the token before the character, within the phonemes that the mask allows.

    The table prefers ㄓㄤ3 after 他 and ㄔㄤ2 after 很, so a wrong position or vocabulary gives a wrong reading.
    """
    scores = np.ones((len(VOCABULARY), len(LABELS)), dtype=np.float32)
    scores[VOCABULARY.index("他"), LABELS.index("ㄓㄤ3")] = 9
    scores[VOCABULARY.index("很"), LABELS.index("ㄔㄤ2")] = 9
    scores[VOCABULARY.index("我"), LABELS.index("ㄉㄟ3")] = 9
    scores[VOCABULARY.index("[CLS]"), LABELS.index("ㄏㄤ2")] = 9
    nodes = [
        helper.make_node("Sub", ["position_ids", "one"], ["before"]),
        helper.make_node("Unsqueeze", ["before", "axis"], ["before_column"]),
        helper.make_node("GatherElements", ["input_ids", "before_column"], ["token_column"], axis=1),
        helper.make_node("Squeeze", ["token_column", "axis"], ["token"]),
        helper.make_node("Gather", ["scores", "token"], ["scored"], axis=0),
        helper.make_node("Mul", ["scored", "phoneme_mask"], ["probabilities"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"] if name in INPUTS[:3] else ["n"])
        for name in INPUTS
    ]
    inputs.append(helper.make_tensor_value_info("phoneme_mask", TensorProto.FLOAT, ["n", len(LABELS)]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(LABELS)])],
        [
            numpy_helper.from_array(scores, "scores"),
            numpy_helper.from_array(np.asarray(1, dtype=np.int64), "one"),
            numpy_helper.from_array(np.asarray([1], dtype=np.int64), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "G2PWModel"
    folder.mkdir()
    _tiny_model(folder / "g2pW.onnx")
    (folder / "POLYPHONIC_CHARS.txt").write_text("\n".join("\t".join(pair) for pair in POLYPHONIC), encoding="utf-8")
    (folder / "MONOPHONIC_CHARS.txt").write_text("我\tㄨㄛ3\n他\tㄊㄚ1\n", encoding="utf-8")
    table = {"ㄔㄤ": "chang", "ㄓㄤ": "zhang", "ㄏㄤ": "hang", "ㄒㄧㄥ": "xing", "ㄉㄜ": "de", "ㄉㄟ": "dei"}
    table |= {"ㄨㄛ": "wo", "ㄊㄚ": "ta"}
    (folder / "bopomofo_to_pinyin_wo_tune_dict.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "config.py").write_text("use_mask = True\nuse_char_phoneme = False\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("clause", "position", "syllable"),
    [
        ("他长", 1, "zhang3"),
        ("很长", 1, "chang2"),
        ("我得走", 1, "dei3"),
        ("行", 0, "hang2"),
        ("他得很长", 3, "chang2"),
    ],
)
def test_the_character_before_decides_as_the_model_says(
    folder: Path, clause: str, position: int, syllable: str
) -> None:
    assert G2pwModel(folder)(clause)[position] == syllable


def test_other_characters_come_from_the_lists_and_the_dictionary(folder: Path) -> None:
    assert G2pwModel(folder)("他很好,") == ["ta1", "hen3", "hao3", ","]


def test_long_clauses_are_read_in_windows(folder: Path) -> None:
    clause = ("很长" + "好" * 50) * 20
    syllables = G2pwModel(folder)(clause)
    assert [syllables[i] for i, character in enumerate(clause) if character == "长"] == ["chang2"] * 20


def test_a_phrase_of_the_dictionary_is_surer_than_the_model(folder: Path) -> None:
    reading = ChineseReader({}, G2pwModel(folder)).read(Spoken.of("银行"), "v2")
    assert reading.phonemes == ("y", "in2", "h", "ang2")


def test_the_front_end_uses_the_configured_folder(folder: Path) -> None:
    names = {i: name for name, i in symbol_ids("v2").items()}
    (segment,) = Frontend(g2pw_dir=folder).segments("我想他长,他也想", "zh", "v2", "cut0")
    assert "zh" in [names[i] for i in segment.phoneme_ids]


def test_the_vocabulary_may_be_a_tokenizer_beside_the_folder(folder: Path) -> None:
    bert = folder.parent / "chinese-roberta-wwm-ext-large"
    bert.mkdir()
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    (bert / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    (folder / "vocab.txt").unlink()
    assert G2pwModel(folder)("很长")[1] == "chang2"


@pytest.mark.parametrize(
    "name", ["g2pW.onnx", "POLYPHONIC_CHARS.txt", "MONOPHONIC_CHARS.txt", "bopomofo_to_pinyin_wo_tune_dict.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SettingsError) as caught:
        G2pwModel(folder)
    assert name in str(caught.value)
    assert str(folder) not in str(caught.value)


def test_a_missing_vocabulary_is_told(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    with pytest.raises(SettingsError, match=r"vocab\.txt"):
        G2pwModel(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("POLYPHONIC_CHARS.txt", "no tab here"),
        ("bopomofo_to_pinyin_wo_tune_dict.json", "{"),
        ("config.py", "use_mask = = 1"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match="damaged"):
        G2pwModel(folder)


def test_the_configuration_is_not_run(folder: Path) -> None:
    (folder / "config.py").write_text("import sys\nsys.g2pw_was_run = True\nuse_mask = True\n", encoding="utf-8")
    G2pwModel(folder)
    assert not hasattr(sys, "g2pw_was_run")


def test_without_the_extra_the_message_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="g2pw"):
        G2pwModel(folder)
