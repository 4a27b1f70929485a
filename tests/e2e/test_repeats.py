"""What the cache saves: a repeat runs no model and is fifty times cheaper; seven repeats in ten save 70 per cent."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip, read_metric, start_tiny, write_tiny

TOKENS, STEPS = "sovits_engine_semantic_tokens_total", "sovits_engine_decode_steps_total"
TEN_SECONDS = (
    "清晨的阳光洒在安静的湖面上，几只白鹭从远处慢慢飞来，停在水边的石头上。"
    "孩子们在草地上跑来跑去，笑声一直传到很远的地方。"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = start_tiny(write_tiny(tmp_path_factory.mktemp("tiny") / "served"))
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()


def test_a_repeated_sentence_runs_no_model(server: Served) -> None:
    """On the shipped model."""
    request = {"text": TEN_SECONDS, "text_lang": "zh", "voice_id": "female_calm", "seed": 5, "response": "audio"}
    with httpx.Client(base_url=server.url, timeout=300) as http:
        idle_s = server.processor_s()
        first = http.post("/tts", json=request)
        synthesis_s = server.processor_s() - idle_s
        assert (first.status_code, first.headers["x-cache"]) == (200, "miss")
        duration_s = (len(first.content) - 44) / 2 / int(first.headers["x-sample-rate"])
        assert duration_s > 8
        before = [read_metric(server, name) for name in (TOKENS, STEPS)]
        idle_s = server.processor_s()
        for _ in range(10):
            again = http.post("/tts", json=request)
            assert (again.headers["x-cache"], again.content) == ("hit", first.content)
        repeats_s = server.processor_s() - idle_s
        assert [read_metric(server, name) for name in (TOKENS, STEPS)] == before
    assert repeats_s / 10 < synthesis_s / 50


def test_seventy_per_cent_of_repeats_save_seventy_per_cent_of_the_tokens(tiny: Served) -> None:
    with httpx.Client(base_url=tiny.url, timeout=120) as http:
        reference = http.post("/upload_ref", files={"file": ("clip.wav", clip(1))}).json()["path"]
        fields = {"text_lang": "en", "ref_audio_path": reference, "seed": 1}
        texts = [f"This is sentence number {number % 12}." for number in range(40)]  # 28 of 40 are repeats
        cost = []
        for cached in (False, None):
            before = read_metric(tiny, TOKENS)
            for text in texts:
                assert http.post("/tts", json={**fields, "text": text, "cache": cached}).status_code == 200
            cost.append(read_metric(tiny, TOKENS) - before)
        all_tokens, made_tokens = cost
    assert all_tokens > 0
    assert 1 - made_tokens / all_tokens == pytest.approx(0.7, abs=0.05)
    assert read_metric(tiny, "sovits_cache_hits_total") == 28
