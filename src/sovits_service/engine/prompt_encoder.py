"""Reference clips in, what the models need of a voice out: computed once for each content, then remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Row

import numpy as np
import torch

from sovits_service.audio.dsp import fbank, linear_spectrogram, mel_spectrogram, normalize_mel, resample
from sovits_service.engine.host import to_host
from sovits_service.errors import SynthesisError
from sovits_service.models.hubert import SAMPLE_RATE_HZ, Hubert
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import FloatArray, ReferenceAudio, Segment, VoicePrompt

SPEAKER_RATE_HZ = 16_000
_REMEMBERED_VOICES = 128


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
        hubert: Hubert,
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

    def known(self, references: Row[ReferenceAudio]) -> VoicePrompt | None:
        """The voice of references that came before, without any work; None for new ones."""
        key = _key(references)
        with self._lock:
            prompt = self._remembered.get(key)
            if prompt is not None:
                self._remembered.move_to_end(key)
        return prompt

    def encode(self, references: Row[ReferenceAudio]) -> VoicePrompt:
        """The voice of a reference, its timbre averaged with that of auxiliary ones.

        Args:
            references: the reference first, then the auxiliary ones.

        Raises:
            SynthesisError: the encoders gave a non-finite output.
        """
        prompt = self.known(references)
        if prompt is None:
            prompt = self._encode(references)
            with self._lock:
                self._remembered[_key(references)] = prompt
                if len(self._remembered) > _REMEMBERED_VOICES:
                    self._remembered.popitem(last=False)
        return prompt

    def prompt_tokens(self, prompt: VoicePrompt, prompt_segment: Segment | None) -> torch.Tensor:
        """The tokens that go before the new ones: none where nothing says what they mean."""
        return prompt.prompt_tokens if prompt_segment is not None else prompt.prompt_tokens[:0]

    @torch.inference_mode()
    def _encode(self, references: Row[ReferenceAudio]) -> VoicePrompt:
        config = self._vits.config
        content = self._hubert(self._samples(references[0], SAMPLE_RATE_HZ).to(self._dtype))
        tokens = self._vits.extract_codes(content)[0]
        spectra = [self._spectrum(reference) for reference in references]
        speakers = None
        if self._speaker is not None and config.speaker_embedding_channels:
            speakers = [
                self._speaker(fbank(self._samples(reference, SPEAKER_RATE_HZ)).to(self._dtype))
                for reference in references
            ]
        style = self._vits.style_embedding(spectra, speakers)
        # The content too: in half precision HuBERT can overflow, and the codebook entry nearest to NaN is entry 0.
        if not np.isfinite(to_host(torch.cat([content.flatten(), style.flatten()]).float())).all():
            raise SynthesisError("the reference gave non-finite features; try another clip")
        return VoicePrompt(tokens, style, self._mel(references[0]))

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


def _key(references: Row[ReferenceAudio]) -> tuple[str, ...]:
    return tuple(reference.content_hash for reference in references)


def limit_peak(samples: torch.Tensor) -> torch.Tensor:
    """Scale a clip whose resampling went beyond full scale; parity: by at most a half."""
    peak = samples.abs().max()
    return samples / torch.clamp(peak, 1.0, 2.0)
