"""POST /read: what would be said of a text, without speaking it."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sovits_service.api.deps import context_of, read_fields, require_ready
from sovits_service.api.openapi import failures, json_body
from sovits_service.api.schemas import Text, checked_language, describe_problem
from sovits_service.errors import InvalidRequestError
from sovits_service.text.explain import Explanation
from sovits_service.types import SplitMethod

router = APIRouter(tags=["speech"])

_EXAMPLE = {"text": "会议11:30开始。", "text_lang": "zh"}


class ReadFields(BaseModel):
    """The fields of `/tts` that the reading depends on; others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": True})

    text: Text = Field(min_length=1, description="What would be said.")
    text_lang: Text = Field("auto", description="As for /tts.")
    text_split_method: SplitMethod = Field("cut5", description="As for /tts.")
    read_emoji: bool = Field(False, description="As for /tts.")


@router.post(
    "/read",
    response_model=Explanation,
    responses=failures(400, 413, 503, 504),
    openapi_extra=json_body(ReadFields.model_json_schema(), _EXAMPLE),
)
async def read(request: Request) -> Response:
    """Tell how a text is read: words, phonemes, the characters that each says, and letters that are not read."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    require_ready(context.service)
    raw = await read_fields(request)
    try:
        fields = ReadFields.model_validate({name: value for name, value in raw.items() if value not in (None, "")})
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    language = checked_language("text_lang", fields.text_lang, context.service.version)
    reading = await context.service.explain(
        fields.text, language, fields.text_split_method, read_emoji=fields.read_emoji
    )
    return JSONResponse(asdict(reading))
