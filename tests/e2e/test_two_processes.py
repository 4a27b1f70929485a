"""Two plain processes with one Redis, as pods without Ray: a change on one is soon on both, equal work is done once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import ROOT, Served
from tests.e2e.tiny_server import read_metric, start_tiny, write_tiny
from tests.tiny_pack import write_gpt
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

EVERYWHERE_S = 5.0
TEXT = {"text": "这个角色很好。", "text_lang": "zh", "seed": 3, "media_type": "raw", "cache": False}


@pytest.fixture
def pair(tmp_path: Path, redis_server: RedisServer) -> Iterator[tuple[Served, Served]]:
    config = write_tiny(tmp_path / "served")
    write_gpt(config.parent / "other.ckpt", seed=5)
    (tmp_path / "served/clips").mkdir()
    for name in ("female_calm", "male_narrator"):
        (tmp_path / f"served/clips/{name}.wav").write_bytes((ROOT / f"voices/{name}.wav").read_bytes())
    variables = {
        "SOVITS_SHARING__REDIS_URL": redis_server.url,
        "SOVITS_CACHE__BACKEND": "redis",
        "SOVITS_CACHE__REDIS_URL": redis_server.url,
        "SOVITS_ADMIN__ENABLED": "true",
        "SOVITS_WEIGHTS_ROOTS": "pack",
        "SOVITS_REFERENCE_ROOTS": "clips",
    }
    with ThreadPoolExecutor(2) as starting:  # each with a lexicon of its own
        lexicons = [{"SOVITS_LEXICON_PATH": f"{name}.yaml"} for name in ("one", "two")]
        started = list(starting.map(lambda lexicon: start_tiny(config, **variables, **lexicon), lexicons))
    try:
        yield started[0], started[1]
    finally:
        for served in started:
            served.process.kill()
            served.process.wait()


def speak(served: Served, **fields: Any) -> bytes:
    asked = {**TEXT, "ref_audio_path": "female_calm.wav", **fields}
    answer = httpx.post(f"{served.url}/tts", json=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def switch(served: Served, route: str, **query: str) -> float:
    """When it had taken effect there."""
    answer = httpx.get(f"{served.url}/{route}", params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return time.monotonic()


def test_a_change_on_one_reaches_both_between_requests(pair: tuple[Served, Served]) -> None:
    one, two = pair
    before = speak(one)
    assert speak(two) == before

    def follows(before: bytes, since_s: float, **fields: Any) -> bytes:
        """What the second says when it has changed: what the first says now, and nothing in between."""
        after = speak(one, **fields)
        assert after != before
        heard = [said for said, _ in itertools.groupby(_until_changed(two, before, fields))]
        assert heard == [before, after] or heard == [after]
        assert time.monotonic() - since_s < EVERYWHERE_S
        return after

    after = follows(before, switch(one, "set_gpt_weights", weights_path="other.ckpt"))
    (one.folder / "one.yaml").write_text("zh:\n  角色: jiao3 se4\n", encoding="utf-8")
    since_s = time.monotonic()
    while speak(one) == after:
        assert time.monotonic() - since_s < EVERYWHERE_S
    follows(after, since_s)
    switch(one, "set_refer_audio", refer_audio_path="male_narrator.wav")
    male = speak(one, ref_audio_path="male_narrator.wav")
    assert speak(one, ref_audio_path="") == male
    since_s = time.monotonic()
    while httpx.post(f"{two.url}/tts", json={**TEXT, "ref_audio_path": ""}, timeout=60).content != male:
        assert time.monotonic() - since_s < EVERYWHERE_S

    # Equal requests at the same time, on both: one of the two makes it.
    tokens = [read_metric(served, "sovits_engine_semantic_tokens_total") for served in pair]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: speak(pair[number % 2], seed=77, cache=True), range(8)))
    assert len(set(answers)) == 1
    made = [
        read_metric(served, "sovits_engine_semantic_tokens_total") - at for served, at in zip(pair, tokens, strict=True)
    ]
    assert sorted(map(bool, made)) == [False, True], made


def _until_changed(served: Served, before: bytes, fields: dict[str, Any]) -> Iterator[bytes]:
    while (said := speak(served, **fields)) == before:
        yield said
    yield said
