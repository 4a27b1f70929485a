"""Load SoVITS files, and what some versions need beside them, from where the settings say that they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import Checkpoint, read_sovits
from sovits_service.models.checkpoint_models import build_sovits, load_bigvgan, load_v4_vocoder
from sovits_service.models.sovits.bigvgan import BigVgan
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.vits import Vits
from sovits_service.storage.voices.clip_names import find_under
from sovits_service.tts_settings import TtsSettings
from sovits_service.types import ModelVersion


def load_sovits(
    path: Path, tts: TtsSettings, weights_roots: Sequence[Path], device: torch.device, dtype: torch.dtype
) -> Vits | CfmSynthesizer:
    """Load a SoVITS file of any version; a LoRA file with the base that it builds on. Blocks.

    Raises:
        CheckpointError: the file or its base cannot be used.
    """
    checkpoint = read_sovits(path)
    base = _lora_base(checkpoint, tts, weights_roots) if checkpoint.lora_rank is not None else None
    return build_sovits(checkpoint, base=base, device=device, dtype=dtype)


def _lora_base(lora: Checkpoint, tts: TtsSettings, weights_roots: Sequence[Path]) -> Checkpoint:
    """The full weights that a LoRA file was trained on: the configured ones, or the published file by its name."""
    spec = VERSIONS[lora.version].flow_matching if lora.version is not None else None
    if lora.version is None or spec is None:
        raise CheckpointError(f"LoRA files of {lora.version} are not known")
    configured, name = tts.base_vits_for(lora.version), spec.lora_base
    found = configured if configured.exists() else find_under(name, weights_roots)
    if found is None:
        raise CheckpointError(
            f"this LoRA file needs the {lora.version} base weights, {name}, under the weights roots; "
            f"get them with: sovits-service download {lora.version}"
        )
    return read_sovits(found)


def load_vocoder(
    tts: TtsSettings, version: ModelVersion, device: torch.device, dtype: torch.dtype
) -> BigVgan | Hifigan:
    """Load the vocoder that v3 and v4 need beside their weights. Blocks.

    Raises:
        CheckpointError: it is missing, or cannot be used.
    """
    path = tts.vocoder_for(version)
    if not path.exists():
        raise CheckpointError(
            f"{version} needs its vocoder, {path.name}; get it with: sovits-service download {version}"
        )
    load = load_bigvgan if path.is_dir() else load_v4_vocoder
    return load(path, device=device, dtype=dtype)
