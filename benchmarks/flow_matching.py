"""v4 at full size: what a sentence of 5 s costs, and what is saved against drawing it the plain way."""

from __future__ import annotations

import functools
import json

import torch
from torch import Tensor

from benchmarks.parts import best_s
from benchmarks.seeded import MANIFESTS
from sovits_service.audio.dsp import denormalize_mel
from sovits_service.models.checkpoint import Checkpoint
from sovits_service.models.checkpoint_models import build_sovits, build_v4_vocoder
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from tools.parity import seeded_tensor

SPEECH_FRAMES, PROMPT_FRAMES = 500, 500  # 5 s each: a full window
SENTENCES = 2


def _state(name: str) -> tuple[dict[str, Tensor], dict[str, object]]:
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text(encoding="utf-8"))
    weights = manifest["state_dict"].items()
    return {key: seeded_tensor(key, *entry, manifest["salt"]) for key, entry in weights}, manifest.get("config", {})


def _plain(model: CfmSynthesizer, features: Tensor, prompt: Tensor, noise: Tensor, n_steps: int) -> Tensor:
    """One window at a time, with the condition and the modulations of every step computed in that step."""
    estimator = model.cfm.estimator
    frames = prompt.shape[2]
    whole = torch.cat([prompt, prompt.new_zeros(1, prompt.shape[1], noise.shape[2] - frames)], 2).transpose(1, 2)
    x = noise.transpose(1, 2).clone()
    x[:, :frames] = 0
    for step in range(n_steps):
        condition = estimator.condition(features.transpose(1, 2), whole, None)
        time = torch.tensor([step / n_steps])
        modulations = estimator.modulations(time, torch.full_like(time, 1 / n_steps))
        x = x + estimator(x, condition, modulations[0]) / n_steps
        x[:, :frames] = 0
    return x.transpose(1, 2)


@torch.inference_mode()
def measure_flow_matching() -> dict[str, float]:
    """Seconds for 5 s of speech at 8 and 32 steps, and the plain loop's time over ours for two windows."""
    state, config = _state("sovits_v4")
    model = build_sovits(Checkpoint(state, config, "v4"))
    assert isinstance(model, CfmSynthesizer)
    vocoder = build_v4_vocoder(_state("vocoder_v4")[0])
    generator = torch.Generator().manual_seed(0)
    frames = PROMPT_FRAMES + SPEECH_FRAMES
    features = torch.randn(SENTENCES, 512, frames, generator=generator)
    prompt = torch.randn(SENTENCES, 100, PROMPT_FRAMES, generator=generator).clamp(-1, 1)
    noise = torch.randn(SENTENCES, 100, frames, generator=generator)
    results: dict[str, float] = {}
    model.sample(features[:1], prompt[:1], noise[:1], 1)  # warms up
    for n_steps in (8, 32):
        draw = functools.partial(model.sample, features[:1], prompt[:1], noise[:1], n_steps)
        results[f"v4_mel_5s_{n_steps}_steps_s"] = best_s(draw, 1, warm_up=False)
    mel = denormalize_mel(noise[:1, :, PROMPT_FRAMES:].clamp(-1, 1))
    results["v4_vocoder_5s_s"] = best_s(lambda: vocoder(mel), 1)
    batched_s = best_s(lambda: model.sample(features, prompt, noise, 8), 1, warm_up=False)
    windows = [slice(i, i + 1) for i in range(SENTENCES)]
    plain_s = best_s(lambda: [_plain(model, features[i], prompt[i], noise[i], 8) for i in windows], 1, warm_up=False)
    results["v4_plain_over_cached_and_batched_8_steps"] = plain_s / batched_s
    return results


if __name__ == "__main__":
    print(json.dumps(measure_flow_matching()))
