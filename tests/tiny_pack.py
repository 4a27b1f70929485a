"""Tiny models as files in the published layouts: real checkpoints that load in an instant. They only make noise."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from sovits_service.models.bert import Bert
from sovits_service.models.checkpoint_encoders import read_tokenizer
from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.vits import Vits
from tests.tiny_sizes import HUBERT

GPT = GptConfig(width=16, heads=2, layers=2, feed_forward=64, phoneme_vocab=732, semantic_vocab=1025)
VITS = SovitsConfig(
    inter_channels=8,
    hidden_channels=8,
    filter_channels=16,
    n_heads=2,
    n_layers=2,
    resblock="2",
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (1, 2)),
    upsample_rates=(10, 8, 8),
    upsample_initial_channel=16,
    upsample_kernel_sizes=(20, 16, 16),
    gin_channels=16,
    ssl_channels=16,
    ref_hidden_channels=8,
    mrte_channels=16,
)


def write_gpt(path: Path, seed: int = 0, config: GptConfig = GPT) -> Path:
    """A GPT file as users have them: half precision, Lightning's prefix."""
    torch.manual_seed(seed)
    weight = {f"model.{key}": value.half() for key, value in TextToSemantic(config).state_dict().items()}
    sizes = {"model": {"head": config.heads, "n_layer": config.layers, "EOS": 1024, "vocab_size": 1025}}
    torch.save({"weight": weight, "config": sizes, "info": "tiny"}, path)
    return path


def write_sovits(path: Path, seed: int = 0, **sizes: object) -> Path:
    """A SoVITS v2 file as users have them: half precision, the version in place of the zip's first bytes."""
    torch.manual_seed(seed)
    config = replace(VITS, **sizes)  # type: ignore[arg-type]
    model = {name: value for name, value in asdict(config).items() if name not in ("version", "sampling_rate")}
    data = {"sampling_rate": 32_000, "hop_length": 640, "filter_length": 2048}
    state = Vits(config).state_dict()
    state["quantizer.vq.layers.0._codebook.embed"].normal_()
    weight = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"weight": weight, "config": {"model": model, "data": data}, "info": "tiny"}, path)
    content = path.read_bytes()
    path.write_bytes(b"01" + content[2:])
    return path


def write_pack(folder: Path, seed: int = 0) -> Path:
    """GPT, SoVITS and HuBERT, and the `tts_infer.yaml` that names them, whose path is returned."""
    (folder / "hubert").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    save_file(Hubert(HUBERT).state_dict(), folder / "hubert/model.safetensors")
    (folder / "hubert/config.json").write_text(json.dumps(HUBERT), encoding="utf-8")
    gpt, sovits = write_gpt(folder / "gpt.ckpt", seed), write_sovits(folder / "sovits.pth", seed)
    config = folder / "tts_infer.yaml"
    config.write_text(
        "custom:\n"
        "  bert_base_path: ''\n"
        f"  cnhuhbert_base_path: {folder / 'hubert'}\n"
        "  device: cpu\n"
        "  is_half: false\n"
        f"  t2s_weights_path: {gpt}\n"
        f"  vits_weights_path: {sovits}\n"
        "  version: v2\n",
        encoding="utf-8",
    )
    return config


def write_bert(folder: Path, letters: str = "你好世界今天气很", seed: int = 0) -> Path:
    """A BERT folder of the width that a GPT takes; every letter is a token of its own."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 1024,
        "num_hidden_layers": 3,
        "num_attention_heads": 16,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(seed)
    save_file(Bert(sizes, read_tokenizer(folder)).state_dict(), folder / "model.safetensors")
    return folder
