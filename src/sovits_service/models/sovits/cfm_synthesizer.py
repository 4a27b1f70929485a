"""`CfmSynthesizer`, the SoVITS of v3 and v4: semantic tokens, phonemes and a style in, a mel spectrogram out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.errors import CheckpointError
from sovits_service.models.sovits.attention import sequence_mask
from sovits_service.models.sovits.cfm import Cfm, Velocity
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.dit import DitConfig
from sovits_service.models.sovits.flow import WaveNet
from sovits_service.models.sovits.quantizer import Quantizer
from sovits_service.models.sovits.spec import FlowMatchingSpec
from sovits_service.models.sovits.style import StyleEncoder
from sovits_service.models.sovits.text_encoder import TextEncoder
from sovits_service.types import ModelVersion


@dataclass(frozen=True, slots=True)
class CfmConfig:
    """Sizes of the network: those that it shares with `Vits`, those of the bridge, those of the transformer."""

    sovits: SovitsConfig
    dit: DitConfig
    bridge_kernel_size: int = 5
    bridge_layers: int = 8

    @staticmethod
    def from_checkpoint(config: Mapping[str, Any], state: Mapping[str, Tensor], version: ModelVersion) -> CfmConfig:
        """Read the sizes of a checkpoint. Raises CheckpointError when a needed field or tensor is missing."""
        estimator = "cfm.estimator."
        try:
            proj_in = state[f"{estimator}input_embed.proj.weight"].shape
            proj_out = state[f"{estimator}proj_out.weight"].shape
            dit = DitConfig(
                channels=proj_in[0],
                n_layers=_count(state, f"{estimator}transformer_blocks.", ".attn.to_q.weight"),
                head_channels=2 * state[f"{estimator}rotary_embed.inv_freq"].shape[0],
                ff_channels=state[f"{estimator}transformer_blocks.0.ff.ff.2.weight"].shape[1],
                n_mels=proj_out[0],
                text_channels=proj_in[1] - 2 * proj_out[0],
                text_layers=_count(state, f"{estimator}text_embed.text_blocks.", ".pwconv1.weight"),
                text_ff_channels=state[f"{estimator}text_embed.text_blocks.0.pwconv1.weight"].shape[0],
            )
            kernel = next(state[key] for key in _weights("wns1.enc.in_layers.0.") if key in state)
        except (KeyError, StopIteration) as error:
            raise CheckpointError("the SoVITS file lacks parts of the flow-matching decoder") from error
        return CfmConfig(
            sovits=SovitsConfig.from_checkpoint(config, state, version),
            dit=dit,
            bridge_kernel_size=kernel.shape[2],
            bridge_layers=_count(state, "wns1.enc.in_layers.", ".bias"),
        )


def _count(state: Mapping[str, Tensor], prefix: str, suffix: str) -> int:
    return sum(key.startswith(prefix) and key.endswith(suffix) for key in state)


def _weights(prefix: str) -> tuple[str, ...]:
    return (f"{prefix}weight", f"{prefix}weight_v", f"{prefix}parametrizations.weight.original1")


class Bridge(nn.Module):
    """The WaveNet `wns1` between the encoder and the transformer."""

    def __init__(self, channels: int, kernel_size: int, n_layers: int, gin_channels: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(channels, channels, 1)
        self.enc = WaveNet(channels, kernel_size, n_layers, gin_channels)
        self.proj = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        out: Tensor = self.proj(self.enc(self.pre(x) * mask, mask, style)) * mask
        return out


class CfmSynthesizer(nn.Module):
    """Attribute names equal the checkpoint's keys. For inference: weight norm is folded before weights are loaded."""

    def __init__(self, config: CfmConfig) -> None:
        super().__init__()
        sovits, channels = config.sovits, config.dit.text_channels
        self.config = sovits
        self.enc_p = TextEncoder(sovits)
        self.ref_enc = StyleEncoder(
            sovits.ref_spec_bins, sovits.ref_hidden_channels, sovits.gin_channels, sovits.ref_kernel_size
        )
        self.ssl_proj = nn.Conv1d(sovits.ssl_channels, sovits.ssl_channels, sovits.ssl_stride, stride=sovits.ssl_stride)
        self.quantizer = Quantizer(sovits.codebook_size, sovits.ssl_channels)
        self.bridge = nn.Sequential(nn.Conv1d(sovits.hidden_channels, channels, 1), nn.LeakyReLU())
        self.wns1 = Bridge(channels, config.bridge_kernel_size, config.bridge_layers, sovits.gin_channels)
        self.cfm = Cfm(config.dit)

    @property
    def flow_matching(self) -> FlowMatchingSpec:
        spec = self.config.spec.flow_matching
        assert spec is not None
        return spec

    def style_embedding(
        self, ref_specs: Sequence[Tensor], speaker_embeddings: Sequence[Tensor] | None = None
    ) -> Tensor:
        """(1, gin_channels, 1) of the first reference; each is (1, bins, T).

        # parity: further references do not reach these versions, whose decoder follows the mel of the first.
        """
        out: Tensor = self.ref_enc(ref_specs[0])
        return out

    def encode(
        self,
        semantic_tokens: Tensor,
        phoneme_ids: Tensor | None,
        style: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        phoneme_lengths: Sequence[int] | None = None,
        speed: float | Sequence[float] = 1.0,
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Features that the mel is drawn from, frame by frame.

        Args:
            semantic_tokens: (B, T_sem) int64 codebook indices, 25 per second, no end token.
            phoneme_ids: (B, T_text) int64; None where nothing tells what the tokens say.
            style: (B or 1, gin_channels, 1).
            lengths: tokens of each item where the batch is padded.
            phoneme_lengths: phonemes of each item where the batch is padded.
            speed: one value, or one per item.

        Returns:
            (B, text_channels, T) at the mel's frame rate, and the frames of each item: 93.75 a second in v3, 100 in v4,
            at speed 1.
        """
        stride, ratio = self.config.ssl_stride, self.flow_matching.frames_per_latent
        n_tokens = [semantic_tokens.shape[1]] * semantic_tokens.shape[0] if lengths is None else list(lengths)
        quantized = self.quantizer.decode(semantic_tokens).repeat_interleave(stride, dim=-1)
        frames = [n * stride for n in n_tokens]
        prior = self.enc_p(quantized, phoneme_ids, style, frames, phoneme_lengths, speed)
        x = F.interpolate(self.bridge(prior.features), scale_factor=ratio, mode="nearest")
        n_frames = tuple(int(n * ratio) for n in prior.lengths)
        speeds = [float(speed)] * len(n_tokens) if isinstance(speed, int | float) else list(speed)
        # parity: the original counts the frames a second time, by another rule, and silences those beyond.
        audible = [min(n, _audible_frames(t, ratio, s)) for n, t, s in zip(n_frames, n_tokens, speeds, strict=True)]
        return self.wns1(x, sequence_mask(audible, x), style), n_frames

    def sample(
        self,
        features: Tensor,
        prompt: Tensor,
        noise: Tensor,
        n_steps: int,
        lengths: Sequence[int] | None = None,
        prompt_lengths: Sequence[int] | None = None,
        velocity: Velocity | None = None,
    ) -> Tensor:
        """Draw the normalised mel of windows; see `Cfm.forward`."""
        out: Tensor = self.cfm(features, prompt, noise, n_steps, lengths, prompt_lengths, velocity)
        return out

    def extract_codes(self, ssl_features: Tensor) -> Tensor:
        """(B, ssl_channels, T) HuBERT features, 50 a second -> (B, T // 2) int64 semantic tokens."""
        return self.quantizer.encode(self.ssl_proj(ssl_features))


def audible_frames_per_token(ratio: float) -> float:
    """3.875 in v3, 4 in v4; `ratio` is the frames of mel per frame of the encoder."""
    return 2.0 + ratio


def _audible_frames(n_tokens: int, ratio: float, speed: float) -> int:
    per_token = audible_frames_per_token(ratio)
    return int(n_tokens * per_token) if speed == 1.0 else int(n_tokens * per_token / speed) + 1
