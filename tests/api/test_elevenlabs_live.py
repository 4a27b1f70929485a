"""ElevenLabs' WebSockets, with its own client where that has one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elevenlabs.client import ElevenLabs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.fast_service import CHARACTER_S, FastService

KEY = {"name": "one", "sha256": hashlib.sha256(b"secret").hexdigest(), "scopes": ("synth",)}


@pytest.fixture
def address(base_url: str) -> str:
    return base_url.replace("http", "ws") + "/v1/text-to-speech/amy"


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def told(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(await asyncio.wait_for(socket.recv(), 20)))


async def heard_until_final(socket: ClientConnection, context_id: str | None = None) -> int:
    """Samples of 16-bit PCM of a context until its end."""
    size = 0
    while True:
        message = await told(socket)
        if context_id is not None and message["contextId"] != context_id:
            continue
        if message["isFinal"]:
            return size // 2
        size += len(base64.b64decode(message["audio"]))


@pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated:DeprecationWarning")  # in that client
async def test_the_official_client_speaks_while_it_writes(base_url: str, service: FastService) -> None:
    def words() -> Iterator[str]:
        yield from ("Good day! ", "How ", "are ", "you?")

    def speak() -> bytes:
        client = ElevenLabs(base_url=base_url, api_key="none")
        # Its client asks for TLS whatever the address says.
        client.text_to_speech._ws_base_url = base_url.replace("http", "ws")
        pieces = client.text_to_speech.convert_realtime(
            "amy", text=words(), model_id="eleven_turbo_v2", output_format="pcm_16000"
        )
        return b"".join(pieces)

    samples = np.frombuffer(await asyncio.to_thread(speak), "<i2")
    said = "".join(request.text for request in service.requests)
    assert said.split() == ["Good", "day!", "How", "are", "you?"]
    assert len(service.requests) == 2
    pause_s = 0.3
    assert len(samples) / 16_000 == pytest.approx(len(said) * CHARACTER_S + pause_s, abs=0.01)


async def test_text_is_said_at_a_flush_and_an_empty_text_ends(address: str, service: FastService) -> None:
    async with connect(f"{address}/stream-input?output_format=pcm_32000&language_code=en") as socket:
        await send(socket, text=" ", voice_settings={"speed": 1.1})
        await send(socket, text="hello", flush=True)
        first = await told(socket)
        assert (first["isFinal"], first["alignment"]) == (False, None)
        await send(socket, text="there")
        await send(socket, text="")
        size = len(base64.b64decode(first["audio"])) // 2 + await heard_until_final(socket)
        assert size == (len(" hello") + len("there")) * 1600
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000
    assert [request.text for request in service.requests] == [" hello", "there"]
    assert {(request.speed, request.text_lang) for request in service.requests} == {(1.1, "en")}


async def test_contexts_are_told_apart(address: str, service: FastService) -> None:
    async with connect(f"{address}/multi-stream-input?output_format=pcm_32000") as socket:
        await send(socket, text="one two three", context_id="a")
        await send(socket, text="four five", context_id="b")
        await send(socket, context_id="b", close_context=True)
        assert await heard_until_final(socket, "b") == len("four five") * 1600
        await send(socket, context_id="a", flush=True)
        await send(socket, text="six", context_id="a")
        await send(socket, context_id="a", close_context=True)
        assert await heard_until_final(socket, "a") == (len("one two three") + len("six")) * 1600
        await send(socket, close_socket=True)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000
    assert service.started == service.closed == 3


async def test_there_is_a_limit_to_contexts(address: str) -> None:
    async with connect(f"{address}/multi-stream-input") as socket:
        for number in range(9):
            await send(socket, text="hello", context_id=str(number))
        while "error" not in (message := await told(socket)):
            pass
        assert message["message"] == "at most 8 contexts may be open; close one first"


@pytest.mark.parametrize(
    ("path", "first", "expected"),
    [
        ("stream-input?output_format=gsm", {"text": " "}, "output_format: gsm is not supported"),
        ("stream-input?language_code=xx", {"text": " "}, "text_lang: xx is not supported"),
        ("stream-input", {"text": 5}, "text should be a valid string"),
        ("stream-input", [], "a message must be a JSON object"),
        ("multi-stream-input", {"text": "hi", "voice_settings": 1}, "voice_settings should be an object"),
    ],
)
async def test_what_cannot_begin_is_told_why(address: str, path: str, first: Any, expected: str) -> None:
    async with connect(f"{address}/{path}") as socket:
        await socket.send(json.dumps(first))
        assert (await told(socket))["message"].startswith(expected)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


@pytest.mark.parametrize("settings", [{"api_keys": (KEY,)}])
async def test_a_key_comes_in_a_header_or_in_the_first_message(address: str) -> None:
    for headers, first in (({"xi-api-key": "secret"}, {}), ({}, {"xi_api_key": "secret"})):
        async with connect(f"{address}/stream-input", additional_headers=headers) as socket:
            await send(socket, text="hello ", **first)
            await send(socket, text="")
            assert (await told(socket))["audio"]
    async with connect(f"{address}/stream-input") as socket:
        await send(socket, text="hello ", xi_api_key="guessed")
        assert (await told(socket))["message"] == "the key is not known"
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{address}/stream-input", additional_headers={"xi-api-key": "guessed"}).__aenter__()
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["detail"]["status"] == "invalid_api_key"


async def test_a_client_that_goes_away_ends_its_work(address: str, service: FastService) -> None:
    service.gate = asyncio.Semaphore(0)
    async with connect(f"{address}/multi-stream-input?output_format=pcm_32000") as socket:
        await send(socket, text="one two three", context_id="a", flush=True)
        await told(socket)
    await asyncio.wait_for(service.closed_early.wait(), 20)
