"""What goes wrong around a server: a clock that is set back, a full folder of weights, IPv6 alone, an early SIGTERM,
and a Redis with another version's values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from tests.e2e.conftest import Served, start_server
from tests.e2e.tiny_server import clip, start_tiny, write_tiny
from tests.tiny_pack import write_gpt
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

# Python imports this before anything else: what reads the clock later reads the one that the test sets.
CLOCK = """
import os, time
_time = time.time
def read():
    with open(os.environ["CLOCK_FILE"], encoding="ascii") as file:
        return _time() + float(file.read())
time.time, time.time_ns = read, lambda: int(read() * 1e9)
"""
TEXT = {"text": "你好。", "text_lang": "zh", "seed": 1, "top_k": 1}
HOUR_S = 3600


def end(served: Served) -> None:
    if served.process.poll() is None:
        served.process.kill()
    served.process.wait()


def upload(served: Served, number: int) -> str:
    answer = httpx.post(f"{served.url}/upload_ref", files={"file": clip(number)}, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["path"])


def say(served: Served, **fields: object) -> httpx.Response:
    return httpx.post(f"{served.url}/tts", json={**TEXT, **fields}, timeout=60)


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file with the seconds by which a server's clock is off."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    file = tmp_path / "clock"
    file.write_text("0", encoding="ascii")
    return file


def test_a_clock_that_is_set_back_an_hour_stops_nothing(tmp_path: Path, clock: Path) -> None:
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    served = start_tiny(
        write_tiny(tmp_path / "served"), PYTHONPATH=paths, CLOCK_FILE=str(clock), SOVITS_RATE_LIMIT="8/minute"
    )
    try:
        first = upload(served, 1)
        said = say(served, ref_audio_path=first)
        link = say(served, ref_audio_path=first, response="url").json()["url"]
        # Each counts, up to the limit: what was counted before must not count until the clock is there again.
        statuses = [httpx.get(f"{served.url}/voices").status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        clock.write_text(str(-HOUR_S), encoding="ascii")
        assert say(served, ref_audio_path=first).content == said.content
        assert say(served, ref_audio_path=first, seed=2).status_code == 200
        assert say(served, ref_audio_path=upload(served, 2)).status_code == 200
        assert httpx.get(link).content == said.content
        statuses = [httpx.get(f"{served.url}/voices").status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        assert int(httpx.get(f"{served.url}/voices").headers["Retry-After"]) <= 60
        assert httpx.get(f"{served.url}/health").status_code == 200
        assert served.end() == 0
    finally:
        end(served)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on the loopback address of IPv6 alone, with 1,000 GPTs to choose among."""
    config = write_tiny(tmp_path_factory.mktemp("crowded") / "served")
    weights = config.parent.parent / "weights"
    weights.mkdir()
    write_gpt(weights / "0.ckpt", seed=5)
    for number in range(1, 1000):
        os.link(weights / "0.ckpt", weights / f"{number}.ckpt")
    served = start_tiny(config, SOVITS_HOST="::1", SOVITS_WEIGHTS_ROOTS="weights", SOVITS_ADMIN__ENABLED="true")
    yield served
    end(served)


def test_a_server_speaks_on_ipv6_alone(crowded: Served) -> None:
    address = urlsplit(crowded.url)
    assert address.hostname == "::1"
    name = upload(crowded, 1)
    spoken = say(crowded, ref_audio_path=name)
    assert spoken.status_code == 200, spoken.text
    link = say(crowded, ref_audio_path=name, response="url").json()["url"]
    assert link.startswith(f"{crowded.url}/objects/")
    assert httpx.get(link).content == spoken.content
    page = httpx.get(f"{crowded.url}/", headers={"Accept": "text/html", "Origin": crowded.url})
    assert page.status_code == 200
    assert httpx.get(f"{crowded.url}/voices", headers={"Host": "rebound.example"}).status_code == 403
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{address.port}/health")


def test_one_of_a_thousand_weights_is_found_at_once_and_few_stay_loaded(crowded: Served) -> None:
    def switch(name: str) -> int:
        query = {"weights_path": name}
        return httpx.get(f"{crowded.url}/set_gpt_weights", params=query, timeout=60).status_code

    name = upload(crowded, 2)
    assert switch("999.ckpt") == 200
    spoken = say(crowded, ref_audio_path=name)
    assert spoken.status_code == 200
    assert [switch(f"{number}.ckpt") for number in range(12)] == [200] * 12
    assert say(crowded, ref_audio_path=name, cache=False).content == spoken.content  # all are one model
    assert switch("1000.ckpt") == 400


def test_sigterm_while_weights_are_read_ends_the_process(tmp_path: Path) -> None:
    """Weights on a disk that does not answer: reading a pipe that nobody writes to never ends."""
    config = write_tiny(tmp_path / "served")
    (config.parent / "gpt.ckpt").unlink()
    os.mkfifo(config.parent / "gpt.ckpt")
    served = start_server(tmp_path / "served", "-c", str(config))
    try:
        assert httpx.get(f"{served.url}/ready").status_code == 503
        assert served.end() == 0
    finally:
        end(served)


def test_a_redis_with_the_values_of_another_version_stops_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    url = redis_server.url
    variables = {
        "SOVITS_SHARING__REDIS_URL": url,
        "SOVITS_CACHE__BACKEND": "redis",
        "SOVITS_CACHE__REDIS_URL": url,
        "SOVITS_ADMIN__ENABLED": "true",
        "SOVITS_RATE_LIMIT": "1000/minute",
        "SOVITS_MAX_CONCURRENT_PER_CLIENT": "4",
    }
    config = write_tiny(tmp_path / "served")
    served = start_tiny(config, **variables)
    try:
        name = upload(served, 1)
        said = say(served, ref_audio_path=name, streaming_mode=0)
        assert httpx.get(f"{served.url}/set_refer_audio", params={"refer_audio_path": name}).status_code == 200
        with redis.Redis.from_url(url) as store:
            keys = list(store.scan_iter("*"))
            kinds = {key.decode().split(":")[1] for key in keys}
            assert {"audio", "state"} <= kinds
            audio = [key for key in keys if b":audio:" in key]
            spoil(store, keys)
            store.set(audio[0].replace(b"audio", b"flight"), "another's, and for ever")
        assert say(served, ref_audio_path=name, streaming_mode=0).content == said.content
        assert served.end() == 0
        again = start_tiny(config, **variables)
        try:
            assert say(again, ref_audio_path=name, streaming_mode=0).content == said.content
        finally:
            end(again)
    finally:
        end(served)


def spoil(store: redis.Redis, keys: list[bytes]) -> None:
    """Put something else under every key: of another form, or of another type."""
    for key in keys:
        kind = store.type(key)
        if kind == b"hash":
            for name in store.hkeys(key):
                store.hset(key, name, '{"version": 9, "gpt": ["\\ud800"]}')
            store.hset(key, "coming", "[[1], null]")
            store.hset(key, "voice", "a name of tomorrow")
        else:
            store.delete(key)
            store.hset(key, "version", "9")
