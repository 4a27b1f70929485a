"""Small models of every version with seeded weights, and files of them in every layout."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.models.sovits.cfm_synthesizer import CfmConfig, CfmSynthesizer
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.dit import DitConfig
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import ModelVersion
from tools.parity import seeded_tensor

HEADERS: Mapping[str, bytes] = {
    "v1": b"00", "v2": b"01", "v3": b"02", "v2Pro": b"05", "v2ProPlus": b"06",
}  # fmt: skip
_CONFIG_KEYS = (
    "inter_channels", "hidden_channels", "filter_channels", "n_heads", "n_layers", "kernel_size", "p_dropout",
    "resblock", "resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates", "upsample_initial_channel",
    "upsample_kernel_sizes", "gin_channels",
)  # fmt: skip


def sovits_config(version: ModelVersion = "v2", **sizes: Any) -> SovitsConfig:
    """16 channels, 2 layers, 640 samples a frame; the phonemes and reference bins of the version."""
    spec = VERSIONS[version]
    defaults: dict[str, Any] = {
        "inter_channels": 16,
        "hidden_channels": 16,
        "filter_channels": 32,
        "n_layers": 2,
        "p_dropout": 0.0,
        "resblock_kernel_sizes": (3, 5),
        "resblock_dilation_sizes": ((1, 2, 3), (1, 2, 3)),
        "upsample_rates": (10, 8, 8),
        "upsample_initial_channel": 32,
        "upsample_kernel_sizes": (16, 16, 16),
        "gin_channels": 24,
        "mrte_channels": 24,
        "n_phonemes": spec.n_phonemes,
        "ssl_channels": 32,
        "codebook_size": 64,
        "ref_spec_bins": spec.ref_spec_bins,
        "ref_hidden_channels": 16,
        "flow_wavenet_layers": 2,
        "n_flows": 2,
        "speaker_embedding_channels": 40 if spec.speaker_embedding_channels else 0,
    }
    return SovitsConfig(version, **{**defaults, **sizes})


def cfm_config(version: ModelVersion = "v4") -> CfmConfig:
    dit = DitConfig(
        channels=32, n_layers=2, head_channels=16, ff_channels=48, n_mels=100, text_channels=24, text_layers=2,
        text_ff_channels=32,
    )  # fmt: skip
    return CfmConfig(sovits_config(version), dit, bridge_layers=2)


def seed(module: nn.Module, salt: str = "tiny") -> dict[str, Tensor]:
    """Seeds the module's weights by their names, in place, and gives them as a checkpoint has them."""
    state = {
        key: seeded_tensor(key, value.shape, str(value.dtype).removeprefix("torch."), salt)
        for key, value in module.state_dict().items()
    }
    module.load_state_dict(state)
    return state


def vits(version: ModelVersion = "v2", **sizes: Any) -> Vits:
    model = Vits(sovits_config(version, **sizes))
    seed(model)
    model.remove_weight_norm()
    return model.eval().requires_grad_(False)


def cfm_synthesizer(version: ModelVersion = "v4") -> CfmSynthesizer:
    model = CfmSynthesizer(cfm_config(version))
    seed(model)
    return model.eval().requires_grad_(False)


def checkpoint_config(config: SovitsConfig) -> dict[str, Any]:
    """The `config` of a checkpoint file, which says less than the sizes in memory."""
    values = asdict(config)
    return {
        "model": {key: values[key] for key in _CONFIG_KEYS} | {"semantic_frame_rate": "25hz"},
        "data": {"sampling_rate": 32_000, "hop_length": 640, "filter_length": 2048},
        "train": {"segment_size": 20_480},
    }


def sovits_content(version: ModelVersion = "v2", dtype: torch.dtype = torch.float16) -> dict[str, Any]:
    """What `torch.save` is given for a SoVITS file of users."""
    is_cfm = VERSIONS[version].flow_matching is not None
    model = CfmSynthesizer(cfm_config(version)) if is_cfm else Vits(sovits_config(version))
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in seed(model).items()}
    return {"weight": state, "config": checkpoint_config(sovits_config(version)), "info": "8epoch_200iteration"}


def gpt_content(dtype: torch.dtype = torch.float16) -> dict[str, Any]:
    """What `torch.save` is given for a GPT file of users; the keys are Lightning's."""
    config = GptConfig(width=16, heads=2, layers=2, feed_forward=32, phoneme_vocab=732, semantic_vocab=65)
    state = {f"model.{key}": value.to(dtype) for key, value in seed(TextToSemantic(config)).items()}
    return {"weight": state, "config": {"model": {"head": 2, "n_layer": 2}, "data": {"max_sec": 54}}, "info": "e15"}


def save(content: object, path: Path, header: bytes = b"PK") -> Path:
    """`torch.save`, with the version's number in place of the zip's magic."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(header + buffer.getvalue()[2:])
    return path


class HParams:
    """As the original's `utils` module has it; pickled under that name where `utils` is a module with it."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update({k: HParams(v) if isinstance(v, dict) else v for k, v in values.items()})


HParams.__module__ = "utils"


class RunsCode:
    """Pickles into a call of a harmless function: whoever reads it unsafely makes the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)
