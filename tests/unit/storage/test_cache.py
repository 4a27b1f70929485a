"""What a key is made of; both back ends keep, bound, lose and outlive as they say."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from sovits_service.errors import SettingsError
from sovits_service.storage.replicas.redis_link import CircuitBreaker
from sovits_service.storage.results.cache import CachedAudio, ResultCache, cache_key, pack_audio, unpack_audio
from sovits_service.storage.results.disk_cache import DiskCache
from sovits_service.storage.results.redis_cache import RedisCache
from sovits_service.types import ReferenceAudio, SamplingParams, SynthesisRequest, TimedText
from tests.unit.storage.conftest import RedisServer
from tests.unit.storage.killed import kill_at_work

REQUEST = SynthesisRequest(text="你好。", text_lang="zh", ref_audio="a", prompt_text="嗨", prompt_lang="zh", seed=7)
AUDIO = CachedAudio(b"\0\1RIFF" * 1000, "wav", 32000, 1.5, 7, 2, ("noise: much",))


def key(request: SynthesisRequest = REQUEST, **changes: object) -> str:
    arguments: dict[str, object] = {"media_type": "wav", "reference_hashes": ["r1"], "weights_hashes": ["g", "s"]}
    return cache_key(request, **(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "你好！"},
        {"text_lang": "auto"},
        {"prompt_text": "喂"},
        {"prompt_lang": "en"},
        {"split_method": "cut0"},
        {"sampling": SamplingParams(top_k=5)},
        {"sampling": SamplingParams(top_p=0.9)},
        {"sampling": SamplingParams(temperature=0.9)},
        {"sampling": SamplingParams(repetition_penalty=1.0)},
        {"sampling": SamplingParams(max_new_tokens=9)},
        {"speed": 1.1},
        {"pause_s": 0.2},
        {"seed": 8},
        {"seed": None},
        {"streaming_mode": 2},
        {"streaming_mode": 3},
        {"cfm_steps": 16},
        {"super_sampling": True},
        {"read_emoji": True},
        {"source": ReferenceAudio(np.zeros(1, np.float32), 16_000, "recording")},
        {"timestamps": "word"},
    ],
)
def test_whatever_changes_the_sound_changes_the_key(changes: dict[str, object]) -> None:
    assert key(replace(REQUEST, **changes)) != key()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"media_type": "mp3"},
        {"reference_hashes": ["r2"]},
        {"reference_hashes": ["r1", "r2"]},
        {"weights_hashes": ["g2", "s"]},
        {"weights_hashes": ["g", "s2"]},
        {"timbre_hash": "r2"},
    ],
)
def test_content_counts(changes: dict[str, object]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"ref_audio": "/another/path.wav"},
        {"aux_ref_audio": ("x",)},
        {"timbre_ref_audio": "x"},
        {"voice_id": "calm"},
        {"timeout_s": 3.0},
        {"text_lang": "ZH"},
        {"text": " 你好。\n"},
        {"streaming_mode": 1},
        {"overlap_tokens": 9},
        {"speed": 1},
    ],
)
def test_what_does_not_change_the_sound_does_not_count(changes: dict[str, object]) -> None:
    assert key(replace(REQUEST, **changes)) == key()  # type: ignore[arg-type]


def test_a_moved_boundary_between_fields_is_another_key() -> None:
    one = replace(REQUEST, text="ab", prompt_text="c")
    assert key(one) != key(replace(one, text="a", prompt_text="bc"))
    assert key(replace(REQUEST, text='a","seed":1')) != key(replace(REQUEST, text="a"))


def test_chunk_sizes_count_where_there_are_chunks() -> None:
    chunked = replace(REQUEST, streaming_mode=3)
    assert key(chunked) != key(replace(chunked, min_chunk_tokens=20))


def test_a_packed_answer_comes_back() -> None:
    assert unpack_audio("k", pack_audio("k", AUDIO)) == AUDIO
    word = TimedText("你", 0, 1, 0.04, 0.2, 0.9)
    timed = replace(AUDIO, words=(word,), cues=(word._replace(text="你好。", end=3),))
    assert unpack_audio("k", pack_audio("k", timed)) == timed
    for wrong in (word._replace(end_s=0.0), word._replace(start=-1), word._replace(confidence=2.0)):
        assert unpack_audio("k", pack_audio("k", replace(AUDIO, words=(wrong,)))) is None
    assert AUDIO.etag == replace(AUDIO, seed=1).etag
    assert AUDIO.etag != replace(AUDIO, data=b"x").etag


def test_a_torn_changed_or_misplaced_value_is_nothing() -> None:
    value = pack_audio("k", AUDIO)
    assert unpack_audio("other", value) is None
    for length in (0, 3, 4, 19, 20, 23, 24, len(value) // 2, len(value) - 1):
        assert unpack_audio("k", value[:length]) is None
    for position in range(0, len(value), 97):
        changed = bytearray(value)
        changed[position] ^= 1
        assert unpack_audio("k", bytes(changed)) is None


async def check_back_end(cache: ResultCache) -> None:
    assert await cache.get("k") is None
    await cache.put("k", AUDIO)
    await cache.put("other", replace(AUDIO, data=b"other"))
    assert await cache.get("k") == AUDIO
    assert await cache.get("other") == replace(AUDIO, data=b"other")
    await cache.put("k", replace(AUDIO, seed=1))
    found = await cache.get("k")
    assert found is not None
    assert found.seed == 1
    assert (cache.counts.hits, cache.counts.misses, cache.counts.writes, cache.counts.failures) == (3, 1, 3, 0)
    await cache.close()


async def test_disk_keeps_and_replaces(tmp_path: Path) -> None:
    await check_back_end(DiskCache(tmp_path / "cache"))


async def test_redis_keeps_and_replaces(redis_server: RedisServer) -> None:
    await check_back_end(RedisCache(redis_server.url))


async def test_disk_survives_a_restart(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    await cache.put("k", AUDIO)
    await cache.close()
    again = DiskCache(tmp_path)
    assert await again.get("k") == AUDIO
    await again.clear()
    assert await again.get("k") is None
    await again.close()


async def test_disk_stays_within_its_bytes_and_drops_the_least_recently_used(tmp_path: Path) -> None:
    entry = replace(AUDIO, data=b"x" * 10_000)
    cache = DiskCache(tmp_path, max_bytes=10 * len(pack_audio("k00", entry)))
    for number in range(10):
        await cache.put(f"k{number:02}", entry)
    assert await cache.get("k00") is not None
    await cache.put("k10", entry)
    assert cache.counts.evictions == 1
    assert await cache.get("k01") is None
    assert await cache.get("k00") is not None
    for number in range(200):
        await cache.put(f"m{number:02}", entry)
        assert await cache.size_bytes() <= 10 * len(pack_audio("k00", entry))
    assert (tmp_path / "answers-v2.0.sqlite3").stat().st_size < 300_000
    await cache.put("huge", replace(AUDIO, data=b"x" * 200_000))
    assert await cache.get("huge") is None
    assert await cache.get("m199") is not None
    await cache.close()


async def test_two_processes_may_share_a_disk_cache(tmp_path: Path) -> None:
    one, two = DiskCache(tmp_path), DiskCache(tmp_path)
    await asyncio.gather(*(one.put(f"a{n}", AUDIO) for n in range(20)), *(two.put(f"b{n}", AUDIO) for n in range(20)))
    for number in range(20):
        assert await one.get(f"b{number}") == await two.get(f"a{number}") == AUDIO
    assert one.counts.failures == two.counts.failures == 0
    await one.close()
    await two.close()


async def test_processes_may_open_a_new_disk_cache_at_once(tmp_path: Path) -> None:
    for number in range(40):
        caches = [DiskCache(tmp_path / str(number)) for _ in range(4)]
        await asyncio.gather(*(cache.size_bytes() for cache in caches))
        assert sum(cache.counts.failures for cache in caches) == 0
        for cache in caches:
            await cache.close()


async def test_a_damaged_disk_cache_is_set_aside_once_and_an_empty_one_begins(tmp_path: Path) -> None:
    damaged = b"this is no database" * 1000
    (tmp_path / "answers-v2.0.sqlite3").write_bytes(damaged)
    caches = [DiskCache(tmp_path) for _ in range(4)]
    assert await asyncio.gather(*(cache.get("k") for cache in caches)) == [None] * 4
    assert 1 <= sum(cache.counts.failures for cache in caches) <= 4
    await caches[0].put("k", AUDIO)
    for cache in caches:
        assert await cache.get("k") == AUDIO
        await cache.close()
    assert (tmp_path / "answers-v2.0.damaged").read_bytes() == damaged
    assert [file.name for file in tmp_path.glob("*.sqlite3")] == ["answers-v2.1.sqlite3"]


async def test_a_file_that_another_process_set_aside_is_left(tmp_path: Path) -> None:
    one, two = DiskCache(tmp_path), DiskCache(tmp_path)
    await one.put("k", AUDIO)
    assert await two.get("k") == AUDIO  # both have the file open
    for file in tmp_path.glob("answers-v2.0.sqlite3*"):
        file.rename(file.with_name(file.name.replace("sqlite3", "damaged")))
    await two.put("new", AUDIO)
    assert await one.get("new") == AUDIO
    await one.close()
    assert await two.get("new") == AUDIO  # closing deletes SQLite's journal by its name
    assert one.counts.failures == two.counts.failures == 0
    await two.close()


async def test_damage_after_damage_keeps_the_last_file_only(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"answers-v2.{number}.sqlite3").write_bytes(b"this is no database" * 1000)
        cache = DiskCache(tmp_path)
        assert await cache.get("k") is None
        await cache.close()
    assert [file.name for file in tmp_path.iterdir()] == ["answers-v2.2.damaged"]


async def test_the_file_of_another_version_stays_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "answers-v1.0.sqlite3"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE entries (key TEXT, mine INTEGER)")
    database.close()
    before = other.read_bytes()
    cache = DiskCache(tmp_path)
    await cache.put("k", AUDIO)
    assert await cache.get("k") == AUDIO
    await cache.close()
    assert other.read_bytes() == before


async def test_an_error_that_is_no_damage_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path)
    await cache.put("k", AUDIO)

    def failing(*_: object) -> None:
        raise sqlite3.IntegrityError("UNIQUE constraint failed")

    with monkeypatch.context() as patch:
        patch.setattr("sovits_service.storage.results.disk_cache._read", failing)
        assert await cache.get("k") is None
    assert await cache.get("k") == AUDIO
    assert cache.counts.failures == 1
    await cache.close()


async def test_a_changed_byte_on_the_disk_is_a_miss_and_goes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    await cache.put("k", AUDIO)
    with sqlite3.connect(tmp_path / "answers-v2.0.sqlite3") as database:
        (value,) = database.execute("SELECT value FROM blobs").fetchone()
        database.execute("UPDATE blobs SET value = ?", (value[:-3] + b"???",))
    database.close()
    assert await cache.get("k") is None
    assert await cache.size_bytes() == 0
    await cache.close()


async def test_a_folder_that_cannot_be_written_is_no_failure_of_a_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(tmp_path / "file/cache")
    await cache.put("k", AUDIO)
    assert await cache.get("k") is None
    assert cache.counts.failures == 2
    await cache.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from sovits_service.storage.results.cache import CachedAudio
from sovits_service.storage.results.disk_cache import DiskCache

async def main():
    cache = DiskCache(Path(sys.argv[1]), max_bytes=6_000_000)
    for i in range(1_000_000):
        await cache.put(f"key{i % 40}", CachedAudio(bytes([i % 251]) * ((1 + i % 40) * 10_000), "wav", 32000, 1.0, i))
        if i % 5 == 0:
            print(i, flush=True)

asyncio.run(main())
"""


def test_kill_9_in_the_middle_of_writes_leaves_whole_answers_only(tmp_path: Path) -> None:
    for round_ in range(6):
        kill_at_work(WRITER, tmp_path, 4 + round_ * 3)
        asyncio.run(_check_every_answer_is_whole(tmp_path))
        with sqlite3.connect(tmp_path / "answers-v2.0.sqlite3") as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            orphans = database.execute("SELECT count(*) FROM blobs WHERE id NOT IN (SELECT id FROM entries)")
            assert orphans.fetchone() == (0,)
        database.close()


async def _check_every_answer_is_whole(folder: Path) -> None:
    cache = DiskCache(folder, max_bytes=6_000_000)
    found = 0
    for number in range(40):
        audio = await cache.get(f"key{number}")
        if audio is not None:
            found += 1
            assert audio.data == bytes([audio.seed % 251]) * ((1 + number) * 10_000)
    assert found >= 10
    assert cache.counts.failures == 0
    assert await cache.size_bytes() <= 6_000_000
    await cache.close()


async def test_answers_expire_in_redis(redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    cache = RedisCache(redis_server.url, ttl_s=3600)
    await cache.put("k", AUDIO)
    client = Redis.from_url(redis_server.url)
    assert 3590 < await client.ttl("sovits:audio:k") <= 3600
    await client.set("sovits:audio:k", b"torn")
    assert await cache.get("k") is None
    await client.flushall()
    assert await cache.get("k") is None
    assert cache.counts.failures == 0
    await client.aclose()
    await cache.close()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_stopped_redis_is_bypassed_and_comes_back_by_itself(redis_server: RedisServer) -> None:
    clock = Clock()
    cache = RedisCache(redis_server.url, timeout_s=0.3, breaker=CircuitBreaker(3, 5.0, clock))
    await cache.put("k", AUDIO)
    redis_server.stop()
    for _ in range(10):
        assert await cache.get("k") is None
    assert cache.counts.failures == 3
    assert cache.counts.bypassed == 7
    redis_server.start()
    assert await cache.get("k") is None  # still within the pause
    clock.now = 5.1
    await cache.put("k", AUDIO)
    assert await cache.get("k") == AUDIO
    assert cache.counts.failures == 3
    await cache.close()


async def test_a_frozen_redis_delays_a_few_requests_alone(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    cache = RedisCache(redis_server.url, timeout_s=0.1, breaker=CircuitBreaker(2, 5.0, clock))
    await cache.put("k", AUDIO)
    redis_server.freeze()
    waits_s: list[float] = []
    wait_for = asyncio.wait_for

    def known_wait_for(work: Awaitable[Any], timeout_s: float) -> Awaitable[Any]:
        waits_s.append(timeout_s)
        return wait_for(work, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "wait_for", known_wait_for)
        for _ in range(50):
            assert await cache.get("k") is None
    assert set(waits_s) == {0.1}
    assert len(waits_s) <= 4  # of two requests, and within them of redis-py
    assert (cache.counts.failures, cache.counts.bypassed) == (2, 48)
    redis_server.thaw()
    clock.now = 6
    assert await cache.get("k") == AUDIO
    await cache.close()


async def test_no_request_fails_while_redis_stops_freezes_restarts_and_forgets(redis_server: RedisServer) -> None:
    from redis import Redis as BlockingRedis

    served = 0
    one_more = asyncio.Event()
    breaker = CircuitBreaker(3, 20.0, lambda: float(served))  # it pauses for 20 requests
    cache = RedisCache(redis_server.url, timeout_s=0.05, breaker=breaker)
    audios = {f"k{n}": replace(AUDIO, seed=n) for n in range(6)}
    done = asyncio.Event()

    async def client(name: str) -> None:
        nonlocal served
        while not done.is_set():
            found = await cache.get(name)
            assert found is None or found == audios[name]
            if found is None:
                await cache.put(name, audios[name])
            served += 1
            one_more.set()
            await asyncio.sleep(0)  # the others' turn: where Redis is bypassed nothing waits

    clients = [asyncio.ensure_future(client(name)) for name in audios for _ in range(5)]
    for _ in range(3):
        for trouble in (redis_server.stop, redis_server.start, redis_server.freeze, redis_server.thaw):
            await asyncio.to_thread(trouble)
            before = served
            while served < before + 200:  # requests go on whatever state Redis is in
                one_more.clear()
                await one_more.wait()
        with BlockingRedis.from_url(redis_server.url) as admin:
            await asyncio.to_thread(admin.flushall)
    done.set()
    await asyncio.gather(*clients)
    served += 20
    await cache.put("k0", audios["k0"])  # back by itself, as the breaker tries again
    assert await cache.get("k0") == audios["k0"]
    assert cache.counts.failures > 0
    assert cache.counts.bypassed > 0
    assert cache.counts.hits > 0
    await cache.close()


async def test_a_slow_answer_never_comes_as_the_answer_to_another_key(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.url, timeout_s=0.1, breaker=CircuitBreaker(1000, 5.0))
    audios = {f"k{n}": replace(AUDIO, seed=n) for n in range(8)}
    for name, audio in audios.items():
        await cache.put(name, audio)
    redis_server.freeze()
    await asyncio.gather(*(cache.get(name) for name in audios))
    redis_server.thaw()
    for _ in range(3):
        found = await asyncio.gather(*(cache.get(name) for name in audios))
        assert all(audio is None or audio == audios[name] for name, audio in zip(audios, found, strict=True))
    assert await cache.get("k3") == audios["k3"]
    await cache.close()


def test_the_breaker_lets_one_try_at_a_time() -> None:
    clock = Clock()
    breaker = CircuitBreaker(2, 5.0, clock)
    breaker.fail()
    assert breaker.allows()
    breaker.fail()
    assert [breaker.allows() for _ in range(3)] == [False, False, False]
    clock.now = 5.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.fail()
    assert not breaker.allows()
    clock.now = 10.0
    assert breaker.allows()
    breaker.succeed()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://localhost:port"])
def test_a_url_that_is_no_redis_is_a_settings_error_without_the_url(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RedisCache(url)
    assert not url or url not in str(caught.value)


async def test_a_cache_that_cannot_write_is_reported_once_until_it_works_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = DiskCache(folder)
    with structlog.testing.capture_logs() as logged:
        for number in range(2):
            folder.write_bytes(b"a file in the way")
            for _ in range(3):
                await cache.put("k", AUDIO)
                assert await cache.get("k") is None
            assert cache.counts.failures == 6 * (number + 1)
            folder.unlink()
            for _ in range(3):
                await cache.put("k", AUDIO)
                assert await cache.get("k") == AUDIO
            shutil.rmtree(folder)
    await cache.close()
    events = [entry["event"] for entry in logged]
    assert events == ["disk_cache_not_available", "disk_cache_available_again"] * 2


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from sovits_service.storage.results.cache import CachedAudio
from sovits_service.storage.results.disk_cache import DiskCache

async def main() -> None:
    cache, audio = DiskCache(Path(sys.argv[1])), CachedAudio(b"RIFF" * 1000, "wav", 32000, 1.5, 7)
    await cache.put("old", audio)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    await cache.put("new", audio)
    print(await cache.get("old") == audio, await cache.get("new"), cache.counts.failures)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await cache.put("new", audio)
    print(await cache.get("new") == audio)
    await cache.close()

asyncio.run(main())
"""


def test_a_full_disk_gives_what_it_has(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert [line for line in result.stdout.splitlines() if "disk_cache" not in line] == ["True None 1", "True"]
