"""The recipe of the demonstration voice: sentences through the front end of the service, and every stage for a step."""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from sovits_service.models.checkpoint_models import load_vits
from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 13), reason="misaki needs a Python below 3.13")
RECIPE = Path(__file__).parents[2] / "tools/demo_voice"
PHONE_S = 0.09


class Recipe:
    """Its modules by name, which are scripts of one folder."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def recipe() -> Iterator[Recipe]:
    sys.path.insert(0, str(RECIPE))
    names, threads = {path.stem for path in RECIPE.glob("*.py")}, torch.get_num_threads()
    yield Recipe()
    torch.set_num_threads(threads)
    sys.path.remove(str(RECIPE))
    for name in names & set(sys.modules):
        del sys.modules[name]


def spoken(recipe: Recipe, language: str, rng: random.Random) -> tuple[str, list[tuple[str, float]]]:
    """A training sentence and its phones with durations, from a source that says every phoneme equally long."""
    text, groups = recipe.data.sentence(language, rng)
    durations = [PHONE_S] * (len(recipe.phones.source_string(groups)) + 2)
    return text, recipe.phones.align(groups, durations)


@pytest.mark.parametrize("language", ["zh", "en", "mixed"])
def test_tokens_say_what_the_front_end_reads(recipe: Recipe, language: str) -> None:
    rng = random.Random(3)
    for _ in range(12):
        text, aligned = spoken(recipe, language, rng)
        names = {number: name for name, number in symbol_ids("v2").items()}
        segments = Frontend().segments(text, "en" if language == "en" else "zh", "v2", "cut0")
        read = [names[number] for segment in segments for number in segment.phoneme_ids]
        tokens = recipe.codes.encode([name for name, _ in aligned], [seconds for _, seconds in aligned])
        assert list(tokens.symbols) == read, text
        said = [name for name in read if name not in recipe.codes.PUNCTUATION]
        assert recipe.codes.collapse(tokens.codes) == said, text
        assert len(tokens.codes) == len(tokens.owners) == len(tokens.edges) - 1


@pytest.fixture(scope="module")
def work(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in place of speech, with the phones of training sentences; held-out utterances too."""
    folder, rng, noise = tmp_path_factory.mktemp("work"), random.Random(5), np.random.default_rng(5)
    (folder / "wav").mkdir()
    rows = []
    for number in range(12):
        speaker = ("female_calm", "male_narrator", "child_happy", "heart")[number % 4]
        text, aligned = spoken(recipe, "en", rng)
        while not 1.6 < sum(seconds for _, seconds in aligned) < 3:
            text, aligned = spoken(recipe, "en", rng)
        row = recipe.data._row(f"{3 * (number // 4):04d}_{number}", speaker, "en", text, aligned)
        samples = 0.1 * noise.standard_normal(int(sum(row["seconds"]) * 32_000))
        soundfile.write(folder / "wav" / f"{row['id']}.wav", samples, 32_000)
        rows.append(json.dumps(row) + "\n")
    (folder / "utterances.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / "durations.jsonl").write_text("".join(rows[:3]), encoding="utf-8")
    return folder


def trained_for(recipe: Recipe, stage: str, work: Path, steps: int, **more: object) -> dict[str, torch.Tensor]:
    """The weights after as many steps in all."""
    defaults = {"work": work, "steps": steps, "lr": 1e-3, "seed": 1, "gan_from": 0, "prior_lr": 1e-3, "save_every": 1}
    getattr(recipe, stage).train(argparse.Namespace(**{**defaults, **more}))
    saved = torch.load(work / f"{stage}.pt", weights_only=True)
    assert saved["step"] == steps
    weights: dict[str, torch.Tensor] = saved["model"]
    assert all(value.isfinite().all() for value in weights.values())
    return weights


def test_every_stage_trains_goes_on_where_it_stopped_and_ends_in_a_pack(
    recipe: Recipe, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage, size in (("content", "BATCH"), ("vocoder", "BATCH"), ("prior", "RECORDED"), ("prior", "UNRECORDED")):
        monkeypatch.setattr(getattr(recipe, stage), size, 2)  # in place of about ten, for time
    for stage in ("content", "vocoder", "prior"):
        trained_for(recipe, stage, work, 1)
    first = trained_for(recipe, "tune", work, 2)
    second = trained_for(recipe, "tune", work, 3)
    changed = {name.split(".")[0] for name in first if not first[name].equal(second[name])}
    assert changed == {"enc_p", "flow", "ref_enc", "dec"}
    recipe.pack.pack_sovits(work, work)
    tokens = torch.tensor([[60, 61, 62, 0, 0]])
    model = load_vits(work / "sovits.pth")
    with torch.inference_mode():
        style = model.style_embedding([torch.rand(1, 704, 50)])
        prior = model.encode(tokens, torch.tensor([[1, 2]]), style)
        wave = model.vocode(model.latents(prior, style, torch.zeros_like(prior.mean)), style)
    assert wave.shape[-1] == 5 * recipe.features.SAMPLES_PER_TOKEN
    assert wave.isfinite().all()
