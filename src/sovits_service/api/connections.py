"""HTTP/1.1 and WebSocket protocols for uvicorn, with limits on every client.

A request costs nothing but its headers until a route looks at its key, so what comes before is bounded here: how many
connections there are, how long the headers of a request may be and how long they may take to arrive.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sovits_service.api.middleware import plain_path
from sovits_service.settings import ServiceSettings

log = structlog.get_logger(__name__)

# Longer than the 60 s of common load balancers, and than a busy client's pause: a server that closes first resets the
# request that is on its way.
_KEEP_ALIVE_S = 75
_RESERVE = 8  # connections beyond the bound, for probes: a busy service is not one to be restarted
_PROBES = frozenset({"/health", "/ready"})
_TOO_MANY = "too many connections; try again in a moment"


def server_config(app: FastAPI, settings: ServiceSettings, **options: Any) -> uvicorn.Config:
    """How every server of ours speaks HTTP.

    By h11, which bounds headers; and httptools answers a client of HTTP/1.0 in chunks, which it takes for audio.

    Args:
        app: as `create_app` makes it.
        options: further ones of `uvicorn.Config`.
    """
    return uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, settings, app.state.websocket_paths),  # type: ignore[arg-type] # it is only called
        ws=SilentWebSocket,
        ws_max_size=settings.max_request_bytes,
        ws_ping_timeout=settings.stall_s,  # one that does not read for a while answers no ping either
        ws_per_message_deflate=False,  # sound does not get smaller, and what unfolds has no bound of its own
        h11_max_incomplete_event_size=settings.connections.header_bytes,
        timeout_keep_alive=_KEEP_ALIVE_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        access_log=False,
        log_config=None,
        lifespan="off",
        **options,
    )


_unheard = logging.getLogger(f"{__name__}.unheard")
_unheard.disabled = True


class SilentWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket without its log, which has the whole address of an upgrade; the edge logs each connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = _unheard
        self.conn.debug = False

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The route has ended. A client that reads nothing any more would keep its connection for ever."""
        super().on_task_complete(task)
        self.loop.call_later(self.close_timeout, self.transport.abort)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 over h11, with bounds on what a client may hold before, and after, its request is served.

    Where there are as many connections as allowed, one that waits for its next request makes room for a new one, so
    that idle ones cannot keep others out; where all are at work, the new one is refused with 503. A few more are let
    in to ask for the health of the service, and for nothing else.

    Args:
        websocket_paths: where there are WebSockets; an upgrade to one elsewhere is passed over, as HTTP allows.
    """

    def __init__(
        self, settings: ServiceSettings, websocket_paths: Sequence[re.Pattern[str]], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # it would hold the queries, and with them the texts
        self._bounds = settings.connections
        self._websocket_paths = websocket_paths
        self._proxy_path = settings.root_path
        self._deadline: asyncio.TimerHandle | None = None
        self._is_reserve = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: it has `header_s` for its first request."""
        super().connection_made(transport)
        if self._ordinary() > self._bounds.max and not self._make_room():
            log.warning("too many connections", bound=self._bounds.max)
            if len(self.connections) > self._bounds.max + _RESERVE:
                self._refuse(503, _TOO_MANY, b"Retry-After: 1\r\n")
                return
            self._is_reserve = True
            self.app = functools.partial(_answer_probe, self.app, self._proxy_path)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request. Those of its headers do not move the deadline, however many there are."""
        if self._is_idle and self._deadline is None:
            self._start_deadline()
        served = self.cycle
        super().data_received(data)
        if self.cycle is not served:
            self._stop_deadline()

    def on_response_complete(self) -> None:
        """An answer has been sent. A client that has not sent all of its body yet has `header_s` for the rest."""
        super().on_response_complete()
        if self._is_idle and self.cycle.more_body and not self.transport.is_closing():
            self._start_deadline()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and headers beyond the bound, and close."""
        self._stop_deadline()
        if len(self.conn.trailing_data[0]) > self._bounds.header_bytes:
            self._refuse(
                431,
                f"the address and the headers of a request may have {self._bounds.header_bytes:,} bytes; "
                "send a long text with POST",
            )
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(400, msg)
        else:  # an answer has begun
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over; its request has arrived in time."""
        self._stop_deadline()
        super().handle_websocket_upgrade(event)

    def _should_upgrade(self) -> bool:
        path = plain_path(self.scope["path"], self._proxy_path)
        is_known = any(known.match(path) for known in self._websocket_paths)
        return is_known and not self._is_reserve and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Another upgrade that is asked for is passed over, as HTTP allows; the request is served."""

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being served."""
        return self.cycle is None or self.cycle.response_complete

    def _ordinary(self) -> int:
        """Connections that are not of the reserve."""
        return sum(not (isinstance(other, BoundedProtocol) and other._is_reserve) for other in self.connections)

    def _make_room(self) -> bool:
        others = (other for other in self.connections if isinstance(other, BoundedProtocol) and other is not self)
        idle = next((other for other in others if other._is_idle and not other._is_reserve), None)
        if idle is None:
            return False
        self.connections.discard(idle)
        idle.transport.close()
        return True

    def _start_deadline(self) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(self._bounds.header_s, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._is_idle and not self.transport.is_closing():
            if self.conn.trailing_data[0]:
                self._refuse(408, f"the request took longer than {self._bounds.header_s:g} s to arrive")
            else:
                self.transport.close()

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        phrases = {
            400: b"Bad Request",
            408: b"Request Timeout",
            431: b"Request Header Fields Too Large",
            503: b"Service Unavailable",
        }
        body = json.dumps({"message": message}).encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
            b"Content-Length: %d\r\n%sConnection: close\r\n\r\n%s" % (status, phrases[status], len(body), headers, body)
        )
        self.transport.close()


async def _answer_probe(app: ASGIApp, proxy_path: str, scope: Scope, receive: Receive, send: Send) -> None:
    """The application for a connection of the reserve: it asks for health, once, and is closed."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    if plain_path(scope["path"], proxy_path) in _PROBES:
        await app(scope, receive, send_and_close)
        return
    headers = {"Retry-After": "1", "X-Content-Type-Options": "nosniff"}
    await JSONResponse({"message": _TOO_MANY}, 503, headers)(scope, receive, send_and_close)
