"""Operations: health, readiness, metrics, and api_v2's administration routes, which are off by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sovits_service.api.deps import ControlCommand, context_of, read_fields, require_ready
from sovits_service.api.openapi import failures, json_body, query_parameter
from sovits_service.errors import CheckpointError, ForbiddenError, InvalidRequestError, UnsupportedAudioError

if TYPE_CHECKING:
    from sovits_service.service.protocol import Service

router = APIRouter()

_COMMANDS = ("restart", "exit")


class Done(BaseModel):
    """What an administration route answers."""

    message: Literal["success"] = "success"


class ControlFields(BaseModel):
    """What `POST /control` takes."""

    command: Literal["restart", "exit"]


class HealthAnswer(BaseModel):
    """Whether the process works at all, and once its model is loaded, how that is computed."""

    status: Literal["alive", "failed"]
    backend: Literal["torch", "onnx"] | None = None
    precision: Literal["float32", "float16", "bfloat16", "int8"] | None = None


class ReadyAnswer(BaseModel):
    """Whether requests will be answered."""

    status: Literal["ready", "not ready"]


@router.get(
    "/health",
    tags=["operations"],
    response_model=HealthAnswer,
    responses={503: {"model": HealthAnswer, "description": "To be restarted."}},
)
async def health(request: Request) -> Response:
    """Alive: the process answers and its engine loop has not died; it may still be loading."""
    service = context_of(request).service
    alive = service.is_alive
    body = {"status": "alive" if alive else "failed", **service.computation}
    return JSONResponse(body, 200 if alive else 503)


@router.get(
    "/ready",
    tags=["operations"],
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "Not now."}},
)
async def ready(request: Request) -> Response:
    """Ready: the model is loaded and warm, and the service is not draining."""
    is_ready = context_of(request).service.is_ready
    body = ReadyAnswer(status="ready" if is_ready else "not ready").model_dump()
    return JSONResponse(body, 200) if is_ready else JSONResponse(body, 503, headers={"Retry-After": "1"})


@router.get(
    "/metrics",
    tags=["operations"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **failures()},
)
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    context = context_of(request)
    await context.access.authorize(request, "synth", counted=False)
    return Response(context.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get(
    "/control",
    tags=["administration"],
    responses=failures(400),
    openapi_extra=query_parameter("command", "restart or exit"),
)
async def control(request: Request) -> Done:
    """Ends or restarts the process once what runs has finished."""
    await _run_command(request, request.query_params.get("command"))
    return Done()


@router.post(
    "/control",
    tags=["administration"],
    responses=failures(400, 413, 504),
    openapi_extra=json_body(ControlFields.model_json_schema(), {"command": "restart"}),
)
async def control_by_json(request: Request) -> Done:
    """The same, as api.py's clients send it."""
    await _run_command(request, (await read_fields(request)).get("command"))
    return Done()


async def _run_command(request: Request, command: object) -> None:
    if not command:
        raise InvalidRequestError("command is required")
    context = context_of(request)
    await context.access.authorize_admin(request)
    if command not in _COMMANDS:
        raise InvalidRequestError("command must be restart or exit")
    if context.on_control is None:
        raise ForbiddenError("this process is run by something else, which must stop or restart it")
    context.on_control(cast("ControlCommand", command))


@dataclass(frozen=True, slots=True)
class _Switch:
    """A route that changes what later requests are spoken with.

    Attributes:
        parameter, about: of the query, and what the documentation says of it.
        missing, failed: api_v2's phrases.
    """

    path: str
    description: str
    parameter: str
    about: str
    missing: str
    failed: str
    change: Callable[[Service, str], Awaitable[None]]

    async def __call__(self, request: Request) -> Response:
        value = request.query_params.get(self.parameter)
        if not value:
            raise InvalidRequestError(self.missing)
        context = context_of(request)
        await context.access.authorize_admin(request)
        require_ready(context.service)
        try:
            await self.change(context.service, value)
        except (InvalidRequestError, CheckpointError, UnsupportedAudioError) as error:
            return JSONResponse({"message": self.failed, "Exception": str(error)}, 400)
        return JSONResponse(Done().model_dump())


_SWITCHES = (
    _Switch(
        "/set_gpt_weights",
        "Takes another GPT for later requests.",
        "weights_path",
        "A registered GPT checkpoint.",
        "gpt weight path is required",
        "change gpt weight failed",
        lambda service, path: service.switches.weights(gpt=path),
    ),
    _Switch(
        "/set_sovits_weights",
        "Takes another SoVITS for later requests.",
        "weights_path",
        "A registered SoVITS checkpoint.",
        "sovits weight path is required",
        "change sovits weight failed",
        lambda service, path: service.switches.weights(sovits=path),
    ),
    _Switch(
        "/set_refer_audio",
        "Sets the reference of requests that name none.",
        "refer_audio_path",
        "The reference of requests that name none.",
        "refer_audio_path is required",
        "set refer audio failed",
        lambda service, path: service.switches.default_reference(path),
    ),
)
for _switch in _SWITCHES:
    router.add_api_route(
        _switch.path,
        _switch,
        name=_switch.path.removeprefix("/"),
        tags=["administration"],
        description=_switch.description,
        response_model=Done,
        responses=failures(400, 503),
        openapi_extra=query_parameter(_switch.parameter, _switch.about),
    )
