"""The demonstration pack by its own ears: the content encoder hears in the speech what the text says."""

from __future__ import annotations

import io
import json
import random
from functools import lru_cache

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from sovits_service.audio.dsp import resample
from sovits_service.models.checkpoint_encoders import load_hubert
from sovits_service.models.checkpoint_models import load_vits
from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import symbol_ids
from tests.e2e.conftest import ROOT, Served

PACK = ROOT / "pretrained_models/demo"
LIMIT_BYTES = 25_000_000
MARGIN = 0.2  # by how much farther the same phones in another order are from the speech; the pack reaches 0.4 to 0.8
SENTENCES = (
    ("zh", "female_calm", "我们在门口等了很久。"),
    ("en", "male_narrator", "We waited a long time at the door."),
    ("zh", "child_happy", "今天的天气真的很不错。"),
)


@lru_cache(maxsize=1)
def ears():
    torch.set_num_threads(1)
    meaning = json.loads((PACK / "codes.json").read_text(encoding="utf-8"))
    hubert, vits = load_hubert(PACK / "hubert"), load_vits(PACK / "sovits.pth")
    return hubert, vits, [phone.rstrip("012345") for phone in meaning["phones"]], meaning["parts"]


def distances(wav: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """For each phone (without tone and stress) how much farther it is than the nearest one, token by token."""
    hubert, vits, phones, parts = ears()
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    with torch.inference_mode():
        features = vits.ssl_proj(hubert(torch.from_numpy(resample(samples, rate_hz, 16_000))[None]))[0].t()
        vectors = vits.quantizer.codebook.embed[: len(phones) * parts]
        by_code = torch.cdist(features, vectors).square().numpy()
    by_phone: dict[str, npt.NDArray[np.float32]] = {}
    for index, phone in enumerate(phones):
        nearest = by_code[:, index * parts : (index + 1) * parts].min(axis=1)
        by_phone[phone] = np.minimum(by_phone[phone], nearest) if phone in by_phone else nearest
    nearest_of_all = np.min(list(by_phone.values()), axis=0)
    return {phone: distance - nearest_of_all for phone, distance in by_phone.items()}


def text_phones(text: str, language: str) -> list[str]:
    names = {number: name for name, number in symbol_ids("v2").items()}
    segments = Frontend().segments(text, language, "v2", "cut0")
    found = [names[number].rstrip("012345") for segment in segments for number in segment.phoneme_ids]
    return [name for name in found if name not in "!?…,.-"]


def cost(expected: list[str], heard: dict[str, npt.NDArray[np.float32]]) -> float:
    """Mean distance along the best monotonic path of the tokens through the phones; one phone may be passed over."""
    states = ["SIL", *expected, "SIL"]
    table = np.stack([heard[state] for state in states])
    best = np.full(len(states), np.inf)
    best[:2] = table[:2, 0]
    for token in range(1, table.shape[1]):
        moves = [best, np.r_[np.inf, best[:-1]], np.r_[np.inf, np.inf, best[:-2]]]
        best = np.min(moves, axis=0) + table[:, token]
    return float(best[-2:].min()) / table.shape[1]


def test_the_pack_is_small() -> None:
    assert sum(path.stat().st_size for path in PACK.rglob("*") if path.is_file()) <= LIMIT_BYTES


@pytest.mark.parametrize(("language", "voice", "text"), SENTENCES)
def test_the_speech_says_its_text_and_not_a_shuffled_one(server: Served, language: str, voice: str, text: str) -> None:
    expected = text_phones(text, language)
    margins = []
    for seed in range(3):
        request = {"text": text, "text_lang": language, "voice_id": voice, "seed": seed}
        answer = httpx.post(f"{server.url}/tts", json=request, timeout=300)
        assert answer.status_code == 200, answer.text
        heard = distances(answer.content)
        shuffled = [random.Random(order).sample(expected, len(expected)) for order in range(8)]
        others = [cost(phones, heard) for phones in shuffled]
        margins.append(float(np.median(others)) / cost(expected, heard) - 1.0)
    assert float(np.median(margins)) >= MARGIN
