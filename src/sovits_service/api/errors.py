"""Map errors to status codes and JSON bodies; no other module does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from sovits_service.errors import (
    CheckpointError,
    DeadlineExceededError,
    ForbiddenError,
    InfectedUploadError,
    InvalidRequestError,
    MissingExtraError,
    NotSupportedError,
    OverloadedError,
    QuotaExceededError,
    RateLimitedError,
    ScanUnavailableError,
    SettingsError,
    SovitsError,
    StorageError,
    SynthesisError,
    UnauthorizedError,
    UnfinishedJobError,
    UnknownJobError,
    UnknownModelError,
    UnknownVoiceError,
    UnsupportedAudioError,
    UploadTooLargeError,
)
from sovits_service.telemetry import Metrics, describe_error

# The nearest class in an error's ancestry decides.
STATUS: Mapping[type[BaseException], int] = {
    InvalidRequestError: 400,
    InfectedUploadError: 400,
    CheckpointError: 400,
    MissingExtraError: 400,
    SynthesisError: 400,  # as api_v2: a failure before the first chunk is a 400 with "tts failed"
    UnauthorizedError: 401,
    ForbiddenError: 403,
    UnknownJobError: 404,
    UnknownModelError: 404,
    UnknownVoiceError: 404,
    UnfinishedJobError: 409,
    UploadTooLargeError: 413,
    UnsupportedAudioError: 415,
    QuotaExceededError: 429,
    RateLimitedError: 429,
    SettingsError: 500,
    SovitsError: 500,
    NotSupportedError: 501,
    OverloadedError: 503,
    ScanUnavailableError: 503,
    StorageError: 503,
    DeadlineExceededError: 504,
    Exception: 500,
}
_SPEECH_PATHS = ("/tts", "/infer_single", "/infer_classic", "/v1/audio/speech", "/")
_API_V1_PATHS = ("/", "/change_refer", "/set_model")
_GSVI_PATHS = ("/infer_single", "/infer_classic")
_OPENAI_PREFIX = "/v1/"
_ELEVENLABS_PREFIXES = ("/v1/text-to-speech/", "/v1/voices", "/v2/voices")
_ELEVENLABS_KINDS: Mapping[int, str] = {
    401: "invalid_api_key",
    404: "not_found",
    429: "too_many_requests",
    503: "system_busy",
}
_OPENAI_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_LINGER_BYTES, _LINGER_S = 8 * 1024 * 1024, 5.0
_INTERNAL = "internal error; the log has more under this request id"

_log = structlog.get_logger(__name__)


class ErrorBody(BaseModel):
    """What every failed request answers, but for `/v1/...`."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(description="What is wrong, and what to do.")
    Exception: str | None = Field(None, description="The reason, where `message` is a fixed phrase of api_v2.")
    request_id: str | None = Field(None, description="Of an internal error: what to look for in the log.")


class OpenAiErrorDetail(BaseModel):
    """The part of an OpenAI error that a client shows."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorBody(BaseModel):
    """What a failed request under `/v1/` answers."""

    error: OpenAiErrorDetail


def _route_path(request: HTTPConnection) -> str:
    """The path without what a reverse proxy puts before it."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def status_of(error: BaseException, path: str) -> int:
    """The status of an error. For speech, a reference that is no audio is a field like any other: 400."""
    if isinstance(error, UnsupportedAudioError) and (path in _SPEECH_PATHS or path.startswith(_ELEVENLABS_PREFIXES)):
        return 400
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(error: Exception, request: HTTPConnection) -> Response:
    """The answer to a failed request whose headers have not been sent."""
    path = _route_path(request)
    status = status_of(error, path)
    headers: dict[str, str] = {}
    if isinstance(error, (OverloadedError, RateLimitedError)):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    answer_class = JSONResponse
    if isinstance(error, UploadTooLargeError):
        answer_class, headers["Connection"] = _ClosingAnswer, "close"
    if isinstance(error, SynthesisError):
        content = {"message": "tts failed", "Exception": str(error)}
    elif isinstance(error, SovitsError):
        content = {"message": str(error)}
    elif path == "/tts":  # api_v2 answers every failure of a synthesis so
        status, content = 400, {"message": "tts failed", "Exception": _INTERNAL}
    else:
        content = {"message": _INTERNAL, "request_id": request.scope.get("sovits.request_id", "")}
    return answer_class(_shape(path, status, content), status, headers)


def _shape(path: str, status: int, content: Mapping[str, str]) -> dict[str, Any]:
    message = ": ".join(content[key] for key in ("message", "Exception") if key in content)
    if path in _API_V1_PATHS:
        return {"code": status, "message": message}
    if path in _GSVI_PATHS:
        return {"msg": message, "audio_url": ""}
    if path.startswith(_ELEVENLABS_PREFIXES):
        kind = _ELEVENLABS_KINDS.get(status, "invalid_request" if status < 500 else "internal_error")
        return {"detail": {"status": kind, "message": message}}
    if not path.startswith(_OPENAI_PREFIX):
        return dict(content)
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = OpenAiErrorBody(error=OpenAiErrorDetail(message=message, type=kind, param=None, code=None))
    return body.model_dump()


class _ClosingAnswer(JSONResponse):
    """An answer to a body that has not been read to its end: reads on for a while, then closes the connection.

    Closing at once would reset the connection before a client that is still sending has seen the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left_bytes = _LINGER_BYTES
        with anyio.move_on_after(_LINGER_S):
            while left_bytes > 0:
                message = await receive()
                left_bytes -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _allowed_methods(routes: Sequence[BaseRoute], request: Request) -> str:
    methods = {"OPTIONS"}
    for route in routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def install_error_handlers(app: FastAPI, routes: Sequence[BaseRoute], metrics: Metrics) -> None:
    """Make every error of a route a JSON answer; what is left over is the edge middleware's.

    Args:
        routes: all of them, for the methods that a path has.
    """

    async def on_domain_error(request: Request, error: Exception) -> Response:
        status = status_of(error, _route_path(request))
        metrics.errors.labels(kind=type(error).__name__).inc()
        if isinstance(error, (OverloadedError, RateLimitedError, UploadTooLargeError)):
            metrics.rejected.labels(reason=type(error).__name__.removesuffix("Error").lower()).inc()
        # A refusal is in the request's own line; with where it came from, a busy service would write a log of it.
        is_refusal = isinstance(error, OverloadedError) and error.__cause__ is None
        if isinstance(error, SynthesisError) or (status >= 500 and not is_refusal):
            _log.warning("request failed", kind=type(error).__name__, status=status, **describe_error(error))
        return answer(error, request)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the framework names the methods of the first route of this path alone
            headers["Allow"] = _allowed_methods(routes, request)
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        content = _shape(_route_path(request), error.status_code, {"message": str(error.detail)})
        return JSONResponse(content, error.status_code, headers)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return JSONResponse(_shape(_route_path(request), 400, {"message": f"{name}: {first['msg']}"}), 400)

    app.add_exception_handler(SovitsError, on_domain_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
