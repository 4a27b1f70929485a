"""Super-sampling of a stream: pieces of any size give what the whole gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.upper_octave import UpperOctave
from sovits_service.models.super_sampling import SuperSampler, SuperSamplerConfig
from sovits_service.service.service import SpeechService
from tests.engine.conftest import _randomised
from tests.engine.test_model_store import REQUEST
from tests.engine.test_versions import PROMPTED, service  # noqa: F401 - a fixture

CONFIG = SuperSamplerConfig(channels=16, n_layers=2)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return _randomised(SuperSampler(CONFIG), 1)


def speech(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal(int(24_000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("piece", [1_000, 5_121, 24_000])
def test_pieces_equal_the_whole(network: Any, piece: Any) -> None:
    samples = speech(2.0)
    whole = UpperOctave(network, 24_000).push(samples, is_end=True)
    stream = UpperOctave(network, 24_000)
    parts = [
        stream.push(samples[start : start + piece], is_end=start + piece >= len(samples))
        for start in range(0, len(samples), piece)
    ]
    assert len(whole) == 2 * len(samples)
    joined = np.concatenate(parts)
    assert joined.shape == whole.shape
    # The resampler's own context is longer than a piece's: what is left of that is far below hearing.
    np.testing.assert_allclose(joined, whole, atol=2e-3)


def test_a_fragment_shorter_than_the_transform_keeps_its_length(network: Any) -> None:
    assert len(UpperOctave(network, 24_000).push(speech(0.005), is_end=True)) == 240


def write_network(path: Any) -> None:
    import json

    path.parent.mkdir(parents=True)
    torch.save({"generator": SuperSampler(CONFIG).state_dict()}, path)
    sizes = {"n_fft": 1024, "hop_size": 80, "win_size": 320, "hr_sampling_rate": 48_000}
    (path.parent / "config.json").write_text(json.dumps(sizes), encoding="utf-8")


async def test_v3_speaks_at_48_khz_where_the_file_is_there(service: SpeechService) -> None:  # noqa: F811
    write_network(service._models._tts.super_sampling_path)
    await service.switches.weights(sovits="v3.pth")
    for mode in (0, 3):
        synthesis = await service.synthesize(replace(REQUEST, **PROMPTED, super_sampling=True, streaming_mode=mode))
        assert synthesis.sample_rate_hz == 48_000
        assert not any("super_sampling" in warning for warning in synthesis.warnings)
        samples = [chunk.samples async for chunk in synthesis.chunks]
        plain = await service.synthesize(replace(REQUEST, **PROMPTED, streaming_mode=mode))
        at_24 = [chunk.samples async for chunk in plain.chunks]
        assert sum(map(len, samples)) == 2 * sum(map(len, at_24))


async def test_without_the_file_the_answer_says_that_it_is_left_out(service: SpeechService) -> None:  # noqa: F811
    for version in ("v3", "v2"):
        await service.switches.weights(sovits=f"{version}.pth")
        synthesis = await service.synthesize(replace(REQUEST, **PROMPTED, super_sampling=True))
        assert any("super_sampling" in warning for warning in synthesis.warnings)
        assert synthesis.sample_rate_hz in (24_000, 32_000)
        await synthesis.chunks.aclose()
