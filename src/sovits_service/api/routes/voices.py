"""References and voice templates: /upload_ref and /voices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, owner_of, read_fields, require_ready
from sovits_service.api.openapi import UPLOAD_BODY, VOICE_ID, failures, json_body
from sovits_service.api.schemas import (
    Text,
    as_path_list,
    check_prompt_length,
    checked_prompt_language,
    describe_problem,
    echo,
    voice_defaults,
)
from sovits_service.api.uploads import receive_clip
from sovits_service.config_file import nearest
from sovits_service.errors import InvalidRequestError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.storage.voices.voice_template import (
    DEFAULT_FIELDS,
    MAX_EMOTION_CHARACTERS,
    MAX_EMOTIONS,
    VOICE_FIELDS,
    VoiceField,
    is_emotion_name,
)
from sovits_service.types import Emotion, ModelVersion, Voice

router = APIRouter(tags=["voices"])

_EXAMPLE = {
    "ref_audio_path": "<the path that /upload_ref answered>",
    "prompt_text": "What it says.",
    "prompt_lang": "en",
}


class EmotionFields(BaseModel):
    """A clip of an emotion, and what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref_audio_path: Text = Field(min_length=1, max_length=1024)
    prompt_text: Text = Field("", max_length=2000)
    prompt_lang: Text = Field("", max_length=16)


class UploadAnswer(BaseModel):
    """A stored reference; `path` goes into `/tts` as it is."""

    path: str
    id: str
    message: str
    size: int = Field(description="Bytes.")
    duration_s: float
    warnings: list[str]


def _annotation(field: VoiceField) -> Any:
    text = Annotated[Text, Field(max_length=field.max_characters)]
    if field.kind is list:
        return Annotated[list[text], BeforeValidator(as_path_list)]
    if field.name == "emotions":
        return Annotated[dict[str, EmotionFields], Field(max_length=MAX_EMOTIONS)]
    return text if field.kind is str else dict[str, Any]


def _voice_model(name: str, documentation: str, *, required: Iterable[str], **more: Any) -> type[BaseModel]:
    """A model whose fields are those of `VOICE_FIELDS`."""
    shape: dict[str, Any] = dict(more)
    for field in VOICE_FIELDS:
        default = ... if field.public in required else field.kind()
        minimum = 1 if field.name == "ref_audio" else None
        described = Field(default, description=field.description or None, min_length=minimum)
        shape[field.public] = (_annotation(field), described)
    return create_model(name, __config__=ConfigDict(frozen=True, extra="forbid"), __doc__=documentation, **shape)


VoiceAnswer = _voice_model(
    "VoiceAnswer", "A voice template.", required=[field.public for field in VOICE_FIELDS], voice_id=(str, ...)
)
VoiceFields = _voice_model(
    "VoiceFields", "A voice template as a client writes it.", required=["ref_audio_path"], voice_id=(Text, "")
)


class VoicesAnswer(BaseModel):
    """Every voice template."""

    voices: list[VoiceAnswer]  # type: ignore[valid-type] # made from the table of fields


def _shape(voice: Voice) -> dict[str, Any]:
    values = {field.public: getattr(voice, field.name) for field in VOICE_FIELDS}
    return {"voice_id": voice.voice_id, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, Emotion):
        return EmotionFields(
            ref_audio_path=value.ref_audio, prompt_text=value.prompt_text, prompt_lang=value.prompt_lang
        ).model_dump()
    return list(value) if isinstance(value, tuple) else value


def _voice(voice_id: str, raw: Mapping[str, Any], settings: ServiceSettings, version: ModelVersion) -> Voice:
    """The voice that a body describes.

    Raises:
        InvalidRequestError: the first problem, a field that is not known included.
    """
    for name in raw:
        if name not in VoiceFields.model_fields:
            if name in DEFAULT_FIELDS:
                raise InvalidRequestError(f"{name} belongs in defaults: send it as defaults: {{{name}: ...}}")
            raise InvalidRequestError(f"unknown field {echo(name)!r}{nearest(echo(name), VoiceFields.model_fields)}")
    if raw.get("voice_id") not in (None, "", voice_id):
        raise InvalidRequestError("voice_id in the body is not the one of the address; leave it out")
    try:
        given = VoiceFields.model_validate(raw).model_dump()
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    values = {field.name: given[field.public] for field in VOICE_FIELDS}
    # Weights of its own may be of a later version than the service's, whose languages are all of v1's and more.
    version = "v2" if values["sovits_weights"] else version
    check_prompt_length(values["prompt_text"], settings)
    values["prompt_lang"] = checked_prompt_language(values["prompt_text"], values["prompt_lang"], version)
    values["emotions"] = {
        name: _emotion(name, given_emotion, settings, version) for name, given_emotion in values["emotions"].items()
    }
    values["defaults"] = voice_defaults(values["defaults"], version)
    values["aux_ref_audio"] = tuple(values["aux_ref_audio"])
    if len(values["aux_ref_audio"]) > settings.max_aux_references:
        raise InvalidRequestError(
            f"aux_ref_audio_paths has {len(values['aux_ref_audio'])} references; "
            f"at most {settings.max_aux_references} are accepted"
        )
    return Voice(voice_id, **values)


def _emotion(name: str, given: Mapping[str, str], settings: ServiceSettings, version: ModelVersion) -> Emotion:
    if not is_emotion_name(name):
        raise InvalidRequestError(f"emotions: a name must be a text of 1 to {MAX_EMOTION_CHARACTERS} characters")
    emotion = Emotion(given["ref_audio_path"], given["prompt_text"], given["prompt_lang"])
    try:
        check_prompt_length(emotion.prompt_text, settings)
        language = checked_prompt_language(emotion.prompt_text, emotion.prompt_lang, version)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"emotions: {error}") from None
    return replace(emotion, prompt_lang=language)


def checked_details(details: UploadDetails, settings: ServiceSettings, version: ModelVersion) -> UploadDetails:
    """What is said of an upload, refused now where `/tts` would refuse it later."""
    check_prompt_length(details.prompt_text, settings)
    longest = next(field.max_characters for field in VOICE_FIELDS if field.name == "consent")
    if len(details.consent) > longest:
        raise InvalidRequestError(f"consent should have at most {longest} characters")
    language = checked_prompt_language(details.prompt_text, details.prompt_lang, version)
    return replace(details, prompt_lang=language)


@router.post("/upload_ref", responses=failures(400, 413, 415, 503, 504), openapi_extra=UPLOAD_BODY)
async def upload_ref(request: Request) -> UploadAnswer:
    """Store a reference clip under a name made of its content."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    outcome = "refused"
    try:
        with context.access.upload_slot(client):
            form = await receive_clip(request, context.settings, "file")
            said = UploadDetails(**{name: form.text(name) for name in ("prompt_text", "prompt_lang", "consent")})
            trim = form.flag("trim")
            require_ready(context.service)
            details = checked_details(said, context.settings, context.service.version)
            stored = await context.service.voices.add_reference(form.clip, details, owner=owner_of(client), trim=trim)
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


@router.get("/voices", responses=failures(), response_model=VoicesAnswer)
async def list_voices(request: Request) -> dict[str, Any]:
    """Every voice template."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    return {"voices": [_shape(voice) for voice in await context.service.voices.all()]}


@router.get("/voices/{voice_id}", responses=failures(400, 404), response_model=VoiceAnswer, openapi_extra=VOICE_ID)
async def get_voice(request: Request) -> dict[str, Any]:
    """One voice template; edited, it is what PUT takes."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    return _shape(await context.service.voices.get(request.path_params["voice_id"]))


@router.put(
    "/voices/{voice_id}",
    responses=failures(400, 413, 415, 503, 504),
    response_model=VoiceAnswer,
    openapi_extra={**VOICE_ID, **json_body(VoiceFields.model_json_schema(), _EXAMPLE)},
)
async def put_voice(request: Request) -> dict[str, Any]:
    """Write a voice template; the reference is copied beside it."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    raw = await read_fields(request)
    require_ready(context.service)
    voice = _voice(request.path_params["voice_id"], raw, context.settings, context.service.version)
    voice = replace(voice, owner=owner_of(client))
    return _shape(await context.service.voices.put(voice, context.access.owner(client)))


@router.delete(
    "/voices/{voice_id}",
    status_code=204,
    response_class=Response,
    responses=failures(400, 404),
    openapi_extra=VOICE_ID,
)
async def delete_voice(request: Request) -> Response:
    """Remove a voice template and its clips."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    await context.service.voices.delete(request.path_params["voice_id"], context.access.owner(client))
    return Response(status_code=204)
