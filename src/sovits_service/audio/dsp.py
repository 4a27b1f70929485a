"""Signal processing in front of the models: resampling, spectra and filter banks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sovits_service.types import FloatArray

_LOG_FLOOR = 1e-5
_MEL_MIN, _MEL_MAX = -12.0, 2.0  # the range that flow matching was trained on


def resample(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """(T,) float32 at `from_hz` -> (T * to_hz / from_hz,) float32."""
    if from_hz == to_hz:
        return samples
    import soxr  # here, so that models and engine run where it is not installed, on clips of their own rate

    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="VHQ"), dtype=np.float32)


def linear_spectrogram(samples: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """The magnitude spectrum, Hann window as long as the FFT, frames reflected in at both ends.

    Args:
        samples: (B, T) float32 in [-1, 1], longer than half an FFT.
        fft_samples: 2,048 for the reference spectrum at 32 kHz.
        hop_samples: 640 for the reference spectrum at 32 kHz.

    Returns:
        (B, fft_samples // 2 + 1, T // hop_samples) float32.
    """
    padding = (fft_samples - hop_samples) // 2
    padded = F.pad(samples.unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
    window = torch.hann_window(fft_samples, dtype=samples.dtype, device=samples.device)
    spectrum = torch.stft(padded, fft_samples, hop_samples, window=window, center=False, return_complex=True)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-8)


def mel_spectrogram(samples: Tensor, sample_rate_hz: int, fft_samples: int, hop_samples: int, n_mels: int) -> Tensor:
    """The natural logarithm of the mel spectrum, 0 Hz to half the sample rate.

    Args:
        samples: (B, T) float32 in [-1, 1].

    Returns:
        (B, n_mels, T // hop_samples) float32.
    """
    filters = torch.from_numpy(mel_filters(sample_rate_hz, fft_samples, n_mels))
    spectrum = linear_spectrogram(samples, fft_samples, hop_samples)
    return torch.log(torch.clamp(filters.to(spectrum.device) @ spectrum, min=_LOG_FLOOR))


def normalize_mel(mel: Tensor) -> Tensor:
    """A log mel to the range -1..1 of the flow-matching models."""
    return (mel - _MEL_MIN) / (_MEL_MAX - _MEL_MIN) * 2.0 - 1.0


def denormalize_mel(mel: Tensor) -> Tensor:
    """The inverse of `normalize_mel`."""
    return (mel + 1.0) / 2.0 * (_MEL_MAX - _MEL_MIN) + _MEL_MIN


@lru_cache(maxsize=8)
def mel_filters(sample_rate_hz: int, fft_samples: int, n_mels: int) -> FloatArray:
    """Triangular filters of equal area on Slaney's mel scale (Auditory Toolbox, 1998).

    Returns:
        (n_mels, fft_samples // 2 + 1) float32.
    """
    edges_hz = _mel_to_hz(np.linspace(0.0, float(_hz_to_mel(np.array(sample_rate_hz / 2))), n_mels + 2))
    bins_hz = np.fft.rfftfreq(fft_samples, 1.0 / sample_rate_hz)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return np.asarray(triangles, dtype=np.float32)


_LINEAR_END_HZ, _HZ_PER_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, np.log(6.4) / 27.0  # linear to 1 kHz, then logarithmic


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = np.log(np.maximum(hz, _LINEAR_END_HZ) / _LINEAR_END_HZ) / _LOG_STEP
    return np.asarray(np.minimum(hz, _LINEAR_END_HZ) / _HZ_PER_MEL + above)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear_end = _LINEAR_END_HZ / _HZ_PER_MEL
    above = np.exp(np.maximum(mel - linear_end, 0.0) * _LOG_STEP)
    return np.asarray(np.minimum(mel, linear_end) * _HZ_PER_MEL * above)


def fbank(samples: Tensor, sample_rate_hz: int = 16_000, n_mels: int = 80) -> Tensor:
    """Kaldi's log mel filter bank without dither, as compute-fbank-feats makes it; what ERes2NetV2 hears.

    Frames of 25 ms each 10 ms, none beyond the end; mean removed, pre-emphasis 0.97, Povey window.

    Args:
        samples: (B, T) float32 in [-1, 1], 25 ms or more.

    Returns:
        (B, T_frames, n_mels) float32.
    """
    frame_samples, shift_samples = sample_rate_hz * 25 // 1000, sample_rate_hz // 100
    fft_samples = 1 << (frame_samples - 1).bit_length()
    frames = samples.unfold(-1, frame_samples, shift_samples)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - 0.97 * torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    window = torch.hann_window(frame_samples, periodic=False, dtype=samples.dtype, device=samples.device).pow(0.85)
    power = torch.fft.rfft(frames * window, fft_samples).abs().square()
    filters = torch.from_numpy(kaldi_mel_filters(sample_rate_hz, fft_samples, n_mels)).to(samples.device)
    return torch.log(torch.clamp(power @ filters.t(), min=torch.finfo(torch.float32).eps))


@lru_cache(maxsize=4)
def kaldi_mel_filters(sample_rate_hz: int, fft_samples: int, n_mels: int) -> FloatArray:
    """Triangles on Kaldi's mel scale, from 20 Hz to half the sample rate, straight in mel and not in hertz.

    Returns:
        (n_mels, fft_samples // 2 + 1) float32.
    """
    bins = 1127.0 * np.log1p(np.fft.rfftfreq(fft_samples, 1.0 / sample_rate_hz) / 700.0)
    low_mel, high_mel = (1127.0 * math.log1p(hz / 700.0) for hz in (20.0, sample_rate_hz / 2))
    edges = np.linspace(low_mel, high_mel, n_mels + 2)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(0.0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    triangles[:, -1] = 0.0  # Kaldi leaves the highest bin out
    return np.asarray(triangles, dtype=np.float32)
