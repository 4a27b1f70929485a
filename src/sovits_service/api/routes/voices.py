"""References and voice templates: /upload_ref and /voices."""

from __future__ import annotations

from typing import Any

import anyio
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import bounded, context_of, owner_of, read_json_object, require_ready
from sovits_service.api.openapi import UPLOAD_BODY, VOICE_ID, failures, json_body
from sovits_service.api.schemas import PathList, Text, checked_prompt_language, describe_problem, voice_defaults
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, UploadTooLargeError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.references import UploadDetails
from sovits_service.types import Voice

router = APIRouter(tags=["voices"])

_EXAMPLE = {
    "ref_audio_path": "<the path that /upload_ref answered>",
    "prompt_text": "What it says.",
    "prompt_lang": "en",
}
_FORM_OVERHEAD_BYTES = 64 * 1024  # part headers and the text fields beside the file


class UploadAnswer(BaseModel):
    """A stored reference; `path` goes into `/tts` as it is."""

    path: str
    id: str
    message: str
    size: int = Field(description="Bytes.")
    duration_s: float
    warnings: list[str]


class VoiceAnswer(BaseModel):
    """A voice template."""

    voice_id: str
    description: str
    ref_audio_path: str
    aux_ref_audio_paths: list[str]
    prompt_text: str
    prompt_lang: str
    consent: str
    defaults: dict[str, Any]


class VoicesAnswer(BaseModel):
    """Every voice template."""

    voices: list[VoiceAnswer]


class VoiceFields(BaseModel):
    """A voice template as a client writes it; further fields of `/tts` go into `defaults`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ref_audio_path: Text = Field(min_length=1, description="The path or id of an upload, or a file under a root.")
    aux_ref_audio_paths: PathList = []
    prompt_text: Text = ""
    prompt_lang: Text = ""
    description: Text = Field("", max_length=2000)
    consent: Text = Field("", max_length=2000, description="Who agreed to the use of the voice.")
    defaults: dict[str, Any] = {}


def _shape(voice: Voice) -> VoiceAnswer:
    return VoiceAnswer(
        voice_id=voice.voice_id,
        description=voice.description,
        ref_audio_path=voice.ref_audio,
        aux_ref_audio_paths=list(voice.aux_ref_audio),
        prompt_text=voice.prompt_text,
        prompt_lang=voice.prompt_lang,
        consent=voice.consent,
        defaults=dict(voice.defaults),
    )


def _form_text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be text, not a file")
    return value


def _form_flag(form: FormData, name: str) -> bool:
    value = _form_text(form, name).strip().lower()
    if value not in ("", "true", "false", "1", "0"):
        raise InvalidRequestError(f"{name} must be true or false")
    return value in ("true", "1")


async def _receive_clip(request: Request, settings: ServiceSettings) -> tuple[bytes, UploadDetails, bool]:
    """The clip of a form, what is said of it, and whether it may be trimmed; within limits of size and time."""
    limit_bytes, limit_s = settings.max_upload_bytes, settings.uploads.receive_s
    try:
        with anyio.fail_after(limit_s):
            form = await bounded(request, limit_bytes + _FORM_OVERHEAD_BYTES).form(max_files=1, max_fields=8)
    except TimeoutError:  # a client that sends a byte now and then would keep its slot for ever
        raise DeadlineExceededError(f"the upload took longer than {limit_s:g} s; send it again") from None
    try:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise InvalidRequestError("file is required: send the clip as multipart/form-data, field file")
        data = await upload.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise UploadTooLargeError(f"the clip is too large: at most {limit_bytes:,} bytes are accepted")
        said = {name: _form_text(form, name) for name in ("prompt_text", "prompt_lang", "consent")}
        return data, UploadDetails(**said), _form_flag(form, "trim")
    finally:
        await form.close()


@router.post("/upload_ref", responses=failures(400, 413, 415, 503, 504), openapi_extra=UPLOAD_BODY)
async def upload_ref(request: Request) -> UploadAnswer:
    """Stores a reference clip under a name made of its content."""
    context = context_of(request)
    client = context.access.authorize(request, "upload")
    outcome = "refused"
    try:
        with context.access.upload_slot():
            data, details, trim = await _receive_clip(request, context.settings)
            stored = await context.service.add_reference(data, details, owner=owner_of(client), trim=trim)
        outcome = "stored"
    finally:
        context.metrics.uploads.labels(outcome=outcome).inc()
    return UploadAnswer(
        path=stored.path,
        id=stored.reference_id,
        message="success",
        size=stored.size_bytes,
        duration_s=stored.duration_s,
        warnings=list(stored.warnings),
    )


@router.get("/voices", responses=failures())
async def list_voices(request: Request) -> VoicesAnswer:
    """Every voice template."""
    context = context_of(request)
    context.access.authorize(request, "synth")
    return VoicesAnswer(voices=[_shape(voice) for voice in await context.service.list_voices()])


@router.get("/voices/{voice_id}", responses=failures(400, 404), openapi_extra=VOICE_ID)
async def get_voice(request: Request) -> VoiceAnswer:
    """One voice template."""
    context = context_of(request)
    context.access.authorize(request, "synth")
    return _shape(await context.service.get_voice(request.path_params["voice_id"]))


@router.put(
    "/voices/{voice_id}",
    responses=failures(400, 413, 415, 503),
    openapi_extra={**VOICE_ID, **json_body(VoiceFields.model_json_schema(), _EXAMPLE)},
)
async def put_voice(request: Request) -> VoiceAnswer:
    """Writes a voice template; the reference is copied beside it."""
    context = context_of(request)
    context.access.authorize(request, "upload")
    raw = await read_json_object(request)
    require_ready(context.service)
    try:
        fields = VoiceFields.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    voice = await context.service.put_voice(
        request.path_params["voice_id"],
        ref_audio=fields.ref_audio_path,
        prompt_text=fields.prompt_text,
        prompt_lang=checked_prompt_language(fields.prompt_text, fields.prompt_lang, context.service.version),
        aux_ref_audio=tuple(fields.aux_ref_audio_paths),
        description=fields.description,
        defaults=voice_defaults(fields.defaults, context.service.version),
        consent=fields.consent,
    )
    return _shape(voice)


@router.delete(
    "/voices/{voice_id}",
    status_code=204,
    response_class=Response,
    responses=failures(400, 404),
    openapi_extra=VOICE_ID,
)
async def delete_voice(request: Request) -> Response:
    """Removes a voice template and its clips."""
    context = context_of(request)
    context.access.authorize(request, "upload")
    await context.service.delete_voice(request.path_params["voice_id"])
    return Response(status_code=204)
