"""/ws/tts of a real process: the engine speaks while the text is written, and falls silent when it is told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import read_metric

SENTENCE = "This story begins in a small town by the river, where nothing ever seemed to change. "


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def receive(socket: ClientConnection) -> bytes | dict[str, Any]:
    message = await asyncio.wait_for(socket.recv(), 60)
    return message if isinstance(message, bytes) else dict(json.loads(message))


async def until_done(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """The messages of a turn, and the bytes of its audio."""
    messages: list[dict[str, Any]] = []
    size = 0
    while not messages or messages[-1]["type"] != "done":
        received = await receive(socket)
        if isinstance(received, bytes):
            size += len(received)
        else:
            messages.append(received)
    return messages, size


async def test_it_speaks_while_the_text_is_written_and_is_silent_when_told(server: Served) -> None:
    async with connect(f"{server.url.replace('http', 'ws')}/ws/tts") as socket:
        await send(socket, type="start", voice_id="female_calm", streaming_mode=3, seed=1)
        started = await receive(socket)
        assert isinstance(started, dict)
        assert started["type"] == "started"
        await send(socket, type="text", text=SENTENCE * 8)
        while not isinstance(await receive(socket), bytes):
            pass
        await send(socket, type="cancel")
        messages, _ = await until_done(socket)
        assert messages[-1]["cancelled"]
        await send(socket, type="text", text="Hello ")
        await send(socket, type="text", text="there.")
        await send(socket, type="end")
        messages, size = await until_done(socket)
        assert [message["type"] for message in messages] == ["segment", "done"]
        assert size > 8_000
    assert await asyncio.to_thread(read_metric, server, "sovits_engine_active_requests") == 0
