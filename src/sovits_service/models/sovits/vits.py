"""`Vits`, the SoVITS of v1 to v2ProPlus: semantic tokens, phonemes and a style in, a waveform out, in stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.flow import Flow, WaveNet
from sovits_service.models.sovits.hifigan import Hifigan, HifiganConfig
from sovits_service.models.sovits.quantizer import Quantizer
from sovits_service.models.sovits.style import StyleEncoder
from sovits_service.models.sovits.text_encoder import Prior, TextEncoder, frames_at_speed
from sovits_service.models.sovits.weight_norm import add_weight_norm, remove_weight_norm

# For each length of a convolution oneDNN builds code, and tables as long as the signal: for a window of the generator
# 20 MB (70 MB at full size) and a third of the time that it takes. So signals are padded to few lengths on a CPU, which
# changes no sample.
WINDOW_FRAMES = (36, 48, 64, 128, 160)  # 36: a stream's first chunk, of 18 tokens; 48: those of mode 3 after it
_STEP_FRAMES = 32
_STEP_TOKENS = 32


class Vits(nn.Module):
    """Attribute names equal the checkpoint's keys, so that its weights load strictly.

    Args:
        config: every size.
        weight_norm: as in checkpoints and for training; without it the weights are the folded ones.
    """

    def __init__(self, config: SovitsConfig, *, weight_norm: bool = True) -> None:
        super().__init__()
        self.config = config
        self.enc_p = TextEncoder(config)
        self.dec = Hifigan(
            HifiganConfig(
                in_channels=config.inter_channels,
                upsample_rates=config.upsample_rates,
                upsample_kernel_sizes=config.upsample_kernel_sizes,
                upsample_initial_channel=config.upsample_initial_channel,
                resblock=config.resblock,
                resblock_kernel_sizes=config.resblock_kernel_sizes,
                resblock_dilation_sizes=config.resblock_dilation_sizes,
                gin_channels=config.gin_channels,
            )
        )
        self.flow = Flow(config)
        self.ref_enc = StyleEncoder(
            config.ref_spec_bins, config.ref_hidden_channels, config.gin_channels, config.ref_kernel_size
        )
        self.ssl_proj = nn.Conv1d(config.ssl_channels, config.ssl_channels, config.ssl_stride, stride=config.ssl_stride)
        self.quantizer = Quantizer(config.codebook_size, config.ssl_channels)
        if config.speaker_embedding_channels:
            self.sv_emb = nn.Linear(config.speaker_embedding_channels, config.gin_channels)
            self.ge_to512 = nn.Linear(config.gin_channels, config.mrte_channels)
            self.prelu = nn.PReLU(config.gin_channels)
        if weight_norm:
            for layer in self._normed_layers():
                add_weight_norm(layer)

    def _normed_layers(self) -> Iterator[nn.Module]:
        for module in self.modules():
            if isinstance(module, WaveNet | Hifigan):
                yield from module.normed_layers()

    def remove_weight_norm(self) -> None:
        """Fold weight norm into plain weights; for inference alone."""
        for layer in list(self._normed_layers()):
            remove_weight_norm(layer)

    @property
    def hop_samples(self) -> int:
        """Samples per latent frame."""
        return self.dec.hop_samples

    @property
    def frames_per_token(self) -> int:
        """Latent frames per semantic token, at speed 1."""
        return self.config.ssl_stride

    @property
    def vocode_context_frames(self) -> int:
        """Latent frames to each side with which a window of them decodes as it does in the whole."""
        return self.dec.context_frames

    def style_embedding(
        self, ref_specs: Sequence[Tensor], speaker_embeddings: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The style of a voice: the mean over its references.

        Args:
            ref_specs: each (1, bins, T) linear spectrum of one reference.
            speaker_embeddings: each (1, channels), one per reference; for v2Pro and v2ProPlus.

        Returns:
            (1, gin_channels, 1).
        """
        styles = [self.ref_enc(spec) for spec in ref_specs]
        if self.config.speaker_embedding_channels:
            if speaker_embeddings is None or len(speaker_embeddings) != len(styles):
                raise ValueError("this version takes one speaker embedding per reference")
            styles = [
                self.add_speaker(style, speaker) for style, speaker in zip(styles, speaker_embeddings, strict=True)
            ]
        return torch.stack(styles).mean(0)

    def add_speaker(self, style: Tensor, speaker_embedding: Tensor) -> Tensor:
        """(B, gin, 1) and (B, speaker channels) -> (B, gin, 1)."""
        out: Tensor = self.prelu(style + self.sv_emb(speaker_embedding).unsqueeze(-1))
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
    ) -> Prior:
        """Predict the distribution of the latents.

        Args:
            semantic_tokens: (B, T_sem) int64 codebook indices, 25 per second, no end token.
            phoneme_ids: (B, T_text) int64 in the model's symbol set; None where nothing tells what the tokens say.
            style: (B or 1, gin_channels, 1).
            lengths: tokens of each item where the batch is padded.
            phoneme_lengths: phonemes of each item where the batch is padded.
            speed: one value, or one per item.

        Returns:
            The prior, with `T_sem * frames_per_token` frames at speed 1.
        """
        if lengths is None and phoneme_lengths is None and semantic_tokens.device.type == "cpu":
            return self._encode_padded(semantic_tokens, phoneme_ids, style, speed)
        frames = None if lengths is None else [n * self.frames_per_token for n in lengths]
        quantized = self.quantizer.decode(semantic_tokens).repeat_interleave(self.frames_per_token, dim=-1)
        return self.encode_quantized(quantized, phoneme_ids, style, frames, phoneme_lengths, speed)

    def _encode_padded(
        self, semantic_tokens: Tensor, phoneme_ids: Tensor | None, style: Tensor, speed: float | Sequence[float]
    ) -> Prior:
        n_batch, n_tokens = semantic_tokens.shape
        n_phonemes = 0 if phoneme_ids is None else phoneme_ids.shape[1]
        prior = self.encode(
            F.pad(semantic_tokens, (0, -n_tokens % _STEP_TOKENS)),
            phoneme_ids if phoneme_ids is None else F.pad(phoneme_ids, (0, -n_phonemes % _STEP_TOKENS)),
            style,
            lengths=[n_tokens] * n_batch,
            phoneme_lengths=[n_phonemes] * n_batch,
            speed=speed,
        )
        frames = max(prior.lengths)
        return replace(
            prior,
            features=prior.features[..., :frames],
            mean=prior.mean[..., :frames],
            log_std=prior.log_std[..., :frames],
            mask=prior.mask[..., :frames],
        )

    def encode_quantized(
        self,
        quantized: Tensor,
        phoneme_ids: Tensor | None,
        style: Tensor,
        frame_lengths: Sequence[int] | Tensor | None = None,
        phoneme_lengths: Sequence[int] | Tensor | None = None,
        speed: float | Sequence[float] = 1.0,
    ) -> Prior:
        """`encode` from (B, ssl_channels, T) codebook vectors on; training enters here."""
        condition = style
        if self.config.speaker_embedding_channels:
            condition = self.ge_to512(style.transpose(1, 2)).transpose(1, 2)
        prior: Prior = self.enc_p(quantized, phoneme_ids, condition, frame_lengths, phoneme_lengths, speed)
        return prior

    def latents(
        self,
        prior: Prior,
        style: Tensor,
        noise: Tensor,
        noise_scale: float = 0.5,
        unflow: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Draw latents from the prior.

        Args:
            prior: as `encode` returns it.
            style: (B or 1, gin_channels, 1).
            noise: (B, inter_channels, T) standard normal.
            noise_scale: 0 for the mean alone.
            unflow: runs `self.unflow` in its place.

        Returns:
            (B, inter_channels, T), zero where an item is padding.
        """
        z = prior.mean + noise * torch.exp(prior.log_std) * noise_scale
        return (unflow or self.unflow)(z, prior.mask, style) * prior.mask

    def unflow(self, z: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """The way from the prior to the latents: (B, inter_channels, T), (B, 1, T) and (B or 1, gin_channels, 1)."""
        frames = z.shape[-1]
        padding = (0, -frames % _STEP_FRAMES if z.device.type == "cpu" else 0)
        out: Tensor = self.flow(F.pad(z, padding), F.pad(mask, padding), style, reverse=True)
        return out[..., :frames]

    def vocode(self, latents: Tensor, style: Tensor) -> Tensor:
        """Make the waveform.

        Args:
            latents: (B, inter_channels, T).
            style: (B or 1, gin_channels, 1).

        Returns:
            (B, 1, T * hop_samples) in [-1, 1].
        """
        out: Tensor = self.dec(latents, style)
        return out

    def vocode_window(self, latents: Tensor, style: Tensor, start: int, end: int) -> Tensor:
        """The samples of the frames `start` to `end` of the latents, equal to that part of the whole."""
        (window,) = self.vocode_windows([(latents, style, start, end)])
        return window

    def vocode_windows(
        self,
        windows: Sequence[tuple[Tensor, Tensor, int, int]],
        generate: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """`vocode_window` for several, which are equally long with their context, in one pass.

        Args:
            windows: latents, style, start and end of each.
            generate: runs `self.generate` in its place.
        """
        spans = [self.with_context(start, end, latents.shape[-1]) for latents, _, start, end in windows]
        frames = torch.cat([window[0][..., first:last] for window, (first, last) in zip(windows, spans, strict=True)])
        styles = [style.expand(latents.shape[0], -1, -1) for latents, style, _, _ in windows]
        made = (generate or self.generate)(frames, torch.cat(styles))
        waves = torch.split(made, [style.shape[0] for style in styles])
        return [
            wave[..., (start - first) * self.hop_samples : (end - first) * self.hop_samples]
            for wave, (_, _, start, end), (first, _) in zip(waves, windows, spans, strict=True)
        ]

    def generate(self, frames: Tensor, style: Tensor) -> Tensor:
        """`vocode`, with what follows the samples of the frames where a device likes other lengths better."""
        length = frames.shape[-1]
        if frames.device.type == "cpu":
            frames = F.pad(frames, (0, _window_frames(length) - length))
        wave: Tensor = self.dec(frames, style, length)
        return wave

    def with_context(self, start: int, end: int, frames: int) -> tuple[int, int]:
        """The first and last frame that a window of the latents is decoded with, of so many."""
        context = self.vocode_context_frames
        return max(0, start - context), min(frames, end + context)

    def frame_count(self, tokens: int, speed: float) -> int:
        """Latent frames of so many semantic tokens."""
        return frames_at_speed(tokens * self.frames_per_token, speed)

    def extract_codes(self, ssl_features: Tensor) -> Tensor:
        """The semantic tokens of recorded speech.

        Args:
            ssl_features: (B, ssl_channels, T) HuBERT features, 50 a second.

        Returns:
            (B, T // 2) int64.
        """
        return self.quantizer.encode(self.ssl_proj(ssl_features))


def _window_frames(frames: int) -> int:
    """The length that a window is padded to."""
    longest = WINDOW_FRAMES[-1]
    return next((size for size in WINDOW_FRAMES if frames <= size), frames + -frames % longest)
