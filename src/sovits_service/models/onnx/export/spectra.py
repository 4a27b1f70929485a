"""Spectra in operators of the standard: samples in; magnitudes, mels and filter banks out.

A windowed Fourier transform is a convolution whose kernels are the windowed waves, so no operator for transforms is
needed, which not every runtime has. What else is linear (the mean, the pre-emphasis) is in the kernels too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sovits_service.models.onnx.export.layers import Layers
from sovits_service.types import FloatArray

_LOG_FLOOR = 1e-5
_MEL_MIN, _MEL_MAX = -12.0, 2.0
_PRE_EMPHASIS = 0.97

Doubles = npt.NDArray[np.float64]


def _waves(fft_samples: int, bins: int, length: int) -> Doubles:
    """(2 * bins, length): cosines, then sines, of the transform's frequencies."""
    angles = 2.0 * np.pi / fft_samples * np.outer(np.arange(bins), np.arange(length))
    return np.concatenate((np.cos(angles), np.sin(angles)))


def linear_spectrum(layers: Layers, samples: str, fft_samples: int, hop_samples: int, bins: int) -> str:
    """As `audio.dsp.linear_spectrogram`: (1, T_samples) -> (1, bins, T), the lowest bins."""

    def kernels() -> FloatArray:
        window = 0.5 - 0.5 * np.cos(2.0 * np.pi / fft_samples * np.arange(fft_samples))
        return np.asarray((_waves(fft_samples, bins, fft_samples) * window)[:, None], np.float32)

    padding = (fft_samples - hop_samples) // 2
    padded = layers.pad(layers.unsqueeze(samples, 1), padding, padding, axis=2, mode="reflect")
    power = _power(layers, padded, layers.graph.weight(f"waves of {fft_samples} samples", kernels), hop_samples)
    return layers.op("Sqrt", layers.op("Add", power, layers.number(1e-8)))


def _power(layers: Layers, samples: str, kernels: str, hop_samples: int) -> str:
    """(1, 1, T_samples) -> (1, bins, T), the squared magnitudes."""
    parts = layers.op("Conv", samples, kernels, strides=[hop_samples])
    real, imaginary = layers.split(layers.op("Mul", parts, parts), 2, axis=1)
    return layers.op("Add", real, imaginary)


def normalized_mel(layers: Layers, samples: str, filters: FloatArray, fft_samples: int, hop_samples: int) -> str:
    """(1, T_samples) -> (1, n_mels, T), a log mel in the range -1..1 of the flow-matching models.

    Args:
        filters: (n_mels, fft_samples // 2 + 1).
    """
    spectrum = linear_spectrum(layers, samples, fft_samples, hop_samples, filters.shape[1])
    bands = layers.op("MatMul", layers.graph.weight("mel filters", lambda: filters), spectrum)
    mel = layers.op("Log", layers.op("Max", bands, layers.number(_LOG_FLOOR)))
    scale = 2.0 / (_MEL_MAX - _MEL_MIN)
    return layers.op(
        "Sub",
        layers.op("Mul", layers.op("Sub", mel, layers.number(_MEL_MIN)), layers.number(scale)),
        layers.number(1.0),
    )


def denormalized_mel(layers: Layers, mel: str) -> str:
    """The inverse: the range -1..1 to a log mel."""
    half = layers.op("Mul", layers.op("Add", mel, layers.number(1.0)), layers.number(0.5))
    return layers.op("Add", layers.op("Mul", half, layers.number(_MEL_MAX - _MEL_MIN)), layers.number(_MEL_MIN))


def filter_bank(layers: Layers, samples: str, filters: FloatArray, rate_hz: int) -> str:
    """As `audio.dsp.fbank`, Kaldi's: (1, T_samples) -> (1, T, n_mels).

    Args:
        filters: (n_mels, bins).
    """
    frame_samples, hop_samples = rate_hz * 25 // 1000, rate_hz // 100
    fft_samples = 1 << (frame_samples - 1).bit_length()
    bins = fft_samples // 2 + 1

    def kernels() -> FloatArray:
        centred = np.eye(frame_samples) - 1.0 / frame_samples
        emphasis = np.eye(frame_samples) - _PRE_EMPHASIS * np.eye(frame_samples, k=-1)
        emphasis[0, 0] -= _PRE_EMPHASIS
        window = (0.5 - 0.5 * np.cos(2.0 * np.pi / (frame_samples - 1) * np.arange(frame_samples))) ** 0.85
        waves = _waves(fft_samples, bins, frame_samples)
        return np.asarray(((waves * window) @ emphasis @ centred)[:, None], np.float32)

    power = _power(layers, layers.unsqueeze(samples, 1), layers.graph.weight("waves of a frame", kernels), hop_samples)
    columns = layers.graph.weight("filters", lambda: filters.T)
    bands = layers.op("MatMul", layers.transpose(power, 0, 2, 1), columns)
    return layers.op("Log", layers.op("Max", bands, layers.number(float(np.finfo(np.float32).eps))))
