"""Run the HTTP server: load the models, answer, and drain on shutdown."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn
from fastapi import FastAPI

from sovits_service.api.connections import server_config
from sovits_service.api.dialects.wyoming import WyomingServer
from sovits_service.errors import SettingsError
from sovits_service.settings import ServiceSettings
from sovits_service.threads import keep_from_collector

if TYPE_CHECKING:
    from sovits_service.jobs.jobs import Jobs
    from sovits_service.service.service import SpeechService

log = structlog.get_logger(__name__)

_FLUSH_S = 1  # at least so long for answers whose speech is made, when the deadline has passed


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a port in use is told before anything is loaded.

    Raises:
        SettingsError: the address or the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise SettingsError(f"cannot listen on {host} port {port}: a port is a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or "the address is not known"
        raise SettingsError(f"cannot listen on {host} port {port}: {reason}; choose another with -a or -p") from None
    # For all its connections, as uvloop does by itself, and asyncio only for a socket that was made for TCP by name.
    # Otherwise a part of an answer waits until the client acknowledges the one before it, which takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class DrainingServer(uvicorn.Server):
    """uvicorn, but for its ends: it listens while the model loads, and goes on answering while it drains.

    The first SIGTERM or SIGINT refuses new work with 503, lets what runs finish within the deadline, then ends with
    exit code 0; the second ends at once.
    """

    def __init__(self, app: FastAPI, service: SpeechService, settings: ServiceSettings) -> None:
        super().__init__(server_config(app, settings))
        self.failure: BaseException | None = None
        self._service = service
        self._drain_s = settings.drain_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._wyoming = WyomingServer(app.state.context) if settings.wyoming.port else None
        self._draining: asyncio.Task[None] | None = None
        self._jobs: Jobs | None = app.state.context.jobs

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load in the background: /health answers from now on, /ready when the model is warm."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        if self._wyoming is not None:
            try:
                await self._wyoming.start()
            except SettingsError as error:
                self.failure, self.should_exit = error, True
                return
        if self._jobs is not None:
            self._jobs.start()
        self._starting = self._loop.create_task(self._start_service())
        self._starting.add_done_callback(self._on_started)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, and the engine with them where nothing drained it before."""
        if self._wyoming is not None:
            await self._wyoming.stop()
        if self._jobs is not None:
            await self._jobs.stop()
        await super().shutdown(sockets)
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        if self._draining is None and self.failure is None:
            await self._service.stop(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; not passed on to uvicorn's, which would end the process by the same signal."""
        if self._draining is not None or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        log.info("draining", signal=signal.Signals(sig).name, deadline_s=self._drain_s)
        self._loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Refuse new work, and end when what runs has finished; called in the event loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_s
        if self._jobs is not None:
            await self._jobs.stop()
        if self._starting is not None:
            self._starting.cancel()  # nothing happens where it has finished
        await self._service.stop(self._drain_s)
        self.config.timeout_graceful_shutdown = max(_FLUSH_S, math.ceil(deadline - loop.time()))
        self.should_exit = True

    async def _start_service(self) -> None:
        await self._service.start()
        keep_from_collector()

    def _on_started(self, starting: asyncio.Task[None]) -> None:
        if starting.cancelled():
            return
        self.failure = starting.exception()
        if self.failure is not None:
            self.should_exit = True
        else:
            log.info("ready")
