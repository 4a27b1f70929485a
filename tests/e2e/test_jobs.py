"""A job through `kill -9` and SIGTERM: the next process goes on at the next fragment, and nothing is lost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip, start_tiny, write_tiny

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
