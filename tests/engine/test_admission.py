"""What a request meets before the engine: a place first, a deadline from its arrival, pools that do not stop others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sovits_service.deadline import Deadline
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, OverloadedError, SynthesisError
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from tests.calls import Calls
from tests.deadlines import Deadlines
from tests.engine.test_model_store import REQUEST, settings, speak, weights  # noqa: F401 - fixtures
from tests.tiny_pack import write_pack


@pytest.fixture
async def service(tmp_path: Path, settings: ServiceSettings) -> AsyncIterator[Any]:  # noqa: F811
    bounded = settings.model_copy(update={"max_running": 30, "max_queue": 20})
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), bounded)
    await service.start()
    yield service
    await service.stop(0.0)


class SlowReading:
    """Stands in for a reader of texts that takes until it is let go."""

    def __init__(self, service: SpeechService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        read = service._texts.frontend.segments

        def segments(*args: Any, **options: Any) -> Any:
            assert self.release.wait(60.0)
            return read(*args, **options)

        self.calls = Calls(segments)
        monkeypatch.setattr(service._texts.frontend, "segments", self.calls)


@pytest.fixture
def reading(service: SpeechService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    reading = SlowReading(service, monkeypatch)
    yield reading
    reading.release.set()


async def test_long_texts_time_out_while_read_and_do_not_block_voices(
    service: SpeechService, reading: Any, deadlines: Deadlines
) -> None:
    requests = [asyncio.create_task(speak(service, timeout_s=50.0)) for _ in range(40)]
    await reading.calls.reach(1)
    assert [voice.voice_id for voice in await service.voices.all()] == ["tone"]
    deadlines.expire(50.0)
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceededError] * 40
    assert service._engine.stats().active_jobs == 0
    reading.release.set()
    assert len(await speak(service))
    assert reading.calls.count <= 3, "texts whose requests are over are not read"


async def test_a_full_engine_refuses_before_it_reads(
    service: SpeechService, reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    admissions = Calls(service._engine.admit)
    monkeypatch.setattr(service._engine, "admit", admissions)
    waiting = [asyncio.create_task(speak(service)) for _ in range(50)]
    await admissions.reach(50)
    await reading.calls.reach(2)
    with pytest.raises(OverloadedError):
        await speak(service)
    assert reading.calls.count == 2
    reading.release.set()
    assert all(len(speech) for speech in await asyncio.gather(*waiting))


async def test_a_request_whose_time_is_up_when_it_arrives_here_does_nothing(
    service: SpeechService, reading: Any
) -> None:
    with pytest.raises(DeadlineExceededError):
        await service.synthesize(REQUEST, Deadline(1.0, spent_s=1.5))
    assert reading.calls.count == 0


@pytest.mark.parametrize("changes", [{"text": "。"}, {"ref_audio": "nowhere.wav", "voice_id": None}])
async def test_a_refused_request_gives_its_place_back(service: SpeechService, changes: Any) -> None:
    for _ in range(60):  # more than there are places
        with pytest.raises(InvalidRequestError):
            await service.synthesize(replace(REQUEST, **changes))
    assert service._engine.stats().active_jobs == 0


async def test_clips_that_take_long_to_decode_do_not_stop_the_lists(
    service: SpeechService, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(*args: Any) -> None:
        assert release.wait(60.0)
        raise InvalidRequestError("let go")

    decoding = Calls(slow)
    monkeypatch.setattr(service._library.decoder, "_to_wav", decoding)
    uploads = [asyncio.create_task(service.voices.add_reference(b"clip")) for _ in range(20)]
    await decoding.reach(1)
    assert [voice.voice_id for voice in await service.voices.all()] == ["tone"]
    release.set()
    results = await asyncio.gather(*uploads, return_exceptions=True)
    assert [type(result) for result in results] == [InvalidRequestError] * 20


@pytest.mark.parametrize("kind", ["decoding", "voices"])
async def test_a_service_whose_work_hangs_is_not_alive_until_it_goes_on(
    service: SpeechService, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    worker = service._models.current.worker
    release, has_begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    owner, name = (worker._runner, "prefill") if kind == "decoding" else (worker._prompts, "_encode")
    original = getattr(owner, name)

    def hang(*args: Any) -> Any:
        loop.call_soon_threadsafe(has_begun.set)
        release.wait()
        return original(*args)

    monkeypatch.setattr(owner, name, hang)
    worker._prompts._remembered.clear()
    monkeypatch.setattr(service._watch, "_limit_s", 1e-9)
    asked = asyncio.create_task(speak(service))
    await has_begun.wait()
    with capture_logs() as lines:
        await service._watch.look()
        await service._watch.look()
    assert {line["event"] for line in lines} == {"engine_stuck"}
    assert all(kind in line["work"] for line in lines)
    assert len(lines) == 1 or kind == "voices", "the same news twice"  # the loop may be at work beside a stage
    assert not service.is_alive
    assert service.stats()["stuck"] == 1.0
    monkeypatch.setattr(service._watch, "_limit_s", 600.0)
    release.set()
    await asked
    with capture_logs() as lines:
        await service._watch.look()
    assert [line["event"] for line in lines] == ["engine_goes_on"]
    assert service.is_alive
    assert service.stats()["stuck"] == 0.0


async def test_a_service_whose_loop_has_ended_is_neither_alive_nor_ready(
    service: SpeechService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(self: Any, stages: Any) -> Any:
        if self.is_idle:  # the loop may still look at what the warm-up left
            return False
        raise SystemExit

    monkeypatch.setattr(type(service._models.current.worker), "step", end)
    with pytest.raises(SynthesisError):
        await speak(service)
    assert not service.is_alive
    assert not service.is_ready
