"""GET and POST /tts, compatible with api_v2: a query, JSON or a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, drop_body, read_fields
from sovits_service.api.dialects.gsvi import names_character, translate
from sovits_service.api.openapi import SPEECH_ANSWERS, tts_body, tts_parameters
from sovits_service.api.say import query_fields, say
from sovits_service.api.voice_names import find_voice

router = APIRouter(tags=["speech"])


@router.get("/tts", response_class=Response, responses=SPEECH_ANSWERS, openapi_extra=tts_parameters())
async def tts_by_query(request: Request) -> Response:
    """Say a text; every field comes as a string, in any case."""
    client = await context_of(request).access.authorize(request, "synth")
    await drop_body(request)
    return await _say(request, query_fields(request, "aux_ref_audio_paths"), client)


@router.post("/tts", response_class=Response, responses=SPEECH_ANSWERS, openapi_extra=tts_body())
async def tts_by_json(request: Request) -> Response:
    """Say a text."""
    client = await context_of(request).access.authorize(request, "synth")
    return await _say(request, await read_fields(request), client)


async def _say(request: Request, raw: Mapping[str, Any], client: str) -> Response:
    context = context_of(request)
    if not (context.settings.dialects.gsvi and names_character(raw)):
        return await say(request, raw, client)
    fields = translate(raw)
    if isinstance(fields["voice_id"], str):
        voice, warnings = await find_voice(context, fields["voice_id"])
        return await say(request, {**fields, "voice_id": voice.voice_id}, client, warnings)
    return await say(request, fields, client)
