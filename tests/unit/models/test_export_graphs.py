"""The exported graphs against the models that they were written from, each part by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from sovits_service.audio.dsp import (
    denormalize_mel,
    fbank,
    kaldi_mel_filters,
    linear_spectrogram,
    mel_filters,
    mel_spectrogram,
    normalize_mel,
)
from sovits_service.models.bert import Bert
from sovits_service.models.checkpoint_encoders import load_bert
from sovits_service.models.checkpoint_models import load_bigvgan, load_gpt, load_sovits, load_speaker, load_v4_vocoder
from sovits_service.models.gpt import GptConfig
from sovits_service.models.hubert import Hubert
from sovits_service.models.onnx.export import graphs
from sovits_service.models.onnx.graph import CONTRIB
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import ModelVersion
from tests import tiny_versions
from tests.tiny_pack import write_bert, write_gpt
from tests.tiny_sizes import HUBERT

Run = Callable[..., dict[str, np.ndarray]]
Value = Tensor | np.ndarray | list[float]


def arrays(inputs: Mapping[str, Value]) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(value, np.float32) if isinstance(value, list) else np.asarray(value)
        for name, value in inputs.items()
    }


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a graph of the test's folder on named inputs; what a graph is must hold for the checker too."""
    sessions: dict[str, onnxruntime.InferenceSession] = {}

    def run_graph(name: str, **inputs: Value) -> dict[str, np.ndarray]:
        if name not in sessions:
            path = str(tmp_path / f"{name}.onnx")
            onnx.checker.check_model(path, full_check=True)
            assert {node.domain for node in onnx.load(path, load_external_data=False).graph.node} == {""}
            sessions[name] = onnxruntime.InferenceSession(path)
        session = sessions[name]
        outputs = [port.name for port in session.get_outputs()]
        return dict(zip(outputs, session.run(outputs, arrays(inputs)), strict=True))

    return run_graph


def assert_near(actual: np.ndarray, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(actual, expected.numpy(), atol=2e-5 * scale, rtol=0)


@pytest.mark.parametrize("version", VERSIONS)
@torch.inference_mode()
def test_the_parts_of_sovits(version: ModelVersion, tmp_path: Path, run: Run) -> None:
    model = load_sovits(tiny_versions.write_sovits(tmp_path / "sovits.pth", version))
    config = model.config
    graphs.write_sovits(model, tmp_path)
    samples = torch.randn(1, 30_000) * 0.3
    speakers = [torch.randn(1, config.speaker_embedding_channels)] if config.speaker_embedding_channels else None
    spectrum = linear_spectrogram(
        samples / samples.abs().max().clamp(1.0, 2.0), config.filter_length, config.hop_length
    )
    style = model.style_embedding([spectrum[:, : config.ref_spec_bins]], speakers)
    inputs: dict[str, Value] = {"samples": samples}
    if speakers:
        inputs["speaker_embedding"] = speakers[0]
    assert_near(run("style_encoder", **inputs)["style_embedding"], style)
    for n_tokens, speed in ((17, 1.0), (17, 1.3), (6, 0.8), (1, 1.0)):
        tokens = torch.randint(0, 1024, (1, n_tokens))
        ids = torch.randint(0, config.n_phonemes, (9,))
        given: dict[str, Value] = {"semantic_tokens": tokens, "phoneme_ids": ids, "style_embedding": style}
        frames = 2 * n_tokens if speed == 1.0 else int(2 * n_tokens / speed) + 1
        if isinstance(model, Vits):
            noise = torch.randn(1, config.inter_channels, frames)
            latents = model.latents(model.encode(tokens, ids[None], style, speed=speed), style, noise)
            assert_near(run("sovits", **given, noise=noise)["latents"], latents)
            wave = run("vocoder", latents=latents, style_embedding=style)["samples"]
            assert_near(wave, model.vocode(latents, style))
        else:
            per_token = 2.0 + model.flow_matching.frames_per_latent
            audible = int(n_tokens * per_token / speed) + (speed != 1.0)
            features, _ = model.encode(tokens, ids[None], style, speed=speed)
            found = run("sovits", **given, latent_frames=np.array([frames]), audible_frames=np.array([audible]))
            assert_near(found["features"], features)


@pytest.mark.parametrize("version", ["v3", "v4"])
@torch.inference_mode()
def test_the_steps_of_flow_matching_and_the_mel_that_they_go_on_from(
    version: ModelVersion, tmp_path: Path, run: Run
) -> None:
    model = load_sovits(tiny_versions.write_sovits(tmp_path / "sovits.pth", version))
    assert not isinstance(model, Vits)
    graphs.write_sovits(model, tmp_path)
    features, prompt = torch.randn(1, 16, 40), torch.randn(1, 100, 7)
    noise, steps = torch.randn(1, 100, 40), 4
    mel = noise.numpy().copy()
    mel[..., :7] = 0.0
    for step in range(steps):
        whole = np.pad(prompt, ((0, 0), (0, 0), (0, 33)))
        times = {"time": [step / steps], "step_size": [1 / steps]}
        mel += run("cfm_step", mel=mel, features=features, prompt=whole, **times)["velocity"] / steps
        mel[..., :7] = 0.0
    assert_near(mel, model.sample(features, prompt, noise, steps))
    spec, samples = model.flow_matching.mel, torch.randn(1, 20_000) * 0.1
    graphs.write_mel(spec, mel_filters(spec.sample_rate_hz, spec.fft_samples, spec.n_mels), tmp_path)
    expected = mel_spectrogram(samples, spec.sample_rate_hz, spec.fft_samples, spec.hop_samples, spec.n_mels)
    assert_near(run("reference_mel", samples=samples)["ref_mel"], normalize_mel(expected))


@torch.inference_mode()
def test_vocoders_and_the_speaker_encoder(tmp_path: Path, run: Run) -> None:
    tiny_versions.write_companions(tmp_path)
    mel = torch.rand(1, 100, 31) * 2 - 1
    bigvgan = load_bigvgan(tmp_path / "models--nvidia--bigvgan_v2_24khz_100band_256x")
    hifigan = load_v4_vocoder(tmp_path / "gsv-v4-pretrained/vocoder.pth")
    for vocoder in (bigvgan, hifigan):
        (tmp_path / type(vocoder).__name__).mkdir()
        graphs.write_vocoder(vocoder, 24_000, tmp_path / type(vocoder).__name__)
        assert_near(run(f"{type(vocoder).__name__}/vocoder", mel=mel)["samples"], vocoder(denormalize_mel(mel)))
    speaker, samples = load_speaker(tmp_path / "sv/pretrained_eres2netv2w24s4ep4.ckpt"), torch.randn(1, 16_000) * 0.1
    graphs.write_speaker(speaker, kaldi_mel_filters(16_000, 512, 80), tmp_path)
    assert_near(run("speaker_encoder", samples=samples)["speaker_embedding"], speaker(fbank(samples)))


@torch.inference_mode()
def test_hubert_and_the_codebook(tmp_path: Path, run: Run) -> None:
    sovits = load_sovits(tiny_versions.write_sovits(tmp_path / "sovits.pth", "v2"))
    torch.manual_seed(0)
    hubert = Hubert(HUBERT).requires_grad_(False).eval()
    graphs.write_hubert(hubert, sovits, tmp_path)
    samples = torch.randn(1, 12_000) * 0.1
    found, features = run("hubert", samples=samples), hubert(samples)
    assert_near(found["ssl_features"], features)
    np.testing.assert_array_equal(found["prompt_tokens"], sovits.extract_codes(features).numpy())


@torch.inference_mode()
def test_bert_and_its_tokenizer(tmp_path: Path, run: Run) -> None:
    bert: Bert = load_bert(write_bert(tmp_path / "bert"))
    graphs.write_bert(bert, tmp_path, is_fused=False)
    text = "今天天气好"
    words = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    hidden = run("bert", ids=np.array([words[piece] for piece in ("[CLS]", *text, "[SEP]")]))["hidden"]
    assert_near(hidden[1:-1], bert([text])[0])


GPT = GptConfig(width=64, heads=4, layers=2, feed_forward=64, phoneme_vocab=732, semantic_vocab=1025)


@pytest.mark.parametrize("is_fused", [False, True])
@torch.inference_mode()
def test_the_gpt_speaks_alone_and_in_company(is_fused: bool, tmp_path: Path) -> None:
    model = load_gpt(write_gpt(tmp_path / "gpt.ckpt", config=GPT))
    graphs.write_gpt(model, tmp_path, is_fused=is_fused)
    prefill, step = (onnxruntime.InferenceSession(str(tmp_path / f"gpt_{name}.onnx")) for name in ("prefill", "step"))
    operators = onnx.load(tmp_path / "gpt_step.onnx", load_external_data=False).graph.node
    assert (CONTRIB in {node.domain for node in operators}) == is_fused
    names = [f"{part}_{layer}" for layer in range(2) for part in ("keys", "values")]
    slots = model.open_slots(2, 32)
    caches: dict[str, Any] = {name: np.zeros((2, 4, 32, 16), np.float32) for name in names}
    lengths = []
    for slot, (n_text, n_prompt) in enumerate(((13, 7), (5, 0))):
        ids, bert = torch.randint(0, 732, (n_text,)), torch.randn(n_text, 1024)
        prompt = torch.randint(0, 1024, (n_prompt,))
        inputs = arrays({"phoneme_ids": ids, "bert": bert, "prompt_tokens": prompt})
        logits, *entries = prefill.run(["logits", *names], inputs)
        assert_near(logits[0], slots.prefill(ids, bert, prompt, slot))
        for name, entry in zip(names, entries, strict=True):
            caches[name][slot, :, : n_text + n_prompt] = entry[0]
        lengths.append((n_prompt, n_text + n_prompt))
    binding = step.io_binding()
    for name, cache in caches.items():  # in place
        place = ("cpu", 0, cache.dtype, cache.shape, cache.ctypes.data)
        binding.bind_input(name, *place)
        binding.bind_output(f"new_{name}", *place)
    for done in range(3):
        tokens = torch.tensor([5, 900 + done])
        positions, filled = (torch.tensor(column) + done for column in zip(*lengths, strict=True))
        for name, value in {"tokens": tokens, "positions": positions, "lengths": filled}.items():
            binding.bind_cpu_input(name, value.numpy())
        binding.bind_output("logits")
        step.run_with_iobinding(binding)
        logits = binding.get_outputs()[-1].numpy()
        assert_near(logits, slots.decode_step(tokens, positions, filled, 32))
