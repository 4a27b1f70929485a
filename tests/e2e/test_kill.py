"""`kill -9` in the middle of uploads and cache writes: what was answered is kept, and nothing torn is ever served."""

from __future__ import annotations

import asyncio
import hashlib
import io
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip, start_tiny, write_tiny

KILLS = 2
WRITES = 50  # of each kind, in work when the process dies
LIMITS = {
    "SOVITS_MAX_CONCURRENT_UPLOADS": "100",
    "SOVITS_MAX_CONCURRENT_UPLOADS_PER_CLIENT": "100",
    "SOVITS_MAX_QUEUE": "200",
    "SOVITS_MAX_RUNNING": "8",
}


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Served]]]:
    """Starts a server on the same folders each time."""
    config = await asyncio.to_thread(write_tiny, tmp_path / "served")
    running: list[Served] = []

    async def begin() -> Served:
        running.append(await asyncio.to_thread(lambda: start_tiny(config, **LIMITS)))
        return running[-1]

    yield begin
    for served in running:
        served.process.kill()
        served.process.wait()


def speech(reference: str, number: int) -> dict[str, Any]:
    return {"text": f"Number {number}.", "text_lang": "en", "ref_audio_path": reference, "seed": number}


async def upload(http: httpx.AsyncClient, number: int) -> str:
    answer = await http.post("/upload_ref", files={"file": ("clip.wav", clip(number))})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["path"])


def assert_whole(content: bytes) -> None:
    """A wav file whose header tells its length."""
    with wave.open(io.BytesIO(content)) as sound:
        assert len(content) == 44 + 2 * sound.getnframes()
        assert sound.getnframes() > 0


async def write_until_killed(served: Served, first: int) -> tuple[dict[int, str], dict[int, bytes]]:
    """Uploads and answers that reached the client before the server died in the middle of the others."""
    uploads: dict[int, str] = {}
    answers: dict[int, bytes] = {}

    async with httpx.AsyncClient(base_url=served.url, timeout=120, limits=httpx.Limits(max_connections=None)) as http:
        reference = await upload(http, 0)

        async def one_upload(number: int) -> None:
            uploads[number] = await upload(http, number)

        async def one_answer(number: int) -> None:
            answer = await http.post("/tts", json=speech(reference, number))
            assert answer.status_code == 200, answer.text
            answers[number] = answer.content

        numbers = range(first, first + WRITES)
        writing = [asyncio.ensure_future(work(number)) for number in numbers for work in (one_upload, one_answer)]
        while len(uploads) < WRITES // 4 or len(answers) < WRITES // 4:
            await asyncio.wait([task for task in writing if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        served.process.kill()
        ends = await asyncio.gather(*writing, return_exceptions=True)
        broken = [error for error in ends if error is not None]
        assert broken, "all was written before the kill: it shows nothing"
        assert all(isinstance(error, httpx.TransportError) for error in broken), broken
    return uploads, answers


async def test_kill_9_in_the_middle_of_100_uploads_and_100_cache_writes(
    start: Callable[[], Awaitable[Served]], tmp_path: Path
) -> None:
    uploads: dict[int, str] = {}
    answers: dict[int, bytes] = {}
    for round_number in range(KILLS):
        served = await start()
        kept, said = await write_until_killed(served, 1 + round_number * WRITES)
        uploads |= kept
        answers |= said
    served = await start()
    folder = tmp_path / "served/uploads"
    for file in folder.glob("*.wav"):  # those whose client never heard of them too
        assert file.stem == hashlib.sha256(file.read_bytes()).hexdigest()
    async with httpx.AsyncClient(base_url=served.url, timeout=120) as http:
        reference = await upload(http, 0)
        for path in uploads.values():
            assert (folder / path.removeprefix("uploads/")).is_file()
        probe = await http.post("/tts", json=speech(next(iter(uploads.values())), 1))
        assert probe.status_code == 200, probe.text
        for leftover in folder.glob(".*"):
            refused = await http.post("/tts", json=speech(f"uploads/{leftover.name}", 1))
            assert refused.status_code == 400, "only clips are served"
        numbers = range(1, 1 + KILLS * WRITES)
        again = await asyncio.gather(*(http.post("/tts", json=speech(reference, number)) for number in numbers))
        for number, answer in zip(numbers, again, strict=True):
            assert answer.status_code == 200, answer.text
            assert_whole(answer.content)
            if number in answers:
                assert (answer.headers["x-cache"], answer.content) == ("hit", answers[number])
        assert {"hit", "miss"} == {answer.headers["x-cache"] for answer in again}
