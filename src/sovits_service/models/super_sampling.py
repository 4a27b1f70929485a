"""AP-BWE (Lu et al. 2024), super-sampling for v3: speech without its upper octave in, with one out, at 48 kHz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.errors import CheckpointError
from sovits_service.models.linear import Linear

_KERNEL = 7
_NORM_EPS = 1e-6
_AMPLITUDE_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class SuperSamplerConfig:
    """Sizes; the transform's come from `config.json`, the network's from its tensors."""

    fft_samples: int = 1024
    hop_samples: int = 80
    window_samples: int = 320
    channels: int = 512
    n_layers: int = 8
    sample_rate_hz: int = 48_000

    @staticmethod
    def from_checkpoint(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> SuperSamplerConfig:
        """Read the published `config.json` and the tensors' shapes. Raises CheckpointError where they lack sizes."""
        try:
            return SuperSamplerConfig(
                fft_samples=int(config["n_fft"]),
                hop_samples=int(config["hop_size"]),
                window_samples=int(config["win_size"]),
                channels=state["conv_pre_mag.weight"].shape[0],
                n_layers=sum(key.startswith("convnext_mag.") and key.endswith(".gamma") for key in state),
                sample_rate_hz=int(config.get("hr_sampling_rate", 48_000)),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError("the super-sampling file or its config.json lacks sizes") from error


class ConvNeXtBlock(nn.Module):
    """A ConvNeXt block (Liu et al. 2022) over (B, C, T)."""

    def __init__(self, channels: int, n_layers: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, _KERNEL, padding=_KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.pwconv1 = Linear(channels, channels * 3)
        self.pwconv2 = Linear(channels * 3, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1.0 / n_layers))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.dwconv(x).transpose(1, 2))
        out: Tensor = x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(hidden)))).transpose(1, 2)
        return out


class SuperSampler(nn.Module):
    """Two streams, for the amplitude and the phase of the spectrum, that hear each other in every layer.

    In float32 whatever the other models are: phases do not survive half precision.
    """

    def __init__(self, config: SuperSamplerConfig) -> None:
        super().__init__()
        self.config = config
        bins, channels = config.fft_samples // 2 + 1, config.channels
        self.conv_pre_mag = nn.Conv1d(bins, channels, _KERNEL, padding=_KERNEL // 2)
        self.norm_pre_mag = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.conv_pre_pha = nn.Conv1d(bins, channels, _KERNEL, padding=_KERNEL // 2)
        self.norm_pre_pha = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.convnext_mag = nn.ModuleList(ConvNeXtBlock(channels, config.n_layers) for _ in range(config.n_layers))
        self.convnext_pha = nn.ModuleList(ConvNeXtBlock(channels, config.n_layers) for _ in range(config.n_layers))
        self.norm_post_mag = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.norm_post_pha = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.linear_post_mag = Linear(channels, bins)
        self.linear_post_pha_r = Linear(channels, bins)
        self.linear_post_pha_i = Linear(channels, bins)

    @property
    def context_samples(self) -> int:
        """Samples to each side on which a sample depends."""
        frames = _KERNEL // 2 * (self.config.n_layers + 1)
        return (frames + 1) * self.config.hop_samples + self.config.window_samples

    def forward(self, samples: Tensor) -> Tensor:
        """Fill the upper octave.

        Args:
            samples: (B, T) at 48 kHz, resampled from 24 kHz; longer than half the FFT.

        Returns:
            (B, T) float32.
        """
        config = self.config
        window = torch.hann_window(config.window_samples, device=samples.device)
        sizes = (config.fft_samples, config.hop_samples, config.window_samples)
        spectrum = torch.stft(samples.float(), *sizes, window=window, return_complex=True)
        amplitude, phase = self._network(torch.log(spectrum.abs() + _AMPLITUDE_FLOOR), spectrum.angle())
        return torch.istft(torch.polar(amplitude.exp(), phase), *sizes, window=window, length=samples.shape[-1])

    def _network(self, log_amplitude: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, bins, frames), and so are the results."""
        x_mag = _normed(self.norm_pre_mag, self.conv_pre_mag(log_amplitude))
        x_pha = _normed(self.norm_pre_pha, self.conv_pre_pha(phase))
        for block_mag, block_pha in zip(self.convnext_mag, self.convnext_pha, strict=True):
            x_mag = x_mag + x_pha
            x_pha = x_pha + x_mag
            x_mag, x_pha = block_mag(x_mag), block_pha(x_pha)
        gain = self.linear_post_mag(_normed(self.norm_post_mag, x_mag).transpose(1, 2)).transpose(1, 2)
        hidden = _normed(self.norm_post_pha, x_pha).transpose(1, 2)
        real, imaginary = self.linear_post_pha_r(hidden), self.linear_post_pha_i(hidden)
        return log_amplitude + gain, torch.atan2(imaginary, real).transpose(1, 2)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = norm(x.transpose(1, 2)).transpose(1, 2)
    return out
