"""Super-sample streamed speech from 24 to 48 kHz."""

from __future__ import annotations

import numpy as np
import torch

from sovits_service.audio.dsp import resample
from sovits_service.engine.host import to_host
from sovits_service.models.super_sampling import SuperSampler
from sovits_service.types import FloatArray


class UpperOctave:
    """One stream through the super-sampling network; what comes out equals the whole in one go.

    Args:
        network: fills the octave of samples that are resampled already.
        sample_rate_hz: of what comes in.
    """

    def __init__(self, network: SuperSampler, sample_rate_hz: int) -> None:
        self._network = network
        self._from_hz = sample_rate_hz
        self._factor = network.config.sample_rate_hz // sample_rate_hz
        # Frames of the network's transform begin at multiples of its hop: pieces are cut there.
        self._step = network.config.hop_samples // self._factor
        self._context = self._step * -(-network.context_samples // network.config.hop_samples)
        self._buffer: FloatArray = np.zeros(0, dtype=np.float32)
        self._said = 0  # samples of the buffer, at its own rate, that are out already

    @property
    def sample_rate_hz(self) -> int:
        return self._network.config.sample_rate_hz

    def push(self, samples: FloatArray, *, is_end: bool) -> FloatArray:
        """Take the next samples; returns those at the higher rate that later ones cannot change any more."""
        self._buffer = np.concatenate([self._buffer, samples])
        settled = len(self._buffer) if is_end else len(self._buffer) - self._context
        if settled <= self._said:
            return np.zeros(0, dtype=np.float32)
        filled = self._fill(self._buffer)[self._said * self._factor : settled * self._factor]
        first = max(0, settled - self._context) // self._step * self._step
        self._buffer, self._said = self._buffer[first:], settled - first
        return filled

    def _fill(self, samples: FloatArray) -> FloatArray:
        wide = resample(samples, self._from_hz, self.sample_rate_hz)
        shortest = self._network.config.fft_samples  # the transform reflects half of it at each end
        padded = np.pad(wide, (0, max(0, shortest - len(wide))))
        device = self._network.conv_pre_mag.weight.device
        with torch.inference_mode():
            filled: FloatArray = to_host(self._network(torch.from_numpy(padded)[None].to(device))[0])
        return filled[: len(wide)]
