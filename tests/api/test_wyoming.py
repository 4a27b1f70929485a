"""The Wyoming port with the protocol's own client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from sovits_service.api.app import create_app
from sovits_service.api.dialects.wyoming import WyomingServer
from sovits_service.errors import SettingsError
from sovits_service.settings import ServiceSettings
from sovits_service.types import Emotion, Voice
from tests.api.fast_service import CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz


@pytest.fixture
def service() -> FastService:
    amy = Voice("amy", "amy.wav", "hello there", "en", emotions={"happy": Emotion("happy.wav")})
    return FastService(templates={"amy": amy, "bob": Voice("bob", "bob.wav", "你好", "zh")})


@pytest.fixture
async def port(service: FastService, settings: dict[str, Any]) -> AsyncIterator[int]:
    app = create_app(service, ServiceSettings(**settings))  # type: ignore[arg-type] # with the methods of a SpeechService
    server = WyomingServer(app.state.context)
    await server.start()
    yield server.port
    await server.stop()


@pytest.fixture
async def client(port: int) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", port) as connection:
        yield connection


async def told(client: AsyncTcpClient) -> Event:
    event = await asyncio.wait_for(client.read_event(), 20)
    assert event is not None
    return event


async def heard_until_stop(client: AsyncTcpClient) -> bytes:
    start = AudioStart.from_event(await told(client))
    assert (start.rate, start.width, start.channels) == (RATE_HZ, 2, 1)
    audio = []
    while not AudioStop.is_type((event := await told(client)).type):
        audio.append(AudioChunk.from_event(event).audio)
    return b"".join(audio)


async def test_describe_names_the_voices(client: AsyncTcpClient) -> None:
    await client.write_event(Describe().event())
    [program] = Info.from_event(await told(client)).tts
    assert program.supports_synthesize_streaming
    assert [voice.name for voice in program.voices] == ["amy", "bob"]
    assert (program.voices[0].languages[0], program.voices[1].languages[0]) == ("en", "zh")
    assert [speaker.name for speaker in program.voices[0].speakers or []] == ["happy"]


async def test_a_text_is_said(client: AsyncTcpClient, service: FastService) -> None:
    await client.write_event(Synthesize("abc", SynthesizeVoice(name="amy", speaker="happy")).event())
    samples = np.frombuffer(await heard_until_stop(client), "<i2").astype(np.float32)
    assert len(samples) == 3 * CHARACTER_SAMPLES
    assert heard(samples, 3) == pytest.approx([pitch_hz("amy", character) for character in "abc"], abs=10)
    assert (service.requests[0].emotion, service.requests[0].text_lang) == ("happy", "auto")


async def test_the_voice_may_be_a_language_or_none(client: AsyncTcpClient, service: FastService) -> None:
    for voice in (SynthesizeVoice(language="zh-CN"), None):
        await client.write_event(Synthesize("abc", voice).event())
        await heard_until_stop(client)
    assert [(request.voice_id, request.text_lang) for request in service.requests] == [("bob", "zh"), ("amy", "auto")]


async def test_a_text_is_said_while_it_is_written(client: AsyncTcpClient, service: FastService) -> None:
    await client.write_event(SynthesizeStart(SynthesizeVoice(name="bob")).event())
    await client.write_event(SynthesizeChunk("Good day! And ").event())
    assert AudioStart.is_type((await told(client)).type)
    size = 0
    await client.write_event(SynthesizeChunk("good night").event())
    await client.write_event(Synthesize("Good day! And good night").event())  # for servers that do not stream
    await client.write_event(SynthesizeStop().event())
    while not AudioStop.is_type((event := await told(client)).type):
        size += len(AudioChunk.from_event(event).audio)
    assert SynthesizeStopped.is_type((await told(client)).type)
    said = "".join(request.text for request in service.requests)
    assert said == "Good day! And good night"
    assert size // 2 == len(said) * CHARACTER_SAMPLES + int(0.3 * RATE_HZ)
    await client.write_event(Synthesize("abc").event())
    assert len(await heard_until_stop(client)) == 3 * CHARACTER_SAMPLES * 2


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Synthesize("hi", SynthesizeVoice(name="nobody")).event(), "there is no voice of this id"),
        (Synthesize("hi", SynthesizeVoice(language="xx")).event(), "text_lang: xx is not supported"),
        (Synthesize("broken as it is").event(), "the model's output is not finite"),
        (Event("synthesize", {"text": 5}), "text should be a valid string"),
        (Event("synthesize", {"text": "hi", "voice": "amy"}), "voice should be an object"),
        (Synthesize("").event(), "text has nothing to read"),
        (Synthesize("😀 …").event(), "text has nothing to read"),
        (Synthesize("a" * 10_001).event(), "at most 10,000 characters"),
    ],
)
async def test_a_failure_is_told_and_the_next_text_is_said(client: AsyncTcpClient, event: Event, expected: str) -> None:
    await client.write_event(event)
    assert Error.from_event(await told(client)).text.startswith(expected)
    assert AudioStop.is_type((await told(client)).type)  # Home Assistant waits for it, and passes over the error
    await client.write_event(Synthesize("abc").event())
    assert len(await heard_until_stop(client)) == 3 * CHARACTER_SAMPLES * 2


@pytest.mark.parametrize("voice", [SynthesizeVoice(name="nobody"), None])
async def test_a_text_that_is_written_for_nothing_ends_too(
    client: AsyncTcpClient, voice: SynthesizeVoice | None
) -> None:
    await client.write_event(SynthesizeStart(voice).event())
    await client.write_event(SynthesizeChunk("…").event())
    await client.write_event(SynthesizeStop().event())
    if voice is not None:
        assert Error.from_event(await told(client)).text.startswith("there is no voice")
    assert SynthesizeStopped.is_type((await told(client)).type)


@pytest.mark.parametrize(
    "sent",
    [
        b"\n", b"{}\n", b"[]\n", b"nonsense\n", b'{"type": "synthesize", "data": 5}\n', b"x" * 200_000,
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n', b'{"type": "x", "data_length": -1}\n',
        b'{"type": "synthesize", "data_length": 2}\n[]', b"[" * 60_000 + b"\n",
        b'{"type": "x", "data_length": 1e999}\n',
    ],
    ids=range(11),
)  # fmt: skip
async def test_what_is_no_event_ends_the_connection(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_connections_are_bounded(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(64)]
    for _, writer in held:  # each is served
        writer.write(b'{"type": "ping"}\n')
    assert all([await asyncio.wait_for(reader.readline(), 20) for reader, _ in held])
    held.append(await asyncio.open_connection("127.0.0.1", port))
    assert await asyncio.wait_for(held[-1][0].read(), 20) == b""
    for _, writer in held:
        writer.close()


async def test_other_events_are_passed_over(port: int) -> None:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Event("transcribe", {"language": "en"}, b"payload"))
        await client.write_event(Event("ping", {"text": "hi"}))
        assert (await told(client)).type == "pong"


async def test_a_client_that_goes_away_ends_its_work(port: int, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Synthesize("one two three").event())
        await told(client)
    await asyncio.wait_for(service.closed_early.wait(), 20)


@pytest.mark.parametrize("settings", [{"rate_limit": "1/hour"}])
async def test_the_rate_limit_holds(client: AsyncTcpClient) -> None:
    await client.write_event(Synthesize("abc").event())
    await heard_until_stop(client)
    await client.write_event(Synthesize("abc").event())
    assert Error.from_event(await told(client)).code == "RateLimitedError"


async def test_a_port_that_is_taken_is_told(port: int, service: FastService) -> None:
    app = create_app(service, ServiceSettings(wyoming={"port": port}))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1 port {port} for Wyoming"):
        await WyomingServer(app.state.context).start()


def test_with_keys_it_stands_for_one_of_them() -> None:
    keys = [{"name": "home", "sha256": "0" * 64}, {"name": "other", "sha256": "1" * 64, "scopes": ["upload"]}]
    assert ServiceSettings().wyoming.port == 0
    for wyoming in ({"port": 1}, {"port": 1, "as_key": "nobody"}, {"port": 1, "as_key": "other"}):
        with pytest.raises(ValidationError, match=r"wyoming\.as_key must name one of api_keys"):
            ServiceSettings.model_validate({"api_keys": keys, "wyoming": wyoming})
    ServiceSettings.model_validate({"api_keys": keys, "wyoming": {"port": 1, "as_key": "home"}})
