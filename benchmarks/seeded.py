"""Full-size v2 weights as files, made from their names: the sizes that count for speed, without a download."""

from __future__ import annotations

import json
import sys
from pathlib import Path

MANIFESTS = Path(__file__).parents[1] / "tests/data/golden/models"
CONFIG = "tts_infer.yaml"
HAN = [chr(code) for code in range(0x4E00, 0x9FA6)]


def write_pack(folder: Path) -> None:
    """Write GPT, SoVITS, HuBERT and BERT of the published v2 sizes and a configuration that names them, once."""
    import torch
    from transformers import HubertConfig, HubertModel

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / CONFIG
    if config.exists():
        return
    _write_checkpoint("t2s_v2", folder / "gpt.ckpt", prefix="model.")
    _write_checkpoint("sovits_v2", folder / "sovits.pth")
    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder / "hubert")
    _write_bert(folder / "bert")
    lines = ["custom:", f"  bert_base_path: {folder / 'bert'}", f"  cnhuhbert_base_path: {folder / 'hubert'}"]
    lines += ["  device: cpu", "  is_half: false", f"  t2s_weights_path: {folder / 'gpt.ckpt'}"]
    lines += [f"  vits_weights_path: {folder / 'sovits.pth'}", "  version: v2", ""]
    config.write_text("\n".join(lines), encoding="utf-8")


def _write_checkpoint(name: str, path: Path, prefix: str = "") -> None:
    import torch

    from tools.parity import seeded_tensor

    manifest = json.loads((MANIFESTS / f"{name}.json").read_text(encoding="utf-8"))
    weight = {
        prefix + key: seeded_tensor(key, shape, dtype, manifest["salt"])
        for key, (shape, dtype) in manifest["state_dict"].items()
    }
    torch.save({"weight": weight, "config": manifest["config"], "info": "name-seeded"}, path)


def _write_bert(folder: Path) -> None:
    """chinese-roberta-wwm-ext-large in size: 24 layers, 1,024 wide, a token for each Han character."""
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"，。？！", *HAN]
    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    model = BertModel(BertConfig(vocab_size=len(words), **sizes), add_pooling_layer=False)
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(model.config.to_json_string(), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


if __name__ == "__main__":
    write_pack(Path(sys.argv[1]))
