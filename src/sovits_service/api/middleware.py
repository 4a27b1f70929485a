"""Outermost middleware: headers of every answer, the access log, metrics, and a last exception handler."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from sovits_service.api.errors import answer
from sovits_service.errors import SovitsError
from sovits_service.telemetry import Metrics, accept_request_id, describe_error
from sovits_service.tracing import RequestTracer, Stage

_PROBES = frozenset({"/health", "/ready", "/metrics"})
_SLASHES = re.compile(r"/{2,}")
_METHODS = frozenset({"WEBSOCKET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RequestTimings:
    """Durations of a request's stages in milliseconds, for the Server-Timing header and the log; for traces, when."""

    started_s: float = field(default_factory=time.perf_counter)
    stages_ms: dict[str, float] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @property
    def elapsed_s(self) -> float:
        """Since the request arrived."""
        return time.perf_counter() - self.started_s

    def mark(self, stage: str) -> float:
        """Note the time from the request's start as the duration of `stage`; returns it in seconds."""
        now_s = time.perf_counter()
        self.stages_ms[stage] = (now_s - self.started_s) * 1000
        self.stages.append(Stage(stage, self.started_s, now_s))
        return now_s - self.started_s

    def add(self, stage: str, duration_s: float) -> None:
        """Note what has just taken `duration_s`."""
        now_s = time.perf_counter()
        self.stages.append(Stage(stage, now_s - duration_s, now_s))
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + duration_s * 1000

    def header(self) -> str:
        return ", ".join(f"{stage};dur={duration:.1f}" for stage, duration in self.stages_ms.items())


def timings_of(request: Request) -> RequestTimings:
    timings = request.scope["sovits.timings"]
    assert isinstance(timings, RequestTimings)
    return timings


def plain_path(path: str, root: str) -> str:
    """A path without the proxy's prefix and without slashes too many."""
    plain = _SLASHES.sub("/", path).rstrip("/")
    return (plain.removeprefix(root) if f"{plain}/".startswith(f"{root}/") else plain) or "/"


class RequestEdge:
    """ASGI middleware around the whole application.

    An exception before the headers becomes a JSON answer. After them the answer is left unfinished, at which the
    server closes the connection: the client sees a broken transfer, never a shortened one that looks whole.

    Args:
        root_path: what a reverse proxy puts before all paths; it may have taken it away again.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, tracer: RequestTracer | None = None, root_path: str = ""
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # A base URL that ends in a slash makes `//v1/audio/speech`; a form's habit makes `/tts/`.
        root = scope["root_path"] = self._root_path or scope.get("root_path", "")
        scope["path"] = root + plain_path(scope["path"], root)
        request = HTTPConnection(scope)
        request_id = accept_request_id(request.headers.get("x-request-id"))
        scope["sovits.request_id"] = request_id
        scope["sovits.timings"] = RequestTimings()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.accept":
                status = 101
            elif message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.close" and status == 0:
                status = 403  # what the server answers then
            if message["type"].endswith("http.response.start"):
                own = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            self._metrics.in_flight.inc()
            outcome = "answered"
            try:
                await self._app(scope, receive, send_with_headers)
            except (ClientDisconnect, WebSocketDisconnect):
                outcome = "client gone"
                self._metrics.cancelled.inc()
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            except Exception as error:  # noqa: BLE001 - the edge that owns it
                outcome = "failed" if status == 0 else "aborted"
                if status != 0 and isinstance(error.__cause__, SovitsError):
                    error = error.__cause__  # the framework's complaint that the answer had begun hides the reason
                self._metrics.errors.labels(kind=type(error).__name__).inc()
                if isinstance(error, SovitsError):
                    _log.warning("answer aborted", kind=type(error).__name__, outcome=outcome)
                else:
                    _log.error("unhandled error", outcome=outcome, **describe_error(error))
                if status == 0:
                    await answer(error, request)(scope, receive, send_with_headers)
            finally:
                self._metrics.in_flight.dec()
                self._account(scope, status, outcome)

    def _account(self, scope: Scope, status: int, outcome: str) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        named = scope.get("method", "WEBSOCKET")
        method = named if named in _METHODS else "other"
        timings: RequestTimings = scope["sovits.timings"]
        elapsed_s = timings.mark("total")
        self._metrics.requests.labels(method=method, route=route, status=str(status or 499)).inc()
        self._metrics.request_seconds.labels(route=route).observe(elapsed_s)
        if self._tracer is not None and route not in _PROBES:
            *parts, whole = timings.stages
            self._tracer.record(
                Stage(f"{method} {route}", whole.started_s, whole.ended_s),
                parts,
                status=status or 499,
                outcome=outcome,
                request_id=scope["sovits.request_id"],
                traceparent=HTTPConnection(scope).headers.get("traceparent", ""),
            )
        stages = {f"{stage}_ms": round(duration, 1) for stage, duration in timings.stages_ms.items()}
        if route in _PROBES and status == 200:
            return  # every few seconds the same line would hide the others
        _log.info("request", method=method, route=route, status=status or 499, outcome=outcome, **stages)
