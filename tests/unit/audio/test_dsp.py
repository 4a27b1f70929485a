"""Signal processing before the models, where the stored outputs do not reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sovits_service.audio import dsp


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 32_000), (44_100, 16_000), (16_000, 32_000), (8_000, 32_000)])
def test_resampling_keeps_a_tone_and_its_level(from_hz: int, to_hz: int) -> None:
    def tone(rate_hz: int) -> np.ndarray:
        return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)).astype(np.float32)

    made = dsp.resample(tone(from_hz), from_hz, to_hz)
    assert made.dtype == np.float32
    assert len(made) == to_hz
    middle = slice(to_hz // 10, -to_hz // 10)
    assert np.abs(made[middle] - tone(to_hz)[middle]).max() < 1e-3


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(dsp.resample(tone, 48_000, 16_000)[1000:-1000]).max() < 1e-3


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    samples = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    assert dsp.resample(samples, 16_000, 16_000) is samples


def test_frames_of_a_spectrum_are_a_hop_apart() -> None:
    assert dsp.linear_spectrogram(torch.zeros(1, 32_000), 2048, 640).shape == (1, 1025, 50)
    assert dsp.mel_spectrogram(torch.zeros(2, 32_000), 32_000, 1280, 320, 100).shape == (2, 100, 100)


def test_a_tone_is_loudest_in_its_bin() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(32_000) / 32_000)[None]
    spectrum = dsp.linear_spectrogram(tone, 2048, 640)
    assert spectrum[0, :, 20].argmax() == round(1000 * 2048 / 32_000)


def test_normalised_mels_come_back() -> None:
    mel = torch.tensor([-12.0, -5.0, 2.0])
    assert dsp.normalize_mel(mel).tolist() == [-1.0, 0.0, 1.0]
    torch.testing.assert_close(dsp.denormalize_mel(dsp.normalize_mel(mel)), mel)


def test_the_filter_bank_of_silence_is_its_floor_and_of_anything_finite() -> None:
    silence = dsp.fbank(torch.zeros(1, 16_000))
    assert silence.shape == (1, 98, 80)
    torch.testing.assert_close(silence, torch.full_like(silence, float(np.log(np.finfo(np.float32).eps))))
    for samples in (torch.ones(1, 1600), 1e4 * torch.randn(1, 1600), torch.randn(3, 400)):
        assert dsp.fbank(samples).isfinite().all()
    assert dsp.fbank(torch.randn(3, 400)).shape == (3, 1, 80)


def test_mel_filters_cover_the_band_without_gaps() -> None:
    for filters in (dsp.mel_filters(24_000, 1024, 100), dsp.kaldi_mel_filters(16_000, 512, 80)):
        assert (filters >= 0).all()
        assert (filters.sum(axis=1) > 0).all()
        assert (filters[:, 5:-5].sum(axis=0) > 0).all()
