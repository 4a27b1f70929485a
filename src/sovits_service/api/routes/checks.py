"""What would spoil a reference: POST /check_ref for a clip, POST /voices/{voice_id}/check for a voice."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from sovits_service.api.deps import context_of, drop_body, owner_of, read_fields, require_ready
from sovits_service.api.inline import decode_inline, is_inline
from sovits_service.api.openapi import CHECK_BODY, VOICE_ID, failures
from sovits_service.api.routes.voices import checked_details
from sovits_service.api.uploads import UploadForm, receive_clip
from sovits_service.errors import InvalidRequestError
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import ReferenceReport

router = APIRouter(tags=["voices"])

_NAME = "ref_audio_path"
_EMOTION: dict[str, Any] = {
    "name": "emotion",
    "in": "query",
    "required": False,
    "description": "One of the voice's emotions; left out, the voice's own reference is checked.",
    "schema": {"type": "string", "maxLength": 64},
}


class FindingAnswer(BaseModel):
    """Something that would spoil the speech."""

    code: str = Field(description="What it is, for programs.")
    severity: Literal["error", "warning"] = Field(description="An error rules the clip out.")
    message: str
    start_s: float | None = Field(None, description="Where in the clip; left out where it is all of it.")
    end_s: float | None = None
    text_span: tuple[int, int] | None = Field(None, description="From and to, in characters of prompt_text.")


class CheckAnswer(BaseModel):
    """What a check of a reference has found."""

    ok: bool = Field(description="Whether nothing was found.")
    findings: list[FindingAnswer]
    not_checked: dict[str, str] = Field(description="What could not be looked at, by code, and why.")


def _answer(report: ReferenceReport) -> CheckAnswer:
    findings = [FindingAnswer.model_validate(finding, from_attributes=True) for finding in report.findings]
    return CheckAnswer(ok=not findings, findings=findings, not_checked=dict(report.not_checked))


@router.post(
    "/check_ref",
    responses=failures(400, 413, 415, 503, 504),
    response_model_exclude_none=True,
    openapi_extra=CHECK_BODY,
)
async def check_reference(request: Request) -> CheckAnswer:
    """Tell what would spoil the speech with a clip: a file, which is not kept, or an upload."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    service = context.service
    with context.access.upload_slot(client):
        form = await _receive(request)
        name = form.text(_NAME)
        data: bytes | None = None if name and not form.clip else form.clip
        if data is None and is_inline(name):
            data = await decode_inline(request, name)
        require_ready(service)
        said = UploadDetails(form.text("prompt_text"), form.text("prompt_lang"))
        if data is None:
            said = said.over(await service.voices.upload_details(name, owner_of(client)))
        details = checked_details(said, context.settings, service.version)
        owner = context.access.owner(client)
        return _answer(await service.voices.check_reference(data, details, name=name, owner=owner))


@router.post(
    "/voices/{voice_id}/check",
    responses=failures(400, 404, 413, 415, 503, 504),
    response_model_exclude_none=True,
    openapi_extra={"parameters": [*VOICE_ID["parameters"], _EMOTION]},
)
async def check_voice(request: Request) -> CheckAnswer:
    """Tell what would spoil the speech with a voice."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    await drop_body(request)
    require_ready(context.service)
    emotion = request.query_params.get("emotion", "")
    return _answer(await context.service.voices.check(request.path_params["voice_id"], emotion))


async def _receive(request: Request) -> UploadForm:
    """The fields and the clip of a form, or fields as JSON that name a clip.

    Raises:
        InvalidRequestError: there is neither a clip nor a name.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await receive_clip(request, context_of(request).settings, "file", or_text=_NAME)
    raw = await read_fields(request)
    texts = {name: value for name, value in raw.items() if isinstance(value, str)}
    if not texts.get(_NAME):
        raise InvalidRequestError(f"file is required: send the clip as multipart/form-data, or name it in {_NAME}")
    return UploadForm(b"", texts)
