"""One table: what differs between the model versions. A version in; sizes, rates and conditions of that version out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sovits_service.types import ModelVersion, SymbolSet

SPEAKER_EMBEDDING_CHANNELS = 20_480  # ERes2NetV2 before its last linear layer


@dataclass(frozen=True, slots=True)
class MelSpec:
    """A mel spectrogram as a flow-matching version was trained on.

    Attributes:
        sample_rate_hz: of the audio that it is taken from.
        fft_samples: FFT and window length.
        hop_samples: distance of two frames.
        n_mels: bands, from 0 Hz to half the sample rate.
    """

    sample_rate_hz: int
    fft_samples: int
    hop_samples: int
    n_mels: int = 100


@dataclass(frozen=True, slots=True)
class FlowMatchingSpec:
    """What the v3 and v4 decoders need beyond the encoder.

    Attributes:
        mel: the mel spectrogram that the decoder draws.
        prompt_frames: mel frames of the reference at the front of each window, at most.
        window_frames: frames of a whole window, the prompt included.
        frames_per_latent: mel frames per encoder frame (50 a second).
        vocoder: which network makes a waveform of the mel.
        vocoder_hop_samples: samples of the waveform per mel frame.
        lora_base: the published file that LoRA files of the version build on, under `pretrained_models/`.
    """

    mel: MelSpec
    prompt_frames: int
    window_frames: int
    frames_per_latent: float
    vocoder: Literal["bigvgan", "hifigan"]
    vocoder_hop_samples: int
    lora_base: str


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """A row of the table.

    Attributes:
        symbols: the phoneme set that the text embedding was trained on.
        n_phonemes: rows of the text embedding, by which a file's version is recognised.
        ref_spec_bins: bins of the reference spectrum that the style encoder sees; the upper ones are cut off.
        speaker_embedding_channels: width of the ERes2NetV2 embedding; 0 where the version takes none.
        output_rate_hz: sample rate of the speech.
        flow_matching: None for the versions that end in the HiFi-GAN of the checkpoint itself.
    """

    version: ModelVersion
    symbols: SymbolSet
    n_phonemes: int
    ref_spec_bins: int
    speaker_embedding_channels: int
    output_rate_hz: int
    flow_matching: FlowMatchingSpec | None = None


_V3 = FlowMatchingSpec(MelSpec(24_000, 1024, 256), 468, 934, 1.875, "bigvgan", 256, "s2Gv3.pth")
_V4 = FlowMatchingSpec(MelSpec(32_000, 1280, 320), 500, 1000, 2.0, "hifigan", 480, "gsv-v4-pretrained/s2Gv4.pth")

VERSIONS: Mapping[ModelVersion, VersionSpec] = MappingProxyType(
    {
        "v1": VersionSpec("v1", "v1", 322, 1025, 0, 32_000),
        "v2": VersionSpec("v2", "v2", 732, 704, 0, 32_000),
        "v2Pro": VersionSpec("v2Pro", "v2", 732, 704, SPEAKER_EMBEDDING_CHANNELS, 32_000),
        "v2ProPlus": VersionSpec("v2ProPlus", "v2", 732, 704, SPEAKER_EMBEDDING_CHANNELS, 32_000),
        "v3": VersionSpec("v3", "v2", 732, 704, 0, 24_000, _V3),
        "v4": VersionSpec("v4", "v2", 732, 704, 0, 48_000, _V4),
    }
)
