"""Jobs of two replicas over a real Redis and a common object store: each is spoken by one, and seen by both."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from sovits_service.errors import QuotaExceededError, UnknownJobError
from sovits_service.jobs.jobs import Jobs
from sovits_service.jobs.model import FragmentPlan, Job, NewJob
from sovits_service.jobs.shared_store import SharedStore
from sovits_service.jobs.store import Claim, ClaimLostError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.replicas.redis_link import RedisLink
from sovits_service.types import SynthesisRequest, Voice
from tests.api.conftest import serving
from tests.api.fast_service import CHARACTER_S, CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz
from tests.api.test_jobs import KEYS, events, finished, submit
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

Stores = Callable[..., Awaitable[SharedStore]]
LINES = [f"line {number}" for number in range(8)]


@pytest.fixture
async def stores(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Stores]:
    """The store as another replica opens it each time, with a folder of its own."""
    made: list[SharedStore] = []

    async def replica(**options: Any) -> SharedStore:
        objects = LocalObjects(tmp_path / "objects", "http://127.0.0.1/objects")
        folder = tmp_path / f"replica-{len(made)}"
        made.append(SharedStore(RedisLink(redis_server.url), objects, folder, **{"max_jobs": 9, **options}))
        assert await made[-1].open()
        return made[-1]

    yield replica
    for store in made:
        await store.close()


class Replica:
    """A server with a service of its own."""

    def __init__(self, service: FastService, http: httpx.AsyncClient, jobs: Jobs) -> None:
        self.service, self.http, self.jobs = service, http, jobs

    @property
    def said(self) -> list[str]:
        return [request.text for request in self.service.requests]


@contextlib.asynccontextmanager
async def replica(store: SharedStore, tmp_path: Path, **jobs_settings: Any) -> AsyncIterator[Replica]:
    service = FastService(templates={"amy": Voice("amy", "amy.wav", "hello there", "en")})
    settings = ServiceSettings(
        jobs={"dir": tmp_path / "unused", "at_once": 1, **jobs_settings},  # type: ignore[arg-type]
        cache={"dir": tmp_path / "cache"},  # type: ignore[arg-type]
        api_keys=KEYS,  # type: ignore[arg-type]
    )
    jobs = Jobs(service, settings.jobs, store)
    jobs.start()
    try:
        async with (
            serving(service, settings, jobs=jobs) as url,
            httpx.AsyncClient(base_url=url, timeout=30.0, headers={"X-API-Key": "one"}) as http,
        ):
            while (await http.get("/jobs")).status_code == 503:
                await asyncio.sleep(0)
            yield Replica(service, http, jobs)
    finally:
        await jobs.stop()


async def until(http: httpx.AsyncClient, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while not holds(job := (await http.get(f"/jobs/{job_id}")).json()):
        await asyncio.sleep(0.01)
    return dict(job)


async def assert_heard(http: httpx.AsyncClient, job: dict[str, Any]) -> None:
    """Every fragment is in the audio, where it is said to be."""
    answer = await http.get(f"/jobs/{job['id']}/audio")
    assert answer.status_code == 200, answer.text
    samples, _ = soundfile.read(io.BytesIO(answer.content))
    for fragment in job["fragments"]:
        start, text = round(fragment["start_s"] * RATE_HZ), fragment["text"]
        pitches = heard(samples[start : start + len(text) * CHARACTER_SAMPLES], len(text))
        assert pitches == pytest.approx([pitch_hz("amy", character) for character in text], abs=5.0)
    assert len(samples) == pytest.approx((job["fragments"][-1]["start_s"] + len(text) * CHARACTER_S) * RATE_HZ, abs=2)


async def test_a_job_is_spoken_once_and_both_know_all_of_it(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as one, replica(await stores(), tmp_path) as two:
        job_id = await submit(one.http, "\n".join(LINES), format="wav", subtitles="srt")
        job = await finished(two.http, job_id)
        assert (job["status"], job["done"], job["progress"]) == ("done", len(LINES), 1.0)
        assert sorted(one.said + two.said) == LINES
        assert one.said in ([], LINES)  # one of them has it
        assert job == (await one.http.get(f"/jobs/{job_id}")).json()
        for http in (one.http, two.http):
            await assert_heard(http, job)
            assert "line 7" in (await http.get(f"/jobs/{job_id}/subtitles")).text
            assert [found["id"] for found in (await http.get("/jobs")).json()["jobs"]] == [job_id]
            assert (await http.get("/jobs", headers={"X-API-Key": "two"})).json()["jobs"] == []
        other = await two.http.get(f"/jobs/{job_id}/audio", params={"format": "mp3"})
        assert other.headers["content-type"] == "audio/mpeg"
        part = await one.http.get(f"/jobs/{job_id}/audio", headers={"Range": "bytes=0-9"})
        assert part.status_code == 206
        assert (await two.http.delete(f"/jobs/{job_id}")).status_code == 204
        assert (await one.http.get(f"/jobs/{job_id}/audio")).status_code == 404
        assert not any(path.is_file() for path in (tmp_path / "objects/jobs").rglob("*"))


async def test_an_id_that_names_another_key_of_redis_is_unknown(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as one:
        job_id = await submit(one.http, "abc")
        await finished(one.http, job_id)
        for name in ("all", "unfinished", "bytes", f"{job_id}:plans", f"{job_id}:outcomes", "of:one", "a" * 24):
            for method, path in (
                ("GET", ""),
                ("GET", "/audio"),
                ("GET", "/events"),
                ("POST", "/resume"),
                ("DELETE", ""),
            ):
                answer = await one.http.request(method, f"/jobs/{name}{path}")
                assert answer.status_code == 404, (name, method, path)
        assert (await one.http.get(f"/jobs/{job_id}")).json()["status"] == "done"


async def test_jobs_are_spread_over_the_replicas(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as one, replica(await stores(), tmp_path) as two:
        one.service.gate = two.service.gate = asyncio.Semaphore(0)
        ids = [await submit(one.http, "abc") for _ in range(2)]
        while not (one.service.began.is_set() and two.service.began.is_set()):
            await asyncio.sleep(0.01)
        for _ in ids:
            one.service.gate.release()
        for job_id in ids:
            assert (await finished(two.http, job_id))["status"] == "done"


async def test_what_one_leaves_the_other_goes_on_with_at_the_next_fragment(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as two, replica(await stores(), tmp_path) as one:
        one.service.gate = two.service.gate = asyncio.Semaphore(3)
        job_id = await submit(one.http, "\n".join(LINES), format="wav")
        half = await until(two.http, job_id, lambda job: job["done"] == 3)
        first, second = (one, two) if one.said else (two, one)
        assert (half["status"], half["remaining_s"] > 0, second.said) == ("running", True, [])
        await first.jobs.stop()
        while not second.said:
            await asyncio.sleep(0.01)
        for _ in LINES[3:]:
            one.service.gate.release()
        job = await finished(second.http, job_id)
        assert second.said == LINES[3:]
        await assert_heard(second.http, job)


async def test_a_job_that_is_deleted_elsewhere_is_let_go_of(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as one, replica(await stores(), tmp_path) as two:
        one.service.gate = two.service.gate = asyncio.Semaphore(0)
        job_id = await submit(one.http, "abc\ndef")
        while not (one.said or two.said):
            await asyncio.sleep(0.01)
        first, second = (one, two) if one.said else (two, one)
        watching = asyncio.create_task(events(first.http, job_id))
        assert (await second.http.delete(f"/jobs/{job_id}")).status_code == 204
        assert (await watching)[-1] == ("deleted", {})
        while first.service.started != first.service.closed:
            await asyncio.sleep(0.01)
        one.service.gate = two.service.gate = None
        assert (await finished(one.http, await submit(two.http, "ghi")))["status"] == "done"
        assert first.said.count("def") == second.said.count("def") == 0


async def test_an_outage_of_redis_fails_no_job(stores: Stores, tmp_path: Path, redis_server: RedisServer) -> None:
    async with replica(await stores(lease_s=2.0), tmp_path) as one:
        one.service.gate = asyncio.Semaphore(3)
        job_id = await submit(one.http, "\n".join(LINES), format="wav")
        await until(one.http, job_id, lambda job: job["done"] == 3)
        redis_server.freeze()
        one.service.gate.release()
        while (answer := await one.http.get(f"/jobs/{job_id}")).status_code == 200:
            pass
        assert (answer.status_code, "Redis" in answer.text) == (503, True)
        redis_server.thaw()
        one.service.gate = None
        job = await finished_in_the_end(one.http, job_id)
        assert (job["status"], job["done"], job["failed"]) == ("done", len(LINES), 0)
        await assert_heard(one.http, job)


async def finished_in_the_end(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """As `finished`, where answers may be 503 for a while."""
    while True:
        answer = await http.get(f"/jobs/{job_id}")
        if answer.status_code == 200 and answer.json()["status"] in ("done", "failed"):
            return dict(answer.json())
        await asyncio.sleep(0.05)


async def test_a_failed_job_is_resumed_by_whoever_is_asked(stores: Stores, tmp_path: Path) -> None:
    async with replica(await stores(), tmp_path) as one, replica(await stores(), tmp_path) as two:
        job_id = await submit(one.http, "abc\nbroken")
        assert (await finished(one.http, job_id))["failed"] == 1
        lost = await submit(two.http, "broken\nbroken")
        assert (await finished(two.http, lost))["status"] == "failed"
        assert (await one.http.post(f"/jobs/{job_id}/resume")).status_code == 409
        answer = await one.http.post(f"/jobs/{lost}/resume")
        assert (answer.status_code, answer.json()["status"], answer.json()["failed"]) == (200, "queued", 0)
        again = await finished(two.http, lost)
        assert (again["status"], again["failed"], again["progress"]) == ("failed", 2, 1.0)


def book(*texts: str, owner: str = "") -> NewJob:
    fragments = [FragmentPlan(0, n, SynthesisRequest(text, "en", voice_id="amy")) for n, text in enumerate(texts)]
    return NewJob(owner, "title", "author", [""], fragments)


async def claimed(store: SharedStore) -> Claim:
    """As soon as there is a job to be had."""
    while not (claims := await store.claim()):
        await asyncio.sleep(0.01)
    return claims[0]


async def spoken(store: SharedStore, job: Job, number: int, samples: int = 100) -> None:
    [fragment] = await store.fragments(job.id, number, 1)
    done = replace(fragment, state="done", samples=samples, sample_rate_hz=100)
    await store.finish(job.id, done, b"x" * samples)


async def test_what_a_process_writes_after_its_claim_has_ended_is_refused(stores: Stores) -> None:
    stalled, other = await stores(lease_s=0.2), await stores()
    job = await stalled.add(book("abc", "def"))
    assert (await claimed(stalled)).waiting == [0, 1]
    await spoken(stalled, job, 0)
    claim = await claimed(other)  # the lease of the first is over
    assert (claim.job.id, claim.waiting) == (job.id, [1])
    for late in (spoken(stalled, job, 1, 77), stalled.set_state(job.id, "failed", "too late")):
        with pytest.raises(ClaimLostError):
            await late
    await spoken(other, job, 1)
    now = await other.job(job.id)
    assert (now.state, now.done, now.duration_s, await other.used_bytes()) == ("queued", 2, 2.0, 200)
    assert await stalled.renew() == set()  # it knows already
    assert await other.renew() == set()


async def test_a_claim_that_is_renewed_stays_and_one_that_is_not_is_told(stores: Stores) -> None:
    holder, other = await stores(lease_s=0.5), await stores()
    await holder.add(book("abc"))
    await claimed(holder)
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        assert await holder.renew() == set()
        assert await other.claim() == []
    job = (await claimed(other)).job
    assert await holder.renew() == {job.id}


async def test_quota_ends_and_leftovers(stores: Stores, tmp_path: Path) -> None:
    store = await stores(max_jobs=1)
    job = await store.add(book("abc", owner="one"))
    with pytest.raises(QuotaExceededError, match="at most 1 jobs"):
        await store.add(book("def", owner="one"))
    assert (await store.add(book("ghi", owner="two"))).owner == "two"
    assert [found.id for found in await store.jobs("one")] == [job.id]
    await claimed(store)
    await spoken(store, job, 0)
    await store.set_state(job.id, "done")
    assert await store.expired(time.time() - 60) == []
    assert await store.expired(time.time() + 60) == [job.id]
    orphan, kept = tmp_path / "objects/jobs/gone/000000-1.flac", tmp_path / f"objects/jobs/{job.id}/000000-100.flac"
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    for file in (orphan, kept):
        os.utime(file, (1, 1))
    await store.clean_up()
    assert (orphan.exists(), kept.exists()) == (False, True)
    await store.delete(job.id)
    assert (await store.used_bytes(), kept.exists()) == (0, False)
    with pytest.raises(UnknownJobError):
        await store.fragments(job.id)
    await store.add(book("abc", owner="one"))  # there is room again


async def test_long_books_are_written_and_read_in_parts(stores: Stores) -> None:
    texts = [f"sentence {number}" for number in range(1_050)]
    job = await (await stores()).add(book(*texts))
    other = await stores()
    assert [fragment.request.text for fragment in await other.fragments(job.id)] == texts
    assert [fragment.number for fragment in await other.fragments(job.id, 195, 10)] == list(range(195, 205))
    assert (await claimed(other)).waiting == list(range(1_050))
