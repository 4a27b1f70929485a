"""A real uvicorn on a free loopback port with the fast service behind it, and a real HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn

from sovits_service.api.app import create_app
from sovits_service.api.connections import server_config
from sovits_service.api.server import listen
from sovits_service.settings import ServiceSettings
from sovits_service.types import Voice
from tests.api.fast_service import FastService

_GRACE_S = 1.0  # for answers that a test has not waited for


@contextlib.asynccontextmanager
async def serving(service: FastService, settings: ServiceSettings, **options: Any) -> AsyncIterator[str]:
    """Serves on a loopback port that the system picks; gives the base URL."""
    config = server_config(create_app(service, settings, **options), settings)
    with listen("127.0.0.1", 0) as listener:
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        await server.on_tick(0)  # sets the headers of every answer
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await _close(server)


async def _close(server: uvicorn.Server) -> None:
    """Ends as uvicorn does, but for its sleeps: 0.1 s at least, after each of a thousand tests."""
    state = server.server_state
    for listener in server.servers:
        listener.close()
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        _, late = await asyncio.wait(state.tasks, timeout=_GRACE_S)
        for task in late:
            task.cancel()
    for connection in list(state.connections):
        connection.transport.abort()
    while state.connections:  # each is told of its end in the next round of the loop
        await asyncio.sleep(0)


@pytest.fixture
def service() -> FastService:
    voice = Voice("amy", "amy.wav", "hello there", "en", description="A test.", defaults={"speed_factor": 1.25})
    return FastService(templates={"amy": voice, "bob": Voice("bob", "bob.wav", "good day", "en")})


@pytest.fixture
def settings() -> dict[str, Any]:
    """Service settings of a test module or a parametrized test; the defaults otherwise."""
    return {}


@pytest.fixture
async def base_url(service: FastService, settings: dict[str, Any]) -> AsyncIterator[str]:
    async with serving(service, ServiceSettings(**settings)) as url:
        yield url


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=20.0) as http:
        yield http


@pytest.fixture
def say() -> Callable[..., dict[str, Any]]:
    """A valid body of /tts, with changes."""

    def body(text: str = "hello", **changes: Any) -> dict[str, Any]:
        return {"text": text, "text_lang": "en", "voice_id": "amy", **changes}

    return body
