"""Shared by routes: the application's parts, bounded bodies, and cancellation when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import Message, Receive

from sovits_service.api.bodies import parse_fields
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, OverloadedError, UploadTooLargeError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.downloads.fetch import ReferenceFetcher
from sovits_service.telemetry import Metrics
from sovits_service.types import Voice

if TYPE_CHECKING:
    from sovits_service.api.access import AccessControl
    from sovits_service.api.cached_speech import CachedSpeech
    from sovits_service.jobs.jobs import Jobs
    from sovits_service.service.protocol import Service

ControlCommand = Literal["restart", "exit"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The parts of one application, made by `create_app`.

    Attributes:
        fetcher: of references by web address; None where that is switched off.
        on_control: what `/control` does when it is switched on; None where the process is not ours to stop.
        jobs: None where this way of running the service has none.
    """

    service: Service
    settings: ServiceSettings
    metrics: Metrics
    access: AccessControl
    cached_speech: CachedSpeech
    fetcher: ReferenceFetcher | None = None
    on_control: Callable[[ControlCommand], None] | None = None
    jobs: Jobs | None = None


def context_of(request: HTTPConnection) -> ApiContext:
    context = request.app.state.context
    assert isinstance(context, ApiContext)
    return context


def owner_of(client: str) -> str:
    """Whose uploads a client's are: those of its key; without keys all are everybody's."""
    return client.removeprefix("key:") if client.startswith("key:") else ""


def limit_body(receive: Receive, limit_bytes: int) -> Receive:
    """`receive` that raises UploadTooLargeError as soon as the body is longer than `limit_bytes`."""
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > limit_bytes:
            raise UploadTooLargeError(_too_large(limit_bytes))
        return message

    return counted


def bounded(request: Request, limit_bytes: int) -> Request:
    """The same request with a limit on its body, enforced while it is read."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise UploadTooLargeError(_too_large(limit_bytes))
    return Request(request.scope, limit_body(request.receive, limit_bytes))


def _too_large(limit_bytes: int) -> str:
    return f"the request's body is too large: at most {limit_bytes:,} bytes are accepted"


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields of the body, as JSON or a form.

    Raises:
        InvalidRequestError: neither.
        UploadTooLargeError: longer than `max_request_bytes`.
        DeadlineExceededError: it took longer than `connections.body_s`.
    """
    return await parse_fields(await _read_body(request), request.headers)


async def drop_body(request: Request) -> None:
    """Read away the body of a GET, so that the next message on the connection is the client's leaving."""
    await _read_body(request)


async def _read_body(request: Request) -> bytes:
    settings = context_of(request).settings
    limit_s = settings.connections.body_s
    try:
        with anyio.fail_after(limit_s):
            return await bounded(request, settings.max_request_bytes).body()
    except TimeoutError:  # a client that sends a byte now and then would keep its connection for ever
        raise DeadlineExceededError(f"the request's body took longer than {limit_s:g} s to arrive") from None


def require_ready(service: Service) -> None:
    """Raise an OverloadedError while the model loads, when the service drains, or when its engine has died."""
    if not service.is_ready:
        raise OverloadedError("the service is loading its model or shutting down; try again in a moment", 5.0)


async def named_voice(service: Service, voice_id: object) -> Voice | None:
    """The voice template that a request names, if it names one.

    Raises:
        UnknownVoiceError: there is no such voice.
    """
    if voice_id in (None, ""):
        return None
    if not isinstance(voice_id, str):
        raise InvalidRequestError("voice_id should be a valid string")
    voice: Voice = await service.voices.get(voice_id)
    return voice


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Args:
        receive: of a request whose body has been read.
        work: what the client waits for.

    Raises:
        ClientDisconnect: nobody waits for the result any more.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
