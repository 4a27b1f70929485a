"""Tiny SoVITS files of every version, a LoRA file, and the vocoders and speaker model that go with them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml

from sovits_service.models.sovits.bigvgan import BigVgan, BigVganConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmConfig, CfmSynthesizer
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.dit import DitConfig
from sovits_service.models.sovits.hifigan import V4_VOCODER, Hifigan
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import ModelVersion
from tests.tiny_pack import GPT, VITS, write_bert, write_gpt, write_pack

HEADERS: dict[ModelVersion, bytes] = {
    "v1": b"00",
    "v2": b"01",
    "v3": b"02",
    "v4": b"PK",
    "v2Pro": b"05",
    "v2ProPlus": b"06",
}
LORA_HEADERS: dict[ModelVersion, bytes] = {"v3": b"03", "v4": b"04"}
DIT = DitConfig(
    channels=16, n_layers=1, head_channels=8, ff_channels=16, text_channels=16, text_layers=1, text_ff_channels=16
)
_LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def tiny_config(version: ModelVersion) -> SovitsConfig:
    spec = VERSIONS[version]
    return replace(
        VITS,
        version=version,
        n_phonemes=spec.n_phonemes,
        ref_spec_bins=spec.ref_spec_bins,
        speaker_embedding_channels=spec.speaker_embedding_channels,
    )


def write_sovits(path: Path, version: ModelVersion, seed: int = 0) -> Path:
    """A full SoVITS file of a version, in half precision."""
    torch.manual_seed(seed)
    config = tiny_config(version)
    is_cfm = VERSIONS[version].flow_matching is not None
    model = CfmSynthesizer(CfmConfig(config, DIT, bridge_layers=1)) if is_cfm else Vits(config)
    state = model.state_dict()
    state["quantizer.vq.layers.0._codebook.embed"].normal_()
    return _save(path, _half(state), config, HEADERS[version])


def write_version_pack(root: Path, version: ModelVersion) -> Path:
    """All files of a tiny model, with BERT in v1 and v2; returns the path of the `tts_infer.yaml` that names them."""
    config = write_pack(root / "demo")
    section = yaml.safe_load(config.read_text(encoding="utf-8"))["custom"] | {"version": version}
    section["vits_weights_path"] = str(write_sovits(root / "sovits.pth", version))
    if version == "v2Pro":
        write_speaker(root)
    if version in ("v3", "v4"):
        write_vocoders(root)
    if version == "v1":
        section["t2s_weights_path"] = str(write_gpt(root / "v1.ckpt", config=replace(GPT, phoneme_vocab=512)))
    if version in ("v1", "v2"):
        section["bert_base_path"] = str(write_bert(root / "bert"))
    config.write_text(yaml.safe_dump({"custom": section}), encoding="utf-8")
    return config


def write_lora(path: Path, version: ModelVersion, base: Path, rank: int = 16, seed: int = 0) -> Path:
    """A LoRA file as peft writes it: low-rank factors of the attention, all else whole, but for the base's `cfm`."""
    torch.manual_seed(seed)
    weight = {key: value for key, value in _load(base).items() if not key.startswith("cfm.")}
    for target in _LORA_TARGETS:
        prefix = f"cfm.base_model.model.estimator.transformer_blocks.0.attn.{target}"
        weight[f"{prefix}.lora_A.default.weight"] = torch.randn(rank, 16).half()
        weight[f"{prefix}.lora_B.default.weight"] = torch.randn(16, rank).half()
    return _save(path, weight, tiny_config(version), LORA_HEADERS[version], lora_rank=rank)


def write_companions(folder: Path) -> None:
    """Vocoders of v3 and v4 and the speaker model, where `pretrained_models` has them."""
    write_vocoders(folder)
    write_speaker(folder)


def write_speaker(folder: Path) -> None:
    """The speaker model of v2Pro and v2ProPlus, of its one size."""
    torch.manual_seed(0)
    (folder / "sv").mkdir()
    torch.save(_half(ERes2NetV2().state_dict()), folder / "sv/pretrained_eres2netv2w24s4ep4.ckpt")


def write_vocoders(folder: Path) -> None:
    """Those of v3 and v4."""
    torch.manual_seed(0)
    bigvgan = folder / "models--nvidia--bigvgan_v2_24khz_100band_256x"
    bigvgan.mkdir(parents=True)
    sizes = BigVganConfig(
        upsample_rates=(16, 16),
        upsample_kernel_sizes=(32, 32),
        upsample_initial_channel=8,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 1, 1),),
    )
    torch.save({"generator": BigVgan(sizes).state_dict()}, bigvgan / "bigvgan_generator.pt")
    (bigvgan / "config.json").write_text(json.dumps(asdict(sizes)), encoding="utf-8")
    (folder / "gsv-v4-pretrained").mkdir()
    published = replace(V4_VOCODER, upsample_initial_channel=32)
    torch.save(Hifigan(published).state_dict(), folder / "gsv-v4-pretrained/vocoder.pth")


def _half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def _save(path: Path, weight: dict[str, torch.Tensor], config: SovitsConfig, header: bytes, **extra: object) -> Path:
    model = {name: value for name, value in asdict(config).items() if name not in ("version", "sampling_rate")}
    if header == b"PK":
        model["version"] = config.version
    data = {"sampling_rate": 32_000, "hop_length": 640, "filter_length": 2048}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": weight, "config": {"model": model, "data": data}, "info": "tiny", **extra}, path)
    path.write_bytes(header + path.read_bytes()[2:])
    return path


def _load(path: Path) -> dict[str, torch.Tensor]:
    from sovits_service.models.checkpoint import read_sovits

    return dict(read_sovits(path).state)
