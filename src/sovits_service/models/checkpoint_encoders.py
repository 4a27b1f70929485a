"""From transformers folders to HuBERT and BERT: a folder, a device and a dtype in; a module ready for inference out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from sovits_service.errors import CheckpointError
from sovits_service.models.bert import DROPPED_LAYERS, Bert
from sovits_service.models.checkpoint import read_tensors
from sovits_service.models.checkpoint_models import fill, without_weights
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.weight_norm import fold_weight_norm

_WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")


def load_hubert(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Hubert:
    """Load a HuBERT folder, with its weight norm in either spelling.

    Raises:
        CheckpointError: a file is missing, damaged or unsafe, or a weight is missing, unexpected or of another shape.
    """
    config = _read_config(folder, "HuBERT")
    state = {
        key.removeprefix("hubert."): value
        for key, value in read_tensors(weights_file(folder, "HuBERT"), "HuBERT").items()
    }
    fold_weight_norm(state, dtype)
    with without_weights():
        model = Hubert(config)
    training_only = ("masked_spec_embed", "final_proj.", "label_embs_concat", "lm_head.")
    return fill(model, state, "HuBERT", device, dtype, unused=training_only)


def load_bert(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Bert:
    """Load a BERT folder; the layers above the third-last hidden state are left out.

    Raises:
        CheckpointError: as `load_hubert`.
    """
    config = _read_config(folder, "BERT")
    with without_weights():
        model = Bert(config, read_tokenizer(folder))
    n_layers = len(model.encoder.layer)
    unused = [f"encoder.layer.{n_layers + i}." for i in range(DROPPED_LAYERS)]
    unused += ["cls.", "pooler.", "embeddings.position_ids", "embeddings.token_type_ids"]

    def is_wanted(key: str) -> bool:
        return not _bert_key(key).startswith(tuple(unused))

    state = {_bert_key(key): v for key, v in read_tensors(weights_file(folder, "BERT"), "BERT", is_wanted).items()}
    return fill(model, state, "BERT", device, dtype)


def _bert_key(key: str) -> str:
    # Weights that came from TensorFlow name the factors of a layer norm otherwise.
    key = key.removeprefix("bert.")
    return key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def weights_file(folder: Path, what: str) -> Path:
    """The file with the weights of a folder. Raises CheckpointError, which says what the folder is of."""
    for name in _WEIGHTS_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"the {what} folder has none of {', '.join(_WEIGHTS_NAMES)}")


def _read_config(folder: Path, what: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the {what} folder has no config.json that can be read") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"the config.json of the {what} folder is not an object")
    return config


def read_tokenizer(folder: Path) -> Tokenizer:
    """Build BERT's tokenizer from the vocabulary, which is all that differs between folders, and whether it lowers."""
    try:
        if (folder / "tokenizer.json").is_file():
            content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            vocabulary = {str(token): int(number) for token, number in content["model"]["vocab"].items()}
            lowercase = bool((content.get("normalizer") or {}).get("lowercase", True))
        else:
            lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
            vocabulary, lowercase = {token: number for number, token in enumerate(lines)}, True
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError("the BERT folder has no tokenizer.json or vocab.txt that can be read") from error
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
