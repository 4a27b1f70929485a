"""The package's own client, against a real server."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sovits_service.client import AsyncClient, Client, ServiceError
from tests.api.fast_service import CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz


@pytest.fixture
async def speaker(base_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url, retries=2, timeout_s=20.0) as client:
        yield client


def test_it_needs_nothing_but_httpx() -> None:
    check = (
        "import sys; import sovits_service.client; "
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] in ('torch', 'numpy', 'fastapi', 'pydantic') "
        "or n.startswith('sovits_service.')))"
    )
    printed = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["sovits_service.client"]


def test_a_program_without_an_event_loop(base_url_of_a_thread: str, tmp_path: Path) -> None:
    with Client(base_url_of_a_thread) as client:
        speech = client.speak("abc", voice="amy", language="en", seed=7)
        speech.save(tmp_path / "abc.wav")
        samples, rate_hz = soundfile.read(tmp_path / "abc.wav", dtype="float32")
        assert (rate_hz, speech.sample_rate_hz, speech.seed, speech.content_type) == (RATE_HZ, RATE_HZ, 7, "audio/wav")
        assert heard(samples, 3) == pytest.approx([pitch_hz("amy", character) for character in "abc"], abs=10)
        with client.stream("abc", voice="amy", language="en", media_type="raw") as stream:
            assert len(b"".join(stream)) == 3 * CHARACTER_SAMPLES * 2
        assert [voice["voice_id"] for voice in client.voices()] == ["amy", "bob"]
        with pytest.raises(ServiceError, match="there is no voice of this id") as caught:
            client.speak("hi", voice="nobody")
        assert caught.value.status == 404
        with pytest.raises(ServiceError, match="text_lang: xx is not supported"):
            client.stream("hi", voice="amy", language="xx")
        sink = io.BytesIO()
        soundfile.write(sink, np.zeros(5 * RATE_HZ, dtype=np.int16), RATE_HZ, format="WAV")
        reference = client.upload(sink.getvalue(), prompt_text="hi", prompt_lang="en")
        assert client.speak("hi", ref_audio_path=reference, language="en").data[:4] == b"RIFF"
        assert client.is_ready()


async def test_asyncio(speaker: AsyncClient, service: FastService) -> None:
    speech = await speaker.speak("abc", voice="amy", language="en-US", emotion="furious")
    assert speech.warnings.startswith("the voice has no such emotion")
    assert service.requests[0].text_lang == "en"
    stream = await speaker.stream("abc", voice="amy", media_type="raw")
    assert (stream.sample_rate_hz, stream.seed) == (RATE_HZ, 1234)
    assert len(b"".join([data async for data in stream])) == 3 * CHARACTER_SAMPLES * 2
    assert len(await speaker.voices()) == 2
    assert await speaker.is_ready()


async def test_a_file_is_saved_under_the_ending_of_its_format(speaker: AsyncClient, tmp_path: Path) -> None:
    for media_type, endings in (("wav", ("wav", "bin")), ("mp3", ("mp3", "MP3")), ("opus", ("opus", "ogg"))):
        speech = await speaker.speak("abc", voice="amy", media_type=media_type)
        for ending in endings:
            speech.save(tmp_path / f"a.{ending}")
            assert (tmp_path / f"a.{ending}").read_bytes() == speech.data
        with pytest.raises(ValueError, match="speak with media_type='flac'"):
            speech.save(tmp_path / "a.flac")
    assert not (tmp_path / "a.flac").exists()


@pytest.mark.parametrize("field", [{"timestamps": "word"}, {"subtitles": "srt"}, {"response": "url"}])
async def test_fields_that_make_json_of_the_answer_are_refused(
    speaker: AsyncClient, service: FastService, field: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="makes the answer JSON"):
        await speaker.speak("abc", voice="amy", **field)
    with pytest.raises(ValueError, match="makes the answer JSON"):
        await speaker.stream("abc", voice="amy", **field)
    assert service.started == 0


async def test_the_first_sound_comes_while_the_rest_is_made(speaker: AsyncClient, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with await speaker.stream("abc", voice="amy", media_type="raw") as stream:
        async for data in stream:
            assert len(data) == CHARACTER_SAMPLES * 2
            break
    await asyncio.wait_for(service.closed_early.wait(), 20)


async def test_a_stream_that_breaks_off_is_an_error(speaker: AsyncClient) -> None:
    stream = await speaker.stream("ab\N{BOMB}cd", voice="amy")
    with pytest.raises(ServiceError, match="the speech was interrupted") as caught:
        [data async for data in stream]
    assert caught.value.status is None


async def test_a_busy_service_is_asked_again(
    speaker: AsyncClient, service: FastService, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s: list[float] = []

    async def pause(duration_s: float) -> None:  # the tests' service sleeps too, for no time
        pauses_s.extend([duration_s] if duration_s else [])
        service.places = 1_000

    monkeypatch.setattr("sovits_service.client.asyncio.sleep", pause)
    service.places = 0
    assert (await speaker.speak("hi", voice="amy")).data[:4] == b"RIFF"
    assert pauses_s == [3.0]  # what Retry-After said


async def test_a_service_that_stays_busy_is_given_up(
    speaker: AsyncClient, service: FastService, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s: list[float] = []

    async def pause(duration_s: float) -> None:
        pauses_s.append(duration_s)

    monkeypatch.setattr("sovits_service.client.asyncio.sleep", pause)
    service.places = 0
    with pytest.raises(ServiceError, match="the queue is full") as caught:
        await speaker.speak("hi", voice="amy")
    assert (caught.value.status, caught.value.retry_after_s, len(pauses_s)) == (503, 3.0, 2)


@pytest.mark.parametrize("settings", [{"api_keys": ({"name": "one", "sha256": "0" * 64},)}])
async def test_keys(speaker: AsyncClient, base_url: str) -> None:
    with pytest.raises(ServiceError, match="a key is required"):
        await speaker.voices()
    async with AsyncClient(base_url, key="guessed") as guesser:
        with pytest.raises(ServiceError, match="the key is not known") as caught:
            await guesser.speak("hi", voice="amy")
        assert caught.value.status == 401


async def test_no_service_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with AsyncClient(f"http://127.0.0.1:{port}") as speaker:
        assert not await speaker.is_ready()
        with pytest.raises(ServiceError, match="the service did not answer: ConnectError"):
            await speaker.speak("hi", voice="amy")


async def test_a_service_that_is_silent_for_too_long(base_url: str, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with AsyncClient(base_url, timeout_s=0.2) as speaker:
        with pytest.raises(ServiceError, match="did not answer: ReadTimeout"):
            await speaker.speak("hi", voice="amy")
    await asyncio.wait_for(service.closed_early.wait(), 20)


@pytest.fixture
def base_url_of_a_thread(service: FastService, settings: dict[str, Any]) -> Any:
    """A server that runs beside a test without an event loop."""
    import threading

    from sovits_service.settings import ServiceSettings
    from tests.api.conftest import serving

    ready, ended = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with serving(service, ServiceSettings(**settings)) as url:
            found.append(url)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    ended.set()
    thread.join()
