"""Sizes of a SoVITS model: a checkpoint's config and tensor shapes in, one frozen value out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sovits_service.errors import CheckpointError
from sovits_service.models.sovits.spec import VERSIONS, VersionSpec
from sovits_service.types import ModelVersion


@dataclass(frozen=True, slots=True)
class SovitsConfig:
    """Every size of the network. The defaults are those of the published v2 weights.

    The fields down to `gin_channels` have their names from the checkpoint's `config["model"]`; those below are not
    in it, so they are read from the tensors.

    Attributes:
        version: row of the version table.
        ssl_channels: width of the HuBERT features and of the codebook.
        ssl_stride: HuBERT frames (50 a second) per semantic token.
        ref_spec_bins, ref_hidden_channels, ref_kernel_size: of the style encoder.
        attention_window: reach of the relative positions, in frames to each side.
        mrte_channels: width in which text and semantic tokens meet.
        speaker_embedding_channels: 0 where the version takes none.
        sampling_rate, hop_length: of the waveform; frames are `hop_length` samples apart.
    """

    version: ModelVersion = "v2"
    inter_channels: int = 192
    hidden_channels: int = 192
    filter_channels: int = 768
    n_heads: int = 2
    n_layers: int = 6
    kernel_size: int = 3
    p_dropout: float = 0.1
    resblock: Literal["1", "2"] = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    upsample_rates: tuple[int, ...] = (10, 8, 2, 2, 2)
    upsample_initial_channel: int = 512
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8, 2, 2)
    gin_channels: int = 512
    n_phonemes: int = 732
    ssl_channels: int = 768
    ssl_stride: int = 2
    codebook_size: int = 1024
    ref_spec_bins: int = 704
    ref_hidden_channels: int = 128
    ref_kernel_size: int = 5
    attention_window: int = 4
    mrte_channels: int = 512
    flow_kernel_size: int = 5
    flow_wavenet_layers: int = 4
    n_flows: int = 4
    speaker_embedding_channels: int = 0
    sampling_rate: int = 32_000
    hop_length: int = 640
    filter_length: int = 2048

    @property
    def spec(self) -> VersionSpec:
        return VERSIONS[self.version]

    @staticmethod
    def from_checkpoint(
        config: Mapping[str, Any], state: Mapping[str, torch.Tensor], version: ModelVersion
    ) -> SovitsConfig:
        """Read the sizes of a checkpoint.

        Args:
            config: the checkpoint's `config`, with the sections `model` and `data` as plain mappings.
            state: its weights; their shapes complete what the config lacks.
            version: as detected from the file.

        Raises:
            CheckpointError: when a needed field or tensor is missing.
        """
        try:
            return _read(config["model"], config.get("data", {}), state, version)
        except KeyError as error:
            raise CheckpointError(f"the SoVITS file lacks {error.args[0]!r}, which says its sizes") from error
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError("the config of the SoVITS file has values of the wrong kind") from error


def _read(
    model: Mapping[str, Any], data: Mapping[str, Any], state: Mapping[str, torch.Tensor], version: ModelVersion
) -> SovitsConfig:
    codebook = state["quantizer.vq.layers.0._codebook.embed"].shape
    ssl_proj = state["ssl_proj.weight"].shape
    spectral = state["ref_enc.spectral.0.fc.weight"].shape
    speaker = state.get("sv_emb.weight")
    flow = "flow.flows.0.enc.in_layers."
    flow_layers = sum(key.startswith(flow) and key.endswith(".bias") for key in state)
    flow_weight = state.get(f"{flow}0.weight_v", state.get(f"{flow}0.weight"))
    return SovitsConfig(
        version=version,
        inter_channels=model["inter_channels"],
        hidden_channels=model["hidden_channels"],
        filter_channels=model["filter_channels"],
        n_heads=model["n_heads"],
        n_layers=model["n_layers"],
        kernel_size=model["kernel_size"],
        p_dropout=model.get("p_dropout", 0.0),
        resblock="1" if str(model["resblock"]) == "1" else "2",
        resblock_kernel_sizes=tuple(model["resblock_kernel_sizes"]),
        resblock_dilation_sizes=tuple(tuple(sizes) for sizes in model["resblock_dilation_sizes"]),
        upsample_rates=tuple(model["upsample_rates"]),
        upsample_initial_channel=model["upsample_initial_channel"],
        upsample_kernel_sizes=tuple(model["upsample_kernel_sizes"]),
        gin_channels=model["gin_channels"],
        n_phonemes=state["enc_p.text_embedding.weight"].shape[0],
        ssl_channels=codebook[1],
        ssl_stride=ssl_proj[2],
        codebook_size=codebook[0],
        ref_spec_bins=spectral[1],
        ref_hidden_channels=spectral[0],
        ref_kernel_size=state["ref_enc.temporal.0.conv1.conv.weight"].shape[2],
        attention_window=(state["enc_p.encoder_text.attn_layers.0.emb_rel_k"].shape[1] - 1) // 2,
        mrte_channels=state["enc_p.mrte.c_pre.weight"].shape[0],
        flow_kernel_size=5 if flow_weight is None else flow_weight.shape[2],
        flow_wavenet_layers=flow_layers or 4,
        n_flows=sum(key.startswith("flow.flows.") and key.endswith(".pre.weight") for key in state) or 4,
        speaker_embedding_channels=0 if speaker is None else speaker.shape[1],
        sampling_rate=data.get("sampling_rate", 32_000),
        hop_length=data.get("hop_length", 640),
        filter_length=data.get("filter_length", 2048),
    )
