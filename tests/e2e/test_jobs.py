"""A job through `kill -9` and SIGTERM: the next process, or another one, goes on at the next fragment."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip, read_metric, start_tiny, write_tiny
from tests.unit.storage.conftest import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

LINES = 24
PAUSE_S = 0.25


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Served]]:
    """Starts a server on the same folders each time."""
    config = write_tiny(tmp_path / "served")
    running: list[Served] = []

    def begin() -> Served:
        running.append(start_tiny(config))
        return running[-1]

    yield begin
    for served in running:
        served.process.kill()
        served.process.wait()


def follow(http: httpx.Client, job_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job as soon as `until` holds, by its events."""
    with http.stream("GET", f"/jobs/{job_id}/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                job: dict[str, Any] = json.loads(line.removeprefix("data: "))
                if until(job):
                    return job
    raise AssertionError("the events have ended")


def fragments(http: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/jobs/{job_id}").json()["fragments"]
    return found


def test_a_killed_service_goes_on_at_the_next_fragment(start: Callable[[], Served]) -> None:
    served = start()
    with httpx.Client(base_url=served.url, timeout=60) as http:
        reference = http.post("/upload_ref", files={"file": ("clip.wav", clip(0))}).json()["path"]
        text = "\n".join(f"Line {number}, and more." for number in range(LINES))
        fields = {"ref_audio_path": reference, "text_lang": "en", "format": "wav", "line_pause": PAUSE_S}
        job_id = http.post("/jobs", json={"text": text, **fields}).json()["id"]
        follow(http, job_id, lambda job: job["done"] >= LINES // 4)
        served.process.kill()
        served.process.wait()
    folder = served.folder / "jobs" / job_id
    kept = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.glob("*.flac")}
    assert LINES // 4 <= len(kept) < LINES

    served = start()
    with httpx.Client(base_url=served.url, timeout=60) as http:
        known = [f["number"] for f in fragments(http, job_id) if f["status"] == "done"]
        follow(http, job_id, lambda job: job["done"] >= LINES // 2)
    assert served.end() == 0  # SIGTERM in the middle
    for number in known:
        name = f"{number:06d}.flac"
        assert (folder / name).stat().st_mtime_ns == kept[name][0], "a finished fragment is not spoken again"

    served = start()
    with httpx.Client(base_url=served.url, timeout=60) as http:
        job = follow(http, job_id, lambda job: job["status"] in ("done", "failed"))
        assert (job["status"], job["done"], job["failed"]) == ("done", LINES, 0)
        spoken = fragments(http, job_id)
        assert [fragment["text"] for fragment in spoken] == text.split("\n")
        samples, rate_hz = soundfile.read(io.BytesIO(http.get(f"/jobs/{job_id}/audio").content))
        at = 0
        for fragment in spoken:
            assert fragment["start_s"] == pytest.approx(at / rate_hz, abs=1e-3)
            own, _ = soundfile.read(folder / f"{fragment['number']:06d}.flac")
            assert (samples[at : at + len(own)] == own).all()
            at += len(own) + round(PAUSE_S * rate_hz)
        assert len(samples) == pytest.approx(at - PAUSE_S * rate_hz, abs=LINES)


def test_a_killed_replica_s_job_is_the_other_s_from_the_next_fragment_on(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    config = write_tiny(tmp_path / "served")
    (tmp_path / "served/clips").mkdir()
    (tmp_path / "served/clips/a.wav").write_bytes(clip(0))
    variables = {"SOVITS_SHARING__REDIS_URL": redis_server.url, "SOVITS_REFERENCE_ROOTS": "clips"}
    with ThreadPoolExecutor(2) as starting:
        folders = [{"SOVITS_JOBS__DIR": name} for name in ("one", "two")]
        pair = list(starting.map(lambda folder: start_tiny(config, **variables, **folder), folders))
    try:
        idle_tokens = [read_metric(served, "sovits_engine_semantic_tokens_total") for served in pair]
        text = "\n".join(f"Line {number}, and more." for number in range(LINES))
        fields = {"ref_audio_path": "a.wav", "text_lang": "en", "format": "wav", "line_pause": PAUSE_S}
        with httpx.Client(base_url=pair[0].url, timeout=60) as http:
            job_id = http.post("/jobs", json={"text": text, **fields}).json()["id"]
            follow(http, job_id, lambda job: job["done"] >= LINES // 4)
        tokens = [read_metric(served, "sovits_engine_semantic_tokens_total") for served in pair]
        worked = [now > before for now, before in zip(tokens, idle_tokens, strict=True)]
        assert sorted(worked) == [False, True], "one of them speaks it"
        victim, other = pair if worked[0] else reversed(pair)
        victim.process.kill()
        victim.process.wait()
        kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "served/objects/jobs").rglob("*.flac")}
        assert LINES // 4 <= len(kept) < LINES
        with httpx.Client(base_url=other.url, timeout=60) as http:
            assert [job["id"] for job in http.get("/jobs").json()["jobs"]] == [job_id]
            job = follow(http, job_id, lambda job: job["status"] in ("done", "failed"))
            assert (job["status"], job["done"], job["failed"]) == ("done", LINES, 0)
            last = max(kept, key=lambda file: kept[file])  # may have been written without a record of it
            for file in set(kept) - {last}:
                assert file.stat().st_mtime_ns == kept[file], "a finished fragment is not spoken again"
            samples, rate_hz = soundfile.read(io.BytesIO(http.get(f"/jobs/{job_id}/audio").content))
            end_s = [f["start_s"] + f["duration_s"] for f in fragments(http, job_id)][-1]
            assert len(samples) / rate_hz == pytest.approx(end_s, abs=0.01)
            assert http.delete(f"/jobs/{job_id}").status_code == 204
        assert not list((tmp_path / "served/objects/jobs").rglob("*.*"))
    finally:
        for served in pair:
            served.process.kill()
            served.process.wait()
