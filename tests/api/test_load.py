"""Two hundred clients at once: nothing is lost, nothing is mixed, the limits hold, memory stays."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.api.fast_service import FastService, heard, pitch_hz

CLIENTS, REQUESTS_EACH = 200, 2


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def converse(base_url: str, number: int, statuses: Counter[int]) -> None:
    """One client with a connection of its own: a few requests, each checked by ear."""
    voice = ("amy", "bob")[number % 2]
    async with httpx.AsyncClient(base_url=base_url, timeout=60.0, verify=False) as http:
        for turn in range(REQUESTS_EACH):
            text = f"{number:03}x{turn}"
            fields = {"text": text, "text_lang": "en", "voice_id": voice, "media_type": "raw"}
            answer = await http.post("/tts", json={**fields, "streaming_mode": (number + turn) % 4})
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
                continue
            samples = np.frombuffer(answer.content, "<i2") / 32768
            assert heard(samples, len(text)) == pytest.approx([pitch_hz(voice, c) for c in text], abs=8.0)


async def test_everybody_is_answered_and_nobody_hears_another(base_url: str, service: FastService) -> None:
    statuses: Counter[int] = Counter()
    resident: list[int] = []
    for _ in range(3):
        await asyncio.gather(*(converse(base_url, number, statuses) for number in range(CLIENTS)))
        gc.collect()
        resident.append(resident_bytes())
    assert statuses == {200: 3 * CLIENTS * REQUESTS_EACH}
    assert service.started == service.closed == 3 * CLIENTS * REQUESTS_EACH
    assert resident[2] - resident[0] < 30 * 2**20  # the first round brings threads and buffers to their size


async def test_what_is_too_much_is_refused_and_the_rest_is_right(base_url: str, service: FastService) -> None:
    service.places = 8
    statuses: Counter[int] = Counter()
    await asyncio.gather(*(converse(base_url, number, statuses) for number in range(CLIENTS)))
    assert set(statuses) == {200, 503}
    assert sum(statuses.values()) == CLIENTS * REQUESTS_EACH
    assert service.most_running <= 8
    assert service.started == service.closed == statuses[200]
