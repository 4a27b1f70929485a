"""Encode reference clips: everything the models need of a voice, computed once for each content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from sovits_service.audio.dsp import fbank, linear_spectrogram, mel_spectrogram, normalize_mel, resample
from sovits_service.engine.host import to_host
from sovits_service.engine.source import Source
from sovits_service.errors import SynthesisError
from sovits_service.models.hubert import SAMPLE_RATE_HZ
from sovits_service.models.semantic_model import ContentEncoder
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import SEMANTIC_TOKENS_PER_SECOND, FloatArray, ReferenceAudio, Segment, VoicePrompt

SPEAKER_RATE_HZ = 16_000
_REMEMBERED_VOICES = 128
_TOKEN_SAMPLES = SAMPLE_RATE_HZ // SEMANTIC_TOKENS_PER_SECOND


class PromptEncoder:
    """Encodes voices.

    Args:
        vits: gives tokens of a reference and its style.
        hubert: the content features behind the tokens.
        speaker: the speaker encoder; None for the versions that take no speaker embedding.
        resample: takes samples (T,) from one rate to another.
    """

    def __init__(
        self,
        vits: Vits | CfmSynthesizer,
        hubert: ContentEncoder,
        speaker: ERes2NetV2 | None,
        *,
        resample: Callable[[FloatArray, int, int], FloatArray] = resample,
    ) -> None:
        self._resample = resample
        self._vits = vits
        self._hubert = hubert
        self._speaker = speaker
        weight = vits.ssl_proj.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._lock = threading.Lock()  # voices are encoded beside the loop, which looks for known ones
        self._remembered: OrderedDict[tuple[str, ...], VoicePrompt] = OrderedDict()

    def known(self, references: Sequence[ReferenceAudio], timbre: ReferenceAudio | None = None) -> VoicePrompt | None:
        """The voice of references that came before, without any work; None for new ones."""
        key = _key(references, timbre)
        with self._lock:
            prompt = self._remembered.get(key)
            if prompt is not None:
                self._remembered.move_to_end(key)
        return prompt

    def encode(self, references: Sequence[ReferenceAudio], timbre: ReferenceAudio | None = None) -> VoicePrompt:
        """The voice of a reference, its timbre averaged with that of auxiliary ones.

        Args:
            references: the reference first, then the auxiliary ones.
            timbre: takes the place of the reference in all that makes the timbre: spectrum, speaker embedding, mel.

        Raises:
            SynthesisError: the encoders gave a non-finite output.
        """
        prompt = self.known(references, timbre)
        if prompt is None:
            prompt = self._encode(references, timbre)
            with self._lock:
                self._remembered[_key(references, timbre)] = prompt
                if len(self._remembered) > _REMEMBERED_VOICES:
                    self._remembered.popitem(last=False)
        return prompt

    @torch.inference_mode()
    def read(self, source: Source) -> list[int]:
        """The tokens of the next stretch of a recording, with what is before and after it heard along.

        Raises:
            SynthesisError: HuBERT gave a non-finite output.
        """
        if source.samples is None:
            source.samples = self._resample(source.audio.samples, source.audio.sample_rate_hz, SAMPLE_RATE_HZ)
        stretch = source.next_stretch()
        heard = source.samples[stretch.first * _TOKEN_SAMPLES : stretch.last * _TOKEN_SAMPLES]
        features, tokens = self._features(torch.from_numpy(heard)[None].to(self._device))
        if not np.isfinite(to_host(features.float())).all():
            raise SynthesisError("the recording gave non-finite features; try another one")
        kept: list[int] = tokens[stretch.start - stretch.first : stretch.stop - stretch.first].tolist()
        return kept

    def prompt_tokens(self, prompt: VoicePrompt, prompt_segment: Segment | None) -> torch.Tensor:
        """The tokens that go before the new ones: none where nothing says what they mean."""
        return prompt.prompt_tokens if prompt_segment is not None else prompt.prompt_tokens[:0]

    def tokens(self, reference: ReferenceAudio) -> list[int]:
        """The semantic tokens of a clip, whose voice need not be known."""
        prompt = self.known([reference])
        with torch.inference_mode():
            tokens = prompt.prompt_tokens if prompt is not None else self._content(reference)[1]
        found: list[int] = tokens.tolist()
        return found

    def style(self, reference: ReferenceAudio) -> FloatArray:
        """(gin_channels,) the style of a clip, which holds its timbre."""
        with torch.inference_mode():
            style: FloatArray = to_host(self._style([reference]).float()).flatten()
        return style

    @torch.inference_mode()
    def _encode(self, references: Sequence[ReferenceAudio], timbre: ReferenceAudio | None) -> VoicePrompt:
        content, tokens = self._content(references[0])
        sounding = (timbre or references[0], *references[1:])
        style = self._style(sounding)
        # The content too: in half precision HuBERT can overflow, and the codebook entry nearest to NaN is entry 0.
        if not np.isfinite(to_host(torch.cat([content.flatten(), style.flatten()]).float())).all():
            raise SynthesisError("the reference gave non-finite features; try another clip")
        mel = self._mel(sounding[0])
        mel_tokens = self._content(timbre)[1] if timbre is not None and mel is not None else None
        return VoicePrompt(tokens, style, mel, mel_tokens)

    def _style(self, references: Sequence[ReferenceAudio]) -> torch.Tensor:
        """(1, gin_channels, 1) the mean over clips."""
        spectra = [self._spectrum(reference) for reference in references]
        speakers = None
        if self._speaker is not None and self._vits.config.speaker_embedding_channels:
            speakers = [
                self._speaker(fbank(self._samples(reference, SPEAKER_RATE_HZ)).to(self._dtype))
                for reference in references
            ]
        return self._vits.style_embedding(spectra, speakers)

    def _content(self, reference: ReferenceAudio) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, channels, frames) HuBERT features of a clip, and its (T,) semantic tokens."""
        return self._features(self._samples(reference, SAMPLE_RATE_HZ))

    def _features(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`_content` of (1, T) samples at 16 kHz."""
        features = self._hubert(samples.to(self._dtype))
        return features, self._vits.extract_codes(features)[0]

    def _spectrum(self, reference: ReferenceAudio) -> torch.Tensor:
        """(1, bins, T) linear spectrum in the model's dtype."""
        config = self._vits.config
        samples = self._samples(reference, config.sampling_rate)
        spectrum = linear_spectrogram(limit_peak(samples), config.filter_length, config.hop_length)
        return spectrum[:, : config.ref_spec_bins].to(self._dtype)

    def _mel(self, reference: ReferenceAudio) -> torch.Tensor | None:
        """(1, n_mels, T) normalised mel for the versions that follow one."""
        spec = self._vits.config.spec.flow_matching
        if spec is None:
            return None
        mel = spec.mel
        samples = self._samples(reference, mel.sample_rate_hz)
        spectrum = mel_spectrogram(samples, mel.sample_rate_hz, mel.fft_samples, mel.hop_samples, mel.n_mels)
        return normalize_mel(spectrum).to(self._dtype)

    def _samples(self, reference: ReferenceAudio, rate_hz: int) -> torch.Tensor:
        """(1, T) float32 on the device: spectra are taken in float32, whatever the models run in."""
        resampled = self._resample(reference.samples, reference.sample_rate_hz, rate_hz)
        return torch.from_numpy(resampled)[None].to(self._device)


def _key(references: Sequence[ReferenceAudio], timbre: ReferenceAudio | None) -> tuple[str, ...]:
    """The content of the clips; that of `timbre` goes first where there is one, and an empty text where not."""
    return ("" if timbre is None else timbre.content_hash, *(reference.content_hash for reference in references))


def limit_peak(samples: torch.Tensor) -> torch.Tensor:
    """Scale a clip whose resampling went beyond full scale; parity: by at most a half."""
    peak = samples.abs().max()
    return samples / torch.clamp(peak, 1.0, 2.0)
