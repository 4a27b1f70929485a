"""Answers that are kept: when, what they are told apart by, ETags, links, and equal requests at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sovits_service.errors import StorageError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.results.disk_cache import DiskCache
from sovits_service.storage.results.single_flight import SharedStreams, SingleFlight
from tests.api.conftest import serving
from tests.api.fast_service import CHARACTER_SAMPLES, FastService
from tests.deadlines import Deadlines

Say = Callable[..., dict[str, Any]]


@pytest.fixture
async def cached(service: FastService, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that keeps its answers."""
    service.results = DiskCache(tmp_path / "cache")
    service.objects = LocalObjects(tmp_path / "objects")
    async with (
        serving(service, ServiceSettings()) as url,
        httpx.AsyncClient(base_url=url, timeout=20.0) as http,
    ):
        yield http
    await service.results.close()


@dataclass
class Readers:
    """Permits, one for each request that began or joined a synthesis, and one for each that went away from it."""

    joined: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def until_joined(self, requests: int) -> None:
        for _ in range(requests):
            await asyncio.wait_for(self.joined.acquire(), 10)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    readers = Readers()
    run, open_stream = SingleFlight.run, SharedStreams.open

    async def run_and_tell(self: SingleFlight[Any], *arguments: Any) -> Any:
        readers.joined.release()  # who waits for it goes on after `run` has joined, which it does at once
        try:
            return await run(self, *arguments)
        finally:
            readers.left.release()

    def open_and_tell(self: SharedStreams[Any], *arguments: Any) -> Any:
        readers.joined.release()
        return open_stream(self, *arguments)

    monkeypatch.setattr(SingleFlight, "run", run_and_tell)
    monkeypatch.setattr(SharedStreams, "open", open_and_tell)
    return readers


async def test_a_fixed_seed_is_answered_from_the_cache(
    cached: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    first = await cached.post("/tts", json=say(seed=7))
    second = await cached.get("/tts", params=say(seed=7))
    assert [first.headers["x-cache"], second.headers["x-cache"]] == ["miss", "hit"]
    assert first.content == second.content
    for header in ("etag", "x-seed", "x-sample-rate", "x-dropped-characters", "content-type", "content-length"):
        assert first.headers[header] == second.headers[header]
    assert service.started == 1


async def test_a_random_seed_is_kept_only_on_request(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    states = []
    for cache in (None, None, True, "TRUE", False):
        states.append((await cached.post("/tts", json=say(cache=cache))).headers["x-cache"])
    assert states == ["bypass", "bypass", "miss", "hit", "bypass"]
    assert service.started == 4


async def test_a_fixed_seed_can_go_round_the_cache(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    for expected in ("bypass", "bypass"):
        answer = await cached.post("/tts", json=say(seed=1, cache=False))
        assert (answer.headers["x-cache"], "etag" in answer.headers) == (expected, True)
    assert service.started == 2


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"text_lang": "zh"},
        {"voice_id": "bob"},
        {"seed": 8},
        {"speed_factor": 0.8},
        {"media_type": "flac"},
        {"top_k": 3},
        {"text_split_method": "cut1"},
        {"fragment_interval": 0.1},
        {"prompt_text": "something else"},
        {"streaming_mode": 2},
    ],
)
async def test_whatever_shapes_the_answer_tells_it_apart(
    cached: httpx.AsyncClient, service: FastService, say: Say, change: dict[str, Any]
) -> None:
    await cached.post("/tts", json=say(seed=7))
    answer = await cached.post("/tts", json={**say(seed=7), **change})
    assert answer.headers["x-cache"] == "miss"
    assert service.started == 2


async def test_other_weights_and_another_clip_of_the_same_name_are_not_the_same(
    cached: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    service.references["clip"] = b"one"
    fields = say(seed=7, ref_audio_path="clip")
    states = [(await cached.post("/tts", json=fields)).headers["x-cache"]]
    service.references["clip"] = b"two"
    states.append((await cached.post("/tts", json=fields)).headers["x-cache"])
    service.weights_hash = "other"
    states.append((await cached.post("/tts", json=fields)).headers["x-cache"])
    service.weights_hash, service.references["copy"] = "weights", b"one"
    states.append((await cached.post("/tts", json={**fields, "ref_audio_path": "copy"})).headers["x-cache"])
    assert states == ["miss", "miss", "miss", "hit"]


async def test_an_answer_that_was_made_while_the_weights_changed_is_not_kept(
    cached: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    service.gate = asyncio.Semaphore(0)
    asking = asyncio.create_task(cached.post("/tts", json=say(seed=7)))
    await asyncio.wait_for(service.began.wait(), 10)
    service.weights_hash = "other"
    service.gate.release()
    assert (await asking).status_code == 200
    service.weights_hash, service.gate = "weights", None
    assert (await cached.post("/tts", json=say(seed=7))).headers["x-cache"] == "miss"


async def test_a_failure_is_not_kept(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    for _ in range(2):
        assert (await cached.post("/tts", json=say("broken", seed=7))).status_code == 400
    assert len(service.requests) == 2


async def test_if_none_match(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    etag = (await cached.post("/tts", json=say(seed=7))).headers["etag"]
    for offered in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        answer = await cached.get("/tts", params=say(seed=7), headers={"If-None-Match": offered})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    changed = await cached.get("/tts", params=say(seed=7), headers={"If-None-Match": '"x"'})
    assert changed.status_code == 200
    assert service.started == 1


async def test_a_stream_fills_the_cache_and_is_served_from_it(
    cached: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    assert service.results is not None
    streamed = await cached.post("/tts", json=say(seed=7, streaming_mode=1, media_type="raw"))
    assert (streamed.headers["x-cache"], "content-length" in streamed.headers) == ("miss", False)
    for streaming_mode in (1, 0):
        again = await cached.post("/tts", json=say(seed=7, streaming_mode=streaming_mode, media_type="raw"))
        assert (again.headers["x-cache"], again.content) == ("hit", streamed.content)
    assert service.started == 1


async def test_a_stream_that_broke_is_not_kept(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    fields = say("ab\N{BOMB}", seed=7, streaming_mode=1)
    for expected in (1, 2):
        with pytest.raises(httpx.RemoteProtocolError):
            await cached.post("/tts", json=fields)
        assert service.started == expected


@pytest.mark.parametrize("streaming_mode", [0, 1, 3])
async def test_fifty_equal_requests_at_once_cost_one_synthesis(
    cached: httpx.AsyncClient, service: FastService, say: Say, readers: Readers, streaming_mode: int
) -> None:
    service.gate = asyncio.Semaphore(0)
    fields = say("abc", seed=7, streaming_mode=streaming_mode, media_type="raw")
    asking = [asyncio.create_task(cached.post("/tts", json=fields)) for _ in range(50)]
    await readers.until_joined(50)
    for _ in range(3):
        service.gate.release()
    answers = await asyncio.gather(*asking)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted(answer.headers["x-cache"] for answer in answers) == ["hit"] * 49 + ["miss"]
    assert service.started == service.closed == 1


async def test_a_shared_synthesis_outlives_the_client_that_began_it(
    cached: httpx.AsyncClient, service: FastService, say: Say, readers: Readers
) -> None:
    service.gate = asyncio.Semaphore(0)
    fields = say("abc", seed=7)
    async with httpx.AsyncClient(base_url=cached.base_url) as leaving:
        beginning = asyncio.create_task(leaving.post("/tts", json=fields))
        await readers.until_joined(1)
        staying = asyncio.create_task(cached.post("/tts", json=fields))
        await readers.until_joined(1)
        beginning.cancel()
    await asyncio.wait_for(readers.left.acquire(), 10)
    assert service.closed == 0
    service.gate.release()
    assert (await staying).status_code == 200
    assert service.started == 1


async def test_a_link_in_place_of_the_audio(cached: httpx.AsyncClient, service: FastService, say: Say) -> None:
    audio = (await cached.post("/tts", json=say(seed=7))).content
    answer = await cached.post("/tts", json=say(seed=7, response="url"))
    link = answer.json()
    assert set(link) == {"url", "duration_s", "sample_rate", "cached"}
    assert (link["duration_s"], link["sample_rate"], link["cached"]) == (0.25, 32_000, True)
    assert service.started == 1
    async with httpx.AsyncClient() as anybody:
        whole = await anybody.get(link["url"])
        assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "audio/wav", audio)
        part = await anybody.get(link["url"], headers={"Range": "bytes=44-143"})
        assert (part.status_code, part.content) == (206, audio[44:144])
        beyond = await anybody.get(link["url"], headers={"Range": "bytes=99999999-"})
        assert beyond.status_code == 416
        for unread in ("bytes=5-2", "bytes=a-b", "items=0-1", "bytes=", f"bytes=0-{'9' * 50}"):
            ignored = await anybody.get(link["url"], headers={"Range": unread})
            assert (ignored.status_code, ignored.content) == (200, audio)
        several = await anybody.get(link["url"], headers={"Range": "bytes=0-3,44-47"})
        assert several.headers["content-type"].startswith("multipart/byteranges")
        for known in (whole.headers["etag"], "*"):
            kept = await anybody.get(link["url"], headers={"If-None-Match": known})
            assert (kept.status_code, kept.content) == (304, b"")
        head = await anybody.head(link["url"])
        assert (head.status_code, int(head.headers["content-length"])) == (200, len(audio))
        for broken in (link["url"][:-1], link["url"].replace("expires=", "expires=9"), link["url"].split("?")[0]):
            assert (await anybody.get(broken)).status_code == 403


async def test_a_link_to_speech_that_is_not_kept(cached: httpx.AsyncClient, say: Say) -> None:
    answer = await cached.post("/tts", json=say(response="url", streaming_mode=2, media_type="mp3"))
    assert answer.json()["cached"] is False
    got = await cached.get(answer.json()["url"])
    assert (got.status_code, got.headers["content-type"]) == (200, "audio/mpeg")


async def test_links_where_no_store_is_configured(client: httpx.AsyncClient, service: FastService, say: Say) -> None:
    answer = await client.post("/tts", json=say(response="url"))
    assert answer.status_code == 400
    assert "objects.backend" in answer.json()["message"]
    assert service.started == 0
    assert (await client.get("/objects/audio/x.wav?expires=1&signature=x")).status_code == 403


class _BrokenObjects(LocalObjects):
    async def put(self, key: str, data: bytes, content_type: str = "") -> None:
        raise StorageError("the object store does not answer; try again")


async def test_a_broken_store_costs_the_link_and_not_the_audio(
    cached: httpx.AsyncClient, service: FastService, say: Say, tmp_path: Path
) -> None:
    service.objects = _BrokenObjects(tmp_path)
    linked = await cached.post("/tts", json=say(seed=7, response="url"))
    assert (linked.status_code, linked.json()) == (503, {"message": "the object store does not answer; try again"})
    audio = await cached.post("/tts", json=say(seed=7))
    assert (audio.status_code, audio.headers["x-cache"]) == (200, "hit")


async def test_seventy_repeats_in_a_hundred_cost_thirty_syntheses(
    cached: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    texts = [f"text {number % 30}" for number in range(100)]
    answers = await asyncio.gather(*(cached.post("/tts", json=say(text, seed=7)) for text in texts))
    assert {answer.status_code for answer in answers} == {200}
    assert service.started == 30


async def test_hits_are_counted(cached: httpx.AsyncClient, say: Say) -> None:
    for _ in range(3):
        await cached.post("/tts", json=say(seed=7))
    text = (await cached.get("/metrics")).text
    assert "sovits_cache_hits_total 2.0" in text
    assert "sovits_cache_misses_total 1.0" in text


@pytest.mark.parametrize("streaming_mode", [0, 2])
async def test_who_shares_a_synthesis_keeps_a_deadline_of_their_own(
    cached: httpx.AsyncClient,
    service: FastService,
    say: Say,
    streaming_mode: int,
    readers: Readers,
    deadlines: Deadlines,
) -> None:
    service.gate = asyncio.Semaphore(0)  # whole answers wait for it, and streams after their first chunk
    fields = say("abc", seed=1, streaming_mode=streaming_mode, media_type="raw")
    hurried = asyncio.create_task(cached.post("/tts", json={**fields, "timeout_s": 50}))
    await service.began.wait()
    patient = asyncio.create_task(cached.post("/tts", json=fields))
    await readers.until_joined(2)
    deadlines.expire(50.0)
    if streaming_mode == 0:
        assert (await hurried).status_code == 504
    else:
        with pytest.raises(httpx.RemoteProtocolError):  # the audio had begun
            await hurried
    for _ in range(3):
        service.gate.release()
    answer = await patient
    assert answer.status_code == 200
    assert len(answer.content) == 3 * CHARACTER_SAMPLES * 2
    assert service.started == 1
