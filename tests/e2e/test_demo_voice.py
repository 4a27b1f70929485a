"""The demonstration pack by its own ears: the content encoder hears in the speech what the text says."""

from __future__ import annotations

import difflib
import io
import itertools
import json
import random
from functools import lru_cache
from typing import Any

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
# Shares of the phones, tones and stress apart. Measured: 0.55 to 0.9 of the text's, 0.2 to 0.3 of a shuffled one's.
HEARD_AT_LEAST, OF_A_SHUFFLED_TEXT_AT_MOST = 0.45, 0.35
SENTENCES = (
    ("zh", "female_calm", "我们在门口等了很久。"),
    ("en", "male_narrator", "We waited a long time at the door."),
    ("zh", "child_happy", "今天的天气真的很不错。"),
    ("en", "female_calm", "There are 25 apples on the table."),
    ("zh", "male_narrator", "他用 computer 写了三百个字。"),
)


@lru_cache(maxsize=1)
def ears() -> Any:
    torch.set_num_threads(1)
    meaning = json.loads((PACK / "codes.json").read_text(encoding="utf-8"))
    hubert, vits = load_hubert(PACK / "hubert"), load_vits(PACK / "sovits.pth")
    return hubert, vits, [phone.rstrip("012345") for phone in meaning["phones"]], meaning["parts"]


def heard_phones(samples: np.ndarray, rate_hz: int) -> list[str]:
    """The phones that the content encoder reads in speech, one for each run of tokens, without silence."""
    hubert, vits, phones, parts = ears()
    with torch.inference_mode():
        codes = vits.extract_codes(hubert(torch.from_numpy(resample(samples, rate_hz, 16_000))[None]))[0].tolist()
    runs = [phone for phone, _ in itertools.groupby(phones[min(code // parts, len(phones) - 1)] for code in codes)]
    return [phone for phone in runs if phone != "SIL"]


def text_phones(text: str, language: str) -> list[str]:
    names = {number: name for name, number in symbol_ids("v2").items()}
    segments = Frontend().segments(text, language, "v2", "cut0")
    found = [names[number].rstrip("012345") for segment in segments for number in segment.phoneme_ids]
    return [phone for phone, _ in itertools.groupby(name for name in found if name not in "!?…,.-")]


def agreement(expected: list[str], heard: list[str]) -> float:
    return difflib.SequenceMatcher(None, expected, heard, autojunk=False).ratio()


def speak(server: Served, **request: object) -> tuple[np.ndarray, int]:
    answer = httpx.post(f"{server.url}/tts", json=request, timeout=300)
    assert answer.status_code == 200, answer.text
    return soundfile.read(io.BytesIO(answer.content), dtype="float32")


def test_the_pack_is_small() -> None:
    assert sum(path.stat().st_size for path in PACK.rglob("*") if path.is_file()) <= LIMIT_BYTES


@pytest.mark.parametrize(("language", "voice", "text"), SENTENCES)
def test_the_speech_says_its_text_and_not_a_shuffled_one(server: Served, language: str, voice: str, text: str) -> None:
    expected = text_phones(text, language)
    right, shuffled = [], []
    for seed in range(3):
        heard = heard_phones(*speak(server, text=text, text_lang=language, voice_id=voice, seed=seed))
        right.append(agreement(expected, heard))
        shuffled += [agreement(random.Random(n).sample(expected, len(expected)), heard) for n in range(5)]
    assert float(np.median(right)) >= HEARD_AT_LEAST
    assert float(np.median(shuffled)) <= OF_A_SHUFFLED_TEXT_AT_MOST


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_streamed_speech_says_its_text(server: Served, mode: int) -> None:
    language, voice, text = SENTENCES[0]
    samples, rate_hz = speak(server, text=text, text_lang=language, voice_id=voice, seed=1, streaming_mode=mode)
    assert agreement(text_phones(text, language), heard_phones(samples, rate_hz)) >= HEARD_AT_LEAST
