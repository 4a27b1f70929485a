"""Stage 5: the trained parts in; `pretrained_models/demo` in the published layouts, half precision, out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import codes as c
import torch
from content import Content
from gpt import CONFIG, Trainer
from prior import new_vits, trained
from sizes import SOVITS
from torch import Tensor, nn
from training import averaged

LIMIT_BYTES = 25_000_000
SHARPEN = 2.0  # of the GPT's prediction rows


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: (v.half() if v.is_floating_point() else v).contiguous().clone() for k, v in state.items()}


def pack_gpt(work: Path, folder: Path, sharpen: float) -> int:
    """Write gpt.ckpt; the prediction rows are scaled, so that the public default temperature of 1 samples well."""
    state, step = averaged(work / "gpt.pt")
    trainer = Trainer()
    trainer.load_state_dict(state)
    model = trainer.export()
    weights = _half(model.state_dict())
    weights["ar_predict_layer.weight"] = (model.ar_predict_layer.weight.detach() * sharpen).half()
    for key in ("bert_proj.weight", "bert_proj.bias"):  # no BERT: zeros, which take no room in the file
        weights[key] = torch.zeros(1, dtype=torch.half).expand(weights[key].shape)
    config: dict[str, Any] = {
        "model": {
            "hidden_dim": CONFIG.width, "embedding_dim": CONFIG.width, "head": CONFIG.heads, "n_layer": CONFIG.layers,
            "linear_units": CONFIG.feed_forward, "vocab_size": CONFIG.semantic_vocab, "EOS": c.END,
            "phoneme_vocab_size": CONFIG.phoneme_vocab, "dropout": 0.0, "random_bert": 0,
        },
        "data": {"max_sec": 54, "pad_val": c.END},
        "inference": {"top_k": 15},
    }  # fmt: skip
    torch.save({"weight": weights, "config": config, "info": f"GPT-demo-s{step}"}, folder / "gpt.ckpt")
    return step


def pack_sovits(work: Path, folder: Path) -> dict[str, int]:
    """Write sovits.pth: prior, flow and decoder of one stage, the projection to the codebook of another."""
    model = new_vits()
    tuned, tune_step = averaged(work / "tune.pt")
    nn.ModuleDict({**trained(model), "dec": model.dec}).load_state_dict(tuned)
    content, content_step = averaged(work / "content.pt")
    model.ssl_proj.load_state_dict(
        {k.removeprefix("ssl_proj."): v for k, v in content.items() if k.startswith("ssl_proj.")}
    )
    s = SOVITS
    config: dict[str, Any] = {
        "model": {
            "inter_channels": s.inter_channels, "hidden_channels": s.hidden_channels,
            "filter_channels": s.filter_channels,
            "n_heads": s.n_heads, "n_layers": s.n_layers, "kernel_size": s.kernel_size, "p_dropout": s.p_dropout,
            "resblock": s.resblock, "resblock_kernel_sizes": list(s.resblock_kernel_sizes),
            "resblock_dilation_sizes": [list(d) for d in s.resblock_dilation_sizes],
            "upsample_rates": list(s.upsample_rates), "upsample_initial_channel": s.upsample_initial_channel,
            "upsample_kernel_sizes": list(s.upsample_kernel_sizes), "gin_channels": s.gin_channels,
            "semantic_frame_rate": "25hz", "freeze_quantizer": True, "version": "v2",
        },
        "data": {
            "sampling_rate": s.sampling_rate, "hop_length": s.hop_length, "filter_length": s.filter_length,
            "win_length": s.filter_length, "max_wav_value": 32768.0, "n_speakers": 300,
        },
    }  # fmt: skip
    weights = _half(model.state_dict())
    key = "quantizer.vq.layers.0._codebook.embed_avg"  # a statistic of codebook training, unused
    weights[key] = torch.zeros(1, dtype=torch.half).expand(weights[key].shape)
    path = folder / "sovits.pth"
    torch.save({"weight": weights, "config": config, "info": f"SoVITS-demo-s{tune_step}"}, path)
    content_bytes = path.read_bytes()
    path.write_bytes(b"01" + content_bytes[2:])  # the mark of a trained v2 file
    return {"tune": tune_step, "content": content_step}


def pack_hubert(work: Path, folder: Path) -> None:
    """Write hubert/ as a transformers folder."""
    (folder / "hubert").mkdir(exist_ok=True)
    average, _ = averaged(work / "content.pt")
    model = Content()
    model.load_state_dict(average)
    model.hubert.half().save_pretrained(folder / "hubert")
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000,
        "feature_size": 1, "padding_value": 0.0, "do_normalize": False,
    }  # fmt: skip
    (folder / "hubert" / "preprocessor_config.json").write_text(
        json.dumps(preprocessor, indent=1) + "\n", encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--out", type=Path, default=Path("pretrained_models/demo"))
    parser.add_argument("--sharpen", type=float, default=SHARPEN)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = {"gpt": pack_gpt(args.work, args.out, args.sharpen), **pack_sovits(args.work, args.out)}
    pack_hubert(args.work, args.out)
    meaning = {"parts": c.PARTS, "phones": list(c.PHONES)}  # code = index of the phone * parts + part
    (args.out / "codes.json").write_text(json.dumps(meaning) + "\n", encoding="utf-8")
    total = sum(p.stat().st_size for p in args.out.rglob("*") if p.is_file())
    print(f"steps {steps}; {total / 1e6:.1f} MB")
    if total > LIMIT_BYTES:
        raise SystemExit(f"the pack has {total} bytes; {LIMIT_BYTES} are the limit")


if __name__ == "__main__":
    main()
