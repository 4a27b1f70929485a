"""/ws/tts over a real server with a real WebSocket client: a text in as it is written, its speech out meanwhile."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket as socket_module
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.fast_service import CHARACTER_SAMPLES, RATE_HZ, FastService, heard, pitch_hz
from tests.api.test_voices import clip

KEY = {"name": "one", "sha256": hashlib.sha256(b"secret").hexdigest(), "scopes": ("synth",)}
STUDIO = {"name": "studio", "sha256": hashlib.sha256(b"studio").hexdigest(), "scopes": ("synth", "upload")}
START = {"type": "start", "voice_id": "amy", "fragment_interval": 0, "max_wait_s": 30}


@pytest.fixture
def open_socket(base_url: str) -> Any:
    def opened(**options: Any) -> Any:
        return connect(base_url.replace("http", "ws") + "/ws/tts", **options)

    return opened


@pytest.fixture
async def socket(open_socket: Any) -> AsyncIterator[ClientConnection]:
    """A session of amy's voice that has begun."""
    async with open_socket() as connection:
        await send(connection, **START)
        assert (await told(connection))["type"] == "started"
        yield connection


async def send(connection: ClientConnection, **message: Any) -> None:
    await connection.send(json.dumps(message))


async def told(connection: ClientConnection) -> dict[str, Any]:
    """The next message, which must not be audio."""
    message = await asyncio.wait_for(connection.recv(), 20)
    assert isinstance(message, str), "audio"
    return dict(json.loads(message))


async def until(connection: ClientConnection, kind: str) -> tuple[list[dict[str, Any]], bytes]:
    """The messages up to the first of a kind, and the audio among them."""
    messages: list[dict[str, Any]] = []
    audio: list[bytes] = []
    while not messages or messages[-1]["type"] != kind:
        received = await asyncio.wait_for(connection.recv(), 20)
        if isinstance(received, bytes):
            audio.append(received)
        else:
            messages.append(json.loads(received))
    return messages, b"".join(audio)


def assert_said(audio: bytes, text: str, voice: str = "amy") -> None:
    samples = np.frombuffer(audio, "<i2").astype(np.float32)
    assert len(samples) == len(text) * CHARACTER_SAMPLES
    expected = [pitch_hz(voice, character) for character in text]
    assert heard(samples, len(text)) == pytest.approx(expected, abs=10)


async def test_sentences_are_said_while_the_text_is_written(socket: ClientConnection, service: FastService) -> None:
    await send(socket, type="text", text="Good day! ")
    segments, audio = await until(socket, "segment")
    assert segments[0] == {
        "type": "segment", "index": 0, "start": 0, "end": 10, "sample_rate": RATE_HZ, "seed": 1234, "warnings": [],
    }  # fmt: skip
    await send(socket, type="text", text="How are")
    await send(socket, type="text", text=" you")
    await send(socket, type="flush")
    messages, more = await until(socket, "done")
    assert [message["type"] for message in messages] == ["segment", "done"]
    assert (messages[0]["start"], messages[0]["end"]) == (10, 21)
    assert_said(audio + more, "Good day! How are you")
    assert [request.text for request in service.requests] == ["Good day! ", "How are you"]
    assert messages[-1]["duration_s"] == pytest.approx(21 * CHARACTER_SAMPLES / RATE_HZ)


async def test_turns_follow_each_other_and_end_closes(socket: ClientConnection) -> None:
    for text in ("first turn", "second turn"):
        await send(socket, type="text", text=text)
        await send(socket, type="flush")
    for text in ("first turn", "second turn"):
        messages, audio = await until(socket, "done")
        assert (messages[0]["index"], messages[0]["start"]) == (0, 0)
        assert_said(audio, text)
    await send(socket, type="text", text="the last")
    await send(socket, type="end")
    _, audio = await until(socket, "done")
    assert_said(audio, "the last")
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    assert socket.close_code == 1000


async def test_a_writer_who_pauses_is_said_after_the_longest_wait(open_socket: Any, service: FastService) -> None:
    async with open_socket() as socket:
        await send(socket, **{**START, "max_wait_s": 0.05})
        await told(socket)
        await send(socket, type="text", text="I went to the mar")
        await until(socket, "segment")
        assert service.requests[0].text == "I went to the "
        await send(socket, type="text", text="ket")
        await send(socket, type="flush")
        await until(socket, "done")
        assert service.requests[1].text == "market"


async def test_cancel_silences_at_once_and_the_next_turn_is_heard(
    socket: ClientConnection, service: FastService
) -> None:
    service.gate = asyncio.Semaphore(0)
    await send(socket, type="text", text="one two three. four five six. And")
    _, audio = await until(socket, "segment")
    await asyncio.wait_for(socket.recv(), 20)
    await send(socket, type="cancel")
    assert await told(socket) == {"type": "done", "duration_s": 0.0, "cancelled": True}
    await asyncio.wait_for(service.closed_early.wait(), 20)
    service.gate = None
    await send(socket, type="text", text="again")
    await send(socket, type="flush")
    messages, audio = await until(socket, "done")
    assert_said(audio, "again")
    assert [request.text for request in service.requests] == ["one two three. ", "again"]
    assert messages[0]["index"] == 0


async def test_cancel_after_end_closes_too(socket: ClientConnection, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    await send(socket, type="text", text="one two three")
    await send(socket, type="end")
    await until(socket, "segment")
    await send(socket, type="cancel")
    async for _ in socket:
        pass
    assert (socket.close_code, service.started - service.closed) == (1000, 0)


async def test_a_client_that_goes_away_ends_its_work(socket: ClientConnection, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    await send(socket, type="text", text="one two three. And")
    await until(socket, "segment")
    await socket.close()
    await asyncio.wait_for(service.closed_early.wait(), 20)


async def test_a_slow_listener_bounds_what_is_made(base_url: str, service: FastService) -> None:
    host, port = base_url.removeprefix("http://").split(":")
    listener = socket_module.socket()
    listener.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 64 * 1024)
    listener.connect((host, int(port)))
    async with connect(f"ws://{host}:{port}/ws/tts", sock=listener) as socket:
        await send(socket, **START)
        await told(socket)
        for _ in range(40):  # 100 characters are 5 s, 320 kB; the system takes some megabytes itself
            await send(socket, type="text", text="x" * 98 + "! ")
        await asyncio.wait_for(service.began.wait(), 20)
        before = -1
        while before != service.started:  # nothing is read meanwhile
            before = service.started
            for _ in range(30_000):  # rounds of the loop that both sides share; a fragment takes fewer
                await asyncio.sleep(0)
        assert service.started < 35
        await send(socket, type="text", text="y" * 9_000)
        refused: Any = b""
        while isinstance(refused, bytes) or json.loads(refused)["type"] != "error":
            refused = await asyncio.wait_for(socket.recv(), 20)
        assert json.loads(refused)["message"].startswith("at most 10,000 characters may be in a turn")
        await send(socket, type="flush")
        messages, _ = await until(socket, "done")
        assert messages[-1]["duration_s"] == pytest.approx(40 * 5.0, abs=0.1)


@pytest.mark.parametrize(
    ("message", "status", "expected"),
    [
        ({"type": "text", "text": "hi"}, 400, "the first message must be start"),
        ({**START, "voice_id": "nobody"}, 404, "there is no voice of this id"),
        ({**START, "text_lang": "xx"}, 400, "text_lang: xx is not supported"),
        ({**START, "media_type": "gsm"}, 400, "media_type: gsm is not supported"),
        ({**START, "max_wait_s": "soon"}, 400, "max_wait_s must be a number of seconds from 0.05 to 30"),
        ([], 400, "a message must be a JSON object"),
    ],
)
async def test_a_session_that_cannot_begin_is_told_why(
    open_socket: Any, message: Any, status: int, expected: str
) -> None:
    async with open_socket() as socket:
        await socket.send(json.dumps(message))
        error = await told(socket)
        assert (error["type"], error["status"]) == ("error", status)
        assert error["message"].startswith(expected)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


@pytest.mark.parametrize("message", ["{", "[]", '{"type": "sing"}', '{"type": "text", "text": 5}', b"\0\1", '"' * 9])
async def test_a_message_that_is_none_ends_the_session(socket: ClientConnection, message: str | bytes) -> None:
    await socket.send(message)
    assert (await told(socket))["status"] == 400
    with pytest.raises(ConnectionClosed):
        await socket.recv()


async def test_a_sentence_that_cannot_be_said_does_not_end_the_turn(socket: ClientConnection) -> None:
    await send(socket, type="text", text="broken as it is.\nlate as it is.\nAll is well.\n")
    await send(socket, type="flush")
    messages, audio = await until(socket, "done")
    assert [message["type"] for message in messages] == ["error", "error", "segment", "done"]
    assert [message.get("status") for message in messages] == [400, 504, None, None]
    assert [message.get("start") for message in messages] == [0, 17, 32, None]
    assert_said(audio, "All is well.\n")


async def test_text_without_a_word_is_passed_over(socket: ClientConnection, service: FastService) -> None:
    await send(socket, type="text", text="... 😀 \n")
    await send(socket, type="flush")
    assert await told(socket) == {"type": "done", "duration_s": 0.0, "cancelled": False}
    assert service.requests == []


async def test_a_wav_has_one_header_in_a_turn_and_warnings_come_with_started(open_socket: Any) -> None:
    async with open_socket() as socket:
        await send(socket, **{**START, "media_type": "audio/wav", "emotion": "furious", "fragment_interval": 0.1})
        assert (await told(socket))["warnings"][0].startswith("the voice has no such emotion")
        await send(socket, type="text", text="one two three!\nfour")
        await send(socket, type="flush")
        _, audio = await until(socket, "done")
        assert (audio[:4], audio.count(b"RIFF")) == (b"RIFF", 1)
        assert len(audio) == 44 + 2 * (19 * CHARACTER_SAMPLES + RATE_HZ // 10)


@pytest.mark.parametrize("settings", [{"api_keys": (KEY,)}])
async def test_a_key_comes_in_a_header_or_in_start(open_socket: Any) -> None:
    async with open_socket(additional_headers={"Authorization": "Bearer secret"}) as socket:
        await send(socket, **START)
        assert (await told(socket))["type"] == "started"
    async with open_socket() as socket:
        await send(socket, **START, key="secret")
        assert (await told(socket))["type"] == "started"
    for key in ({}, {"key": "guessed"}, {"key": 5}):
        async with open_socket() as socket:
            await send(socket, **START, **key)
            assert (await told(socket))["status"] == 401
            with pytest.raises(ConnectionClosed):
                await socket.recv()
    with pytest.raises(InvalidStatus) as caught:
        await open_socket(additional_headers={"X-API-Key": "guessed"}).__aenter__()
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["message"] == "the key is not known"


@pytest.mark.parametrize("settings", [{"api_keys": (KEY, STUDIO)}])
@pytest.mark.parametrize("is_header", [True, False])
@pytest.mark.parametrize("field", ["ref_audio_path", "timbre_ref_audio_path", "aux_ref_audio_paths"])
async def test_a_clip_within_start_is_kept_as_an_upload(
    open_socket: Any, service: FastService, is_header: bool, field: str
) -> None:
    inline = f"data:audio/wav;base64,{base64.b64encode(clip()).decode()}"
    for key, status in (("secret", 403), ("studio", 0)):
        options = {"additional_headers": {"X-API-Key": key}} if is_header else {}
        async with open_socket(**options) as socket:
            start = {
                **START,
                field: [inline] if field.startswith("aux") else inline,
                **({} if is_header else {"key": key}),
            }
            await send(socket, **start)
            answer = await told(socket)
            if status:
                assert (answer["status"], answer["message"]) == (status, "the key lacks the scope upload")
                assert service.references == {}
            else:
                assert answer["type"] == "started", answer
                assert list(service.references.values()) == [clip()]
                assert [owner for _, owner in service.details] == ["studio"]


@pytest.mark.parametrize("settings", [{"connections": {"header_s": 1.0}, "api_keys": (KEY,)}])
async def test_a_client_that_says_nothing_is_shut_out(open_socket: Any) -> None:
    async with open_socket() as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 20)
        assert socket.close_code == 1001


@pytest.mark.parametrize("settings", [{"connections": {"idle_s": 0.1}}])
async def test_an_idle_session_is_closed(socket: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(socket.recv(), 20)
    assert socket.close_code == 1001


async def test_strangers_pages_and_names_are_refused(base_url: str, open_socket: Any) -> None:
    _, _, port = base_url.rpartition(":")
    renamed = connect(f"ws://rebound.example:{port}/ws/tts", host="127.0.0.1", port=int(port))
    for attempt in (open_socket(origin="https://stranger.example"), renamed):
        with pytest.raises(InvalidStatus) as caught:
            await attempt.__aenter__()
        assert caught.value.response.status_code == 403


async def test_pages_of_this_machine_may_speak(open_socket: Any) -> None:
    async with open_socket(origin="http://localhost:8000") as socket:
        await send(socket, **START)
        assert (await told(socket))["type"] == "started"


@pytest.mark.parametrize("settings", [{"rate_limit": "2/hour"}])
async def test_a_turn_counts_as_a_request(socket: ClientConnection) -> None:
    for _ in range(2):
        await send(socket, type="text", text="hello")
        await send(socket, type="flush")
        await until(socket, "done")
    await send(socket, type="text", text="hello")
    refused = await told(socket)
    assert (refused["status"], refused["message"][:17]) == (429, "too many requests")


@pytest.mark.parametrize("settings", [{"max_concurrent_per_client": 1}])
async def test_a_session_takes_a_place_of_its_client_while_it_speaks(
    socket: ClientConnection, client: httpx.AsyncClient, service: FastService
) -> None:
    service.gate = asyncio.Semaphore(0)
    await send(socket, type="text", text="one two three. And")
    await until(socket, "segment")
    refused = await client.post("/tts", json={"text": "hi", "text_lang": "en", "voice_id": "amy"})
    assert refused.status_code == 429
    service.gate.release()


async def test_the_log_has_the_connection_and_nothing_that_was_said(
    base_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with connect(f"{base_url.replace('http', 'ws')}/ws/tts?text=private") as socket:
        await send(socket, **START)
        await told(socket)
        await send(socket, type="text", text="private words")
        await send(socket, type="end")
        await until(socket, "done")
        await socket.wait_closed()
    captured = capfd.readouterr()
    assert "route=/ws/tts" in captured.out + captured.err
    assert "private" not in captured.out + captured.err


@pytest.mark.parametrize("settings", [{"dialects": {"websocket": False}}])
async def test_it_can_be_switched_off(open_socket: Any) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await open_socket().__aenter__()
    assert caught.value.response.status_code in (403, 404)
