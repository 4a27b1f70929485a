"""The demonstration pack by its own ears: the content encoder hears in the speech what the text says."""

from __future__ import annotations

import io
import json
from functools import lru_cache

import httpx
import numpy as np
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
HEARD_AT_LEAST = 0.35  # share of the text's phones; the pack reaches about 0.5, and another text about 0.15
SENTENCES = (
    ("zh", "female_calm", "我们在门口等了很久。", "那座山上有一个小村庄。"),
    ("en", "male_narrator", "We waited a long time at the door.", "Nobody sells fish in the village."),
    ("zh", "child_happy", "今天的天气真的很不错。", "老师买了两本新书。"),
)


@lru_cache(maxsize=1)
def ears():
    torch.set_num_threads(1)
    meaning = json.loads((PACK / "codes.json").read_text(encoding="utf-8"))
    return load_hubert(PACK / "hubert"), load_vits(PACK / "sovits.pth"), meaning["phones"], meaning["parts"]


def heard_phones(wav: bytes) -> list[str]:
    """The phones of a clip without tone and stress, silences and repetitions left out."""
    hubert, vits, phones, parts = ears()
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    with torch.inference_mode():
        codes = vits.extract_codes(hubert(torch.from_numpy(resample(samples, rate_hz, 16_000))[None]))[0].tolist()
    bases = [phones[code // parts].rstrip("012345") for code in codes if code // parts < len(phones)]
    return [b for b, before in zip(bases, [None, *bases], strict=False) if b not in (before, "SIL")]


def text_phones(text: str, language: str) -> list[str]:
    names = {number: name for name, number in symbol_ids("v2").items()}
    segments = Frontend().segments(text, language, "v2", "cut0")
    found = [names[number].rstrip("012345") for segment in segments for number in segment.phoneme_ids]
    return [name for name in found if name not in "!?…,.-"]


def agreement(expected: list[str], heard: list[str]) -> float:
    """Length of the longest common subsequence over the expected length."""
    row = np.zeros(len(heard) + 1, dtype=int)
    for phone in expected:
        before = row.copy()
        for i, other in enumerate(heard):
            row[i + 1] = before[i] + 1 if other == phone else max(before[i + 1], row[i])
    return float(row[-1]) / len(expected)


def test_the_pack_is_small() -> None:
    assert sum(path.stat().st_size for path in PACK.rglob("*") if path.is_file()) <= LIMIT_BYTES


@pytest.mark.parametrize(("language", "voice", "text", "other"), SENTENCES)
def test_what_is_heard_is_what_the_text_says(server: Served, language: str, voice: str, text: str, other: str) -> None:
    shares = []
    for seed in range(3):
        request = {"text": text, "text_lang": language, "voice_id": voice, "seed": seed}
        answer = httpx.post(f"{server.url}/tts", json=request, timeout=300)
        assert answer.status_code == 200, answer.text
        heard = heard_phones(answer.content)
        shares.append((agreement(text_phones(text, language), heard), agreement(text_phones(other, language), heard)))
    right, wrong = np.median(np.array(shares), axis=0)
    assert right >= HEARD_AT_LEAST
    assert right >= wrong + 0.1
