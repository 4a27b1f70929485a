"""/jobs over a real server: what goes in, what comes out, and whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import resource
import sqlite3
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import av
import httpx
import numpy as np
import pytest
import soundfile

from sovits_service.errors import OverloadedError
from sovits_service.jobs import jobs as jobs_module
from sovits_service.jobs import sqlite_store as store_module
from sovits_service.jobs import worker as worker_module
from sovits_service.jobs.jobs import Jobs
from sovits_service.settings import ServiceSettings
from sovits_service.types import SynthesisRequest, Voice
from tests.api.conftest import serving
from tests.api.fast_service import CHARACTER_S, CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz
from tests.api.job_files import CHINESE, ENTITIES, HTML, MARKDOWN, PROTECTED, SRT, epub, png

Serve = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]
TEXT = "Chapter 1\nabc def.\nChapter 2\nghi!"


def _key(name: str, *scopes: str) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}


KEYS = (_key("one", "synth"), _key("two", "synth"), _key("boss", "synth", "admin"))


@pytest.fixture
def serve(service: FastService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A server with jobs, on the same folder each time; open when it is given."""
    monkeypatch.setattr(jobs_module, "_LOCK_POLL_S", 0.01)

    @contextlib.asynccontextmanager
    async def running(
        speaker: FastService = service, key: str = "one", jobs_settings: dict[str, Any] | None = None, **changes: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        kept = {"dir": tmp_path / "jobs", **(jobs_settings or {})}
        settings = ServiceSettings(jobs=kept, cache={"dir": tmp_path / "cache"}, **changes)  # type: ignore[arg-type]
        jobs = Jobs(speaker, settings.jobs)  # type: ignore[arg-type] # with the methods of a SpeechService
        jobs.start()
        headers = {"X-API-Key": key}
        try:
            async with (
                serving(speaker, settings, jobs=jobs) as url,
                httpx.AsyncClient(base_url=url, timeout=20.0, headers=headers) as http,
            ):
                while (await http.get("/jobs")).status_code == 503:
                    await asyncio.sleep(0)
                yield http
        finally:
            await jobs.stop()

    return running


async def submit(http: httpx.AsyncClient, text: str = TEXT, **fields: Any) -> str:
    answer = await http.post("/jobs", json={"text": text, "voice_id": "amy", **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def send(http: httpx.AsyncClient, name: str, data: bytes | str, **fields: Any) -> httpx.Response:
    return await http.post("/jobs", files={"file": (name, data)}, data={"voice_id": "amy", **fields})


async def events(http: httpx.AsyncClient, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Every event up to the end of the stream."""
    answer = await http.get(f"/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    pairs = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


async def finished(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The job with its fragments, when it is over."""
    await events(http, job_id)
    answer: dict[str, Any] = (await http.get(f"/jobs/{job_id}")).json()
    assert answer["status"] in ("done", "failed")
    return answer


def assert_says(samples: np.ndarray, start_s: float, text: str, voice: str = "amy") -> None:
    start = round(start_s * RATE_HZ)
    pitches = heard(samples[start : start + len(text) * CHARACTER_SAMPLES], len(text))
    assert pitches == pytest.approx([pitch_hz(voice, character) for character in text], abs=5.0)


async def test_every_fragment_is_heard_once_where_it_is_said_to_be(serve: Serve) -> None:
    async with serve() as http:
        job = await finished(http, await submit(http, format="wav", line_pause=0.25, chapter_pause=1.0))
        assert (job["status"], job["progress"], job["done"], job["failed"]) == ("done", 1.0, 4, 0)
        texts = [(fragment["chapter"], fragment["text"]) for fragment in job["fragments"]]
        assert texts == [(0, "Chapter 1"), (0, "abc def."), (1, "Chapter 2"), (1, "ghi!")]
        samples, rate_hz = soundfile.read(io.BytesIO((await http.get(f"/jobs/{job['id']}/audio")).content))
        assert rate_hz == RATE_HZ
        starts = [0.0]
        for fragment, pause_s in zip(job["fragments"][:-1], (0.25, 1.0, 0.25), strict=True):
            starts.append(starts[-1] + len(fragment["text"]) * CHARACTER_S + pause_s)
        for fragment, start_s in zip(job["fragments"], starts, strict=True):
            assert fragment["start_s"] == pytest.approx(start_s, abs=1e-3)
            assert_says(samples, start_s, fragment["text"])
        assert len(samples) == round((starts[-1] + len("ghi!") * CHARACTER_S) * RATE_HZ)


async def test_audio_is_sent_in_ranges_and_only_where_it_has_changed(serve: Serve) -> None:
    async with serve() as http:
        address = f"/jobs/{(await finished(http, await submit(http, 'abc')))['id']}/audio"
        whole = await http.get(address)
        part = await http.get(address, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert (await http.get(address, headers={"Range": "bytes=9-1"})).content == whole.content
        assert (await http.get(address, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304


async def test_a_voice_that_is_not_there_is_told_with_its_line(serve: Serve) -> None:
    lines = '{"text": "abc", "voice": "bob"}\n{"text": "def"}\n{"text": "ghi", "voice": "nobody"}\n'
    async with serve() as http:
        answer = await send(http, "play.jsonl", lines)
        assert (answer.status_code, answer.json()["message"][:29]) == (404, "line 3: there is no voice of ")
        answer = await send(http, "play.jsonl", lines, voice_id="nobody")
        assert answer.json()["message"].startswith("there is no voice")


async def test_a_text_that_json_has_no_room_for_is_told_to_come_as_a_file(serve: Serve) -> None:
    async with serve(max_request_bytes=1024) as http:
        answer = await http.post("/jobs", json={"text": "a " * 700, "voice_id": "amy"})
        assert answer.status_code == 413
        assert answer.json()["message"].endswith("send a longer text as a file: multipart/form-data, field file")


@pytest.mark.parametrize("form", ["m4b", "mp3", "opus"])
async def test_chapters_tags_and_cover_are_in_the_file(serve: Serve, form: str) -> None:
    async with serve() as http:
        answer = await http.post(
            "/jobs",
            files={"file": ("The Book.txt", TEXT), "cover": ("c.png", png())},
            data={"voice_id": "amy", "format": form, "author": "Somebody"},
        )
        job = await finished(http, answer.json()["id"])
        audio = await http.get(f"/jobs/{job['id']}/audio")
        assert f"The%20Book.{form}" in audio.headers["content-disposition"].replace(" ", "%20")
        part = await http.get(f"/jobs/{job['id']}/audio", headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, audio.content[:10])
    second_s = job["fragments"][2]["start_s"]
    with av.open(io.BytesIO(audio.content)) as container:
        assert container.duration is not None
        length_s = container.duration / 1_000_000
        chapters = [
            (c["metadata"]["title"], float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]))
            for c in cast("list[Any]", container.chapters())
        ]
        tags = {**container.metadata, **container.streams.audio[0].metadata}
        tags = {name.lower(): value for name, value in tags.items()}
        pictures = [bytes(packet) for packet in container.demux(video=0) if packet.size] if form != "opus" else [png()]
    assert chapters[0] == ("Chapter 1", 0.0, pytest.approx(second_s, abs=0.002))
    assert chapters[1] == ("Chapter 2", pytest.approx(second_s, abs=0.002), pytest.approx(length_s, abs=0.05))
    assert length_s == pytest.approx(job["fragments"][3]["start_s"] + 4 * CHARACTER_S, abs=0.1)
    assert (tags["title"], tags["artist"]) == ("The Book", "Somebody")
    assert pictures == [png()]


async def test_a_zip_has_a_file_for_each_line_and_a_list_of_them(serve: Serve) -> None:
    lines = '{"text": "abc", "voice": "amy", "chapter": "One"}\n\n{"text": "de. fgh.", "voice": "bob"}\n'
    async with serve() as http:
        job = await finished(http, (await send(http, "play.jsonl", lines, format="zip")).json()["id"])
        audio = await http.get(f"/jobs/{job['id']}/audio")
    with zipfile.ZipFile(io.BytesIO(audio.content)) as archive:
        told = [json.loads(line) for line in archive.read("lines.jsonl").splitlines()]
        assert [(line["file"], line["voice"], line["text"], line["chapter"]) for line in told] == [
            ("00001.wav", "amy", "abc", "One"),
            ("00002.wav", "bob", "de. fgh.", "One"),
        ]
        for line in told:
            samples, _ = soundfile.read(io.BytesIO(archive.read(line["file"])))
            assert_says(samples, 0.0, line["text"], line["voice"])
            assert line["end_s"] - line["start_s"] == pytest.approx(len(samples) / RATE_HZ, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "data", "chapters"),
    [
        ("a.txt", CHINESE, [["第一章 起", "甲乙。", "丙"], ["第二章", "丁"]]),
        ("a.md", MARKDOWN, [["One a", "abc def", "ghi", "jkl"], ["Two", "mno"]]),
        ("a.html", HTML, [["aéb", "cd & ef"], ["G", "hij"]]),
        ("a.epub", epub(), [["abc def.", "ghi jkl", "mno"], ["pqr", "stu", "vwx"]]),
        ("a.srt", SRT, [["abc", "defg"]]),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nabc\n", [["abc"]]),
        ("a.jsonl", '{"text": "abc"}\n{"chapter": "B", "text": "def", "speed_factor": 2}', [["abc"], ["def"]]),
    ],
    ids=["txt", "md", "html", "epub", "srt", "vtt", "jsonl"],
)
async def test_what_is_read_of_each_format(
    serve: Serve, service: FastService, name: str, data: Any, chapters: list[list[str]]
) -> None:
    encoding = {"encoding": "gb18030"} if name.endswith("txt") else {}
    async with serve() as http:
        answer = await send(http, name, data, **encoding)
        assert answer.status_code == 201, answer.text
        job = await finished(http, answer.json()["id"])
    found: list[list[str]] = [[] for _ in range(job["fragments"][-1]["chapter"] + 1)]
    for fragment in job["fragments"]:
        found[fragment["chapter"]].append(fragment["text"])
    assert found == chapters
    assert {request.text for request in service.requests} == {text for part in chapters for text in part}
    if name.endswith("jsonl"):  # what a line names wins over the job, and the job over the voice
        assert {request.text: request.speed for request in service.requests} == {"abc": 1.25, "def": 2.0}
    if name.endswith("epub"):
        assert (job["title"], job["author"]) == ("小王子", "Antoine")


BOMB = "<p>" + "a" * 30_000_000 + "</p>"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.epub", b"PK no archive", "not a zip archive"),
        ("a.epub", epub({"META-INF/container.xml": None}), "container.xml is missing"),
        ("a.epub", epub({"OEBPS/text/two.xhtml": None}), "chapter 4 of its spine is missing"),
        ("a.epub", epub({"OEBPS/text/two.xhtml": BOMB}), "too large"),
        ("a.epub", epub({"OEBPS/book.opf": ENTITIES}), "declares XML entities"),
        ("a.epub", epub({"OEBPS/book.opf": "<package>"}), "not valid XML"),
        ("a.epub", epub({"META-INF/encryption.xml": PROTECTED}), "DRM"),
        ("a.txt", " \n…\n", "nothing in it to read"),
        ("a.txt", "甲乙".encode("gb18030"), "not text in utf-8"),
        ("a.txt", b"a\0b", "not text"),
        ("a.html", "<script>abc</script>", "nothing in it to read"),
        ("a.html", "", "nothing in it to read"),
        ("a.md", "", "nothing in it to read"),
        ("a.srt", "abc", "no srt or vtt"),
        ("a.srt", SRT.replace("00:00:03", "00:00:01"), "must end after it starts"),
        ("a.jsonl", '{"text": "abc"}\n{"text": 1}', "line 2 needs text"),
        ("a.jsonl", '{"text": "abc"}\n[', "line 2 is not valid JSON"),
        ("a.jsonl", '{"text": "abc", "speed_factor": 9}', "line 1: speed_factor"),
        ("a.txt", "virus", "virus scanner"),
        ("a.pdf", "%PDF-1.7", "type of the file is not known"),
    ],
    ids=itertools.count(),
)
async def test_a_file_that_cannot_be_used_is_refused_and_says_why(
    serve: Serve, name: str, data: Any, said: str
) -> None:
    async with serve() as http:
        answer = await send(http, name, data)
        assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text
        assert (await http.get("/jobs")).json() == {"jobs": []}


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"text": ""}, 400, "text is required"),
        ({"voice_id": "nobody"}, 404, "no voice"),
        ({"format": "exe"}, 400, "format"),
        ({"subtitles": "doc"}, 400, "subtitles"),
        ({"text": "a" * 2001}, 400, "2,001 characters"),
        ({"encoding": "rot13"}, 201, ""),  # of files; the text of JSON is Unicode
        ({"line_pause": "x"}, 400, "line_pause"),
        ({"ref_audio_path": "/etc/passwd"}, 400, "allowed root"),
    ],
)
async def test_a_field_that_cannot_be_used_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, service: FastService, fields: dict[str, Any], status: int, said: str
) -> None:
    async def resolve(request: Any) -> Any:
        service._judge(request)
        return request

    monkeypatch.setattr(service, "resolve", resolve)
    async with serve(jobs_settings={"max_characters": 2000}) as http:
        answer = await http.post("/jobs", json={"text": "abc", "voice_id": "amy", **fields})
        assert (answer.status_code, said in answer.text) == (status, True), answer.text


async def test_a_file_may_be_read_in_a_process_of_its_own(serve: Serve) -> None:
    async with serve(uploads={"isolate": True}) as http:
        job = await finished(http, (await send(http, "a.epub", epub())).json()["id"])
        assert (job["status"], job["title"]) == ("done", "小王子")
        refused = await send(http, "a.epub", epub({"OEBPS/book.opf": ENTITIES}))
        assert (refused.status_code, "declares XML entities" in refused.text) == (400, True)


async def test_a_file_that_is_too_large_is_refused(serve: Serve) -> None:
    async with serve(jobs_settings={"max_file_bytes": 1024}) as http:
        assert (await send(http, "a.txt", "a " * 600)).status_code == 413


async def test_a_line_that_cannot_be_spoken_is_left_out_and_told(serve: Serve, service: FastService) -> None:
    async with serve() as http:
        job = await finished(http, await submit(http, "abc\nbroken\ndef", format="wav"))
        assert (job["status"], job["done"], job["failed"], job["progress"]) == ("done", 2, 1, 1.0)
        assert [fragment["status"] for fragment in job["fragments"]] == ["done", "failed", "done"]
        assert "not finite" in job["fragments"][1]["message"]
        assert [request.text for request in service.requests].count("broken") == 3
        samples, _ = soundfile.read(io.BytesIO((await http.get(f"/jobs/{job['id']}/audio")).content))
        assert_says(samples, job["fragments"][2]["start_s"], "def")
        lost = await finished(http, await submit(http, "broken"))
        assert (lost["status"], "not finite" in lost["message"]) == ("failed", True)
        assert (await http.get(f"/jobs/{lost['id']}/audio")).status_code == 409


async def test_a_store_that_takes_nothing_for_a_while_stops_no_later_job(
    serve: Serve, service: FastService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(worker_module, "_STORE_POLL_S", 0.01)
    service.gate = asyncio.Semaphore(0)
    async with serve(jobs_settings={"at_once": 1}) as http:
        job_id = await submit(http, "abc")
        while not service.started:
            await asyncio.sleep(0)
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs" / store_module._FILE)) as other:
            other.execute("BEGIN IMMEDIATE")
            service.gate.release()
            while not service.closed:
                await asyncio.sleep(0)
            for _ in range(10):  # each waits for what the store was told before
                assert (await http.get(f"/jobs/{job_id}")).json()["status"] == "running"
            assert (await http.post("/jobs", json={"text": "def", "voice_id": "amy"})).status_code == 503
            other.rollback()
        lost = await finished(http, job_id)
        assert (lost["status"], lost["message"][:20]) == ("failed", "the jobs cannot be r")
        service.gate = None
        assert (await finished(http, await submit(http, "def")))["status"] == "done"


async def test_a_folder_that_cannot_be_used_is_told(service: FastService, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = ServiceSettings(jobs={"dir": tmp_path / "file"})  # type: ignore[arg-type] # read from a file elsewhere
    jobs = Jobs(service, settings.jobs)  # type: ignore[arg-type] # with the methods of a SpeechService
    jobs.start()
    async with serving(service, settings, jobs=jobs) as url, httpx.AsyncClient(base_url=url) as http:
        while "starting" in (answer := await http.get("/jobs")).text:
            await asyncio.sleep(0)
        assert (answer.status_code, "jobs.dir) cannot be used" in answer.text) == (503, True)
    await jobs.stop()


async def test_a_voice_that_has_gone_fails_the_job(serve: Serve, service: FastService) -> None:
    async def synthesize(*_: Any, **__: Any) -> Any:
        return await service.voices.get("nobody")

    async with serve() as http:
        service.synthesize = synthesize  # type: ignore[method-assign]
        job = await finished(http, await submit(http))
        assert (job["status"], job["done"]) == ("failed", 0)
        assert "no voice" in job["message"]


async def test_events_tell_of_every_step_and_end(serve: Serve, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with serve(jobs_settings={"at_once": 1}) as http:
        job_id = await submit(http, "abc\ndef")
        early = await http.get(f"/jobs/{job_id}/audio")
        assert (early.status_code, "not done" in early.json()["message"]) == (409, True)
        head = await http.head(f"/jobs/{job_id}/events")
        assert (head.status_code, head.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
        seen: list[str] = []
        async with http.stream("GET", f"/jobs/{job_id}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    job = json.loads(line.removeprefix("data: "))
                    seen.append(f"{job['status']} {job['done']}")
                    if job["status"] == "running":
                        service.gate.release()
        assert seen[-1] == "done 2"
        assert {"running 0", "running 1"} <= set(seen)
        assert await events(http, job_id) == [("done", job)]


async def test_what_is_deleted_during_its_work_is_gone_at_once(
    serve: Serve, service: FastService, tmp_path: Path
) -> None:
    service.gate = asyncio.Semaphore(0)
    async with serve() as http:
        job_id = await submit(http)
        watching = asyncio.create_task(events(http, job_id))
        await service.began.wait()
        assert (await http.delete(f"/jobs/{job_id}")).status_code == 204
        assert (await watching)[-1] == ("deleted", {})
        for path in ("", "/audio", "/events", "/subtitles"):
            assert (await http.get(f"/jobs/{job_id}{path}")).status_code == 404
        assert (await http.delete(f"/jobs/{job_id}")).status_code == 404
        assert service.started == service.closed
        assert [path for path in (tmp_path / "jobs").iterdir() if path.is_dir()] == []
        service.gate = None
        assert (await finished(http, await submit(http)))["status"] == "done"


async def test_a_key_sees_its_own_jobs_and_an_admin_all(serve: Serve) -> None:
    async with serve(api_keys=KEYS) as http:
        job_id = await submit(http)
        await finished(http, job_id)
        for key, found in (("one", [job_id]), ("two", []), ("boss", [job_id])):
            headers = {"X-API-Key": key}
            listed = (await http.get("/jobs", headers=headers)).json()["jobs"]
            assert [job["id"] for job in listed] == found
            for path in ("", "/audio", "/events"):
                status = (await http.get(f"/jobs/{job_id}{path}", headers=headers)).status_code
                assert status == (200 if found else 404)
        assert (await http.delete(f"/jobs/{job_id}", headers={"X-API-Key": "two"})).status_code == 404
        assert (await http.delete(f"/jobs/{job_id}", headers={"X-API-Key": "boss"})).status_code == 204


async def test_a_stopped_service_goes_on_with_the_next_fragment(serve: Serve, service: FastService) -> None:
    text = "\n".join(f"line {number}" for number in range(8))
    service.gate = asyncio.Semaphore(3)
    async with serve(jobs_settings={"at_once": 1}) as http:
        job_id = await submit(http, text, format="wav")
        while (await http.get(f"/jobs/{job_id}")).json()["done"] < 3:
            await asyncio.sleep(0)
    again = FastService(templates=service.templates)
    async with serve(again, jobs_settings={"at_once": 1}) as http:
        job = await finished(http, job_id)
        assert [fragment["status"] for fragment in job["fragments"]] == ["done"] * 8
        assert [request.text for request in again.requests] == [f"line {number}" for number in range(3, 8)]
        samples, _ = soundfile.read(io.BytesIO((await http.get(f"/jobs/{job_id}/audio")).content))
        for fragment in job["fragments"]:
            assert_says(samples, fragment["start_s"], fragment["text"])


async def test_a_folder_has_one_process_at_a_time(serve: Serve, service: FastService, tmp_path: Path) -> None:
    settings = ServiceSettings(jobs={"dir": tmp_path / "jobs"})  # type: ignore[arg-type]
    later = Jobs(service, settings.jobs)  # type: ignore[arg-type]
    async with serve() as http:
        job_id = await submit(http)
        later.start()
        await finished(http, job_id)
        with pytest.raises(OverloadedError, match="another process"):
            await later.all(None)
    try:
        while True:
            with contextlib.suppress(OverloadedError):
                assert [job.id for job in await later.all(None)] == [job_id]
                break
            await asyncio.sleep(0)
    finally:
        await later.stop()


async def test_bounds_on_jobs_and_their_files(serve: Serve) -> None:
    async with serve(jobs_settings={"max_jobs": 1}, api_keys=KEYS) as http:
        await finished(http, await submit(http))
        answer = await http.post("/jobs", json={"text": "abc", "voice_id": "amy"})
        assert (answer.status_code, "at most 1 jobs" in answer.json()["message"]) == (429, True)
        other = {"X-API-Key": "two"}
        assert (await http.post("/jobs", json={"text": "abc"}, headers=other)).status_code == 201


async def test_a_job_that_fills_its_room_fails_and_goes_on_once_there_is_more(
    serve: Serve, service: FastService
) -> None:
    text = "\n".join("abcdefghijklmnopqrstuvwxyz" * 7 for _ in range(12))
    async with serve(jobs_settings={"max_bytes": 2**20}) as http:
        job = await finished(http, await submit(http, text))
        assert (job["status"], "jobs.max_bytes" in job["message"]) == ("failed", True)
        assert 0 < job["done"] < 12
    service.requests.clear()
    async with serve() as http:
        answer = await http.post(f"/jobs/{job['id']}/resume")
        assert (answer.status_code, answer.json()["done"], answer.json()["message"]) == (200, job["done"], "")
        again = await finished(http, job["id"])
        assert (again["status"], again["done"]) == ("done", 12)
        assert len(service.requests) == 12 - job["done"]


async def test_a_failed_job_is_resumed_once_its_voice_is_back_also_with_what_could_not_be_spoken(
    serve: Serve, service: FastService
) -> None:
    synthesize = service.synthesize

    async def without_voice(request: SynthesisRequest, *rest: Any, **more: Any) -> Any:
        if request.text == "def":
            await service.voices.get("nobody")
        return await synthesize(request, *rest, **more)

    async with serve(jobs_settings={"at_once": 1}) as http:
        service.synthesize = without_voice  # type: ignore[method-assign]
        job = await finished(http, await submit(http, "broken\nabc\ndef\nghi"))
        assert (job["status"], job["done"], job["failed"]) == ("failed", 1, 1)
        service.synthesize = synthesize  # type: ignore[method-assign]
        service.requests.clear()
        answer = await http.post(f"/jobs/{job['id']}/resume")
        assert (answer.json()["done"], answer.json()["failed"], answer.json()["finished_at"]) == (1, 0, None)
        again = await finished(http, job["id"])
        assert (again["status"], again["done"], again["failed"], again["progress"]) == ("done", 3, 1, 1.0)
        said = [text for text, _ in itertools.groupby(request.text for request in service.requests)]
        assert said == ["broken", "def", "ghi"]


async def test_only_a_failed_job_of_ones_own_is_resumed(serve: Serve, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with serve(api_keys=KEYS) as http:

        async def refusal(key: str = "one") -> tuple[int, str]:
            answer = await http.post(f"/jobs/{job_id}/resume", headers={"X-API-Key": key})
            return answer.status_code, answer.json()["message"]

        job_id = await submit(http)
        await service.began.wait()
        running = "the job has not failed: it goes on by itself; only a failed job can be resumed"
        assert await refusal() == (409, running)
        assert (await refusal("two"))[0] == 404
        assert await refusal("boss") == (409, running)
        for _ in range(4):
            service.gate.release()
        await finished(http, job_id)
        assert await refusal() == (409, "the job is done; only a failed job can be resumed")
        assert (await http.delete(f"/jobs/{job_id}")).status_code == 204
        assert (await refusal())[0] == 404


async def test_jobs_take_turns(serve: Serve, service: FastService) -> None:
    gate = service.gate = asyncio.Semaphore(0)
    async with serve(jobs_settings={"at_once": 1}) as http:
        long = await submit(http, "\n".join(f"long {number}" for number in range(5)))
        short = await submit(http, "short 0\nshort 1")
        for _ in range(7):
            gate.release()
        for job_id in (long, short):
            await finished(http, job_id)
    texts = [request.text for request in service.requests]
    assert texts.index("short 1") < texts.index("long 4")
    assert [text for text in texts if text.startswith("long")] == [f"long {number}" for number in range(5)]


async def test_jobs_that_are_off_say_so(service: FastService, tmp_path: Path) -> None:
    for settings, status, said in (({"enabled": False}, 403, "switched off"), ({}, 501, "Ray")):
        async with (
            serving(service, ServiceSettings(jobs=settings, cache={"dir": tmp_path})) as url,  # type: ignore[arg-type]
            httpx.AsyncClient(base_url=url) as http,
        ):
            for answer in (await http.post("/jobs", json={"text": "a"}), await http.get("/jobs/x/audio")):
                assert (answer.status_code, said in answer.json()["message"]) == (status, True)


async def test_subtitles_have_the_times_of_the_whole(serve: Serve, service: FastService) -> None:
    service.templates["amy"] = Voice("amy", "amy.wav", "hello there", "en")
    async with serve() as http:
        plain = await finished(http, await submit(http, "abc\ndef"))
        assert (await http.get(f"/jobs/{plain['id']}/subtitles")).status_code == 400
        job = await finished(http, await submit(http, "abc\ndef", subtitles="srt", line_pause=0.5))
        assert {request.timestamps for request in service.requests} == {"none", "word"}
        answer = await http.get(f"/jobs/{job['id']}/subtitles")
        assert answer.status_code == 200
        assert "00:00:00,650 --> 00:00:00,800\ndef" in answer.text
        vtt = await http.get(f"/jobs/{job['id']}/subtitles", params={"format": "vtt"})
        assert vtt.text.startswith("WEBVTT")


@pytest.mark.parametrize("paragraphs", [2, 400])
async def test_a_long_file_is_parsed_outside_the_service(serve: Serve, paragraphs: int) -> None:
    text = "\n\n".join(["![" * 100 + " abc"] * paragraphs)
    async with serve(uploads={"isolate": False}) as http:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        answer = await http.post("/jobs", files={"file": ("a.md", text)}, data={"voice_id": "amy"})
        assert answer.status_code == 201, answer.text
        used_elsewhere = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
        assert used_elsewhere == (len(text) > 64 * 1024)
        await http.delete(f"/jobs/{answer.json()['id']}")
