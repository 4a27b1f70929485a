"""GET and POST /tts, as api_v2: a query or JSON in, audio out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, drop_body, named_voice, read_json_object, require_ready
from sovits_service.api.openapi import SPEECH_ANSWERS, tts_body, tts_parameters
from sovits_service.api.schemas import check_limits, parse_tts, to_synthesis_request
from sovits_service.api.speech import Delivery, speak

router = APIRouter(tags=["speech"])


@router.get("/tts", response_class=Response, responses=SPEECH_ANSWERS, openapi_extra=tts_parameters())
async def tts_by_query(request: Request) -> Response:
    """Says a text; every field comes as a string, in any case."""
    client = context_of(request).access.authorize(request, "synth")
    await drop_body(request)
    query = request.query_params
    raw: dict[str, Any] = dict(query)
    paths = query.getlist("aux_ref_audio_paths")
    if len(paths) > 1:
        raw["aux_ref_audio_paths"] = paths
    return await _say(request, raw, client)


@router.post("/tts", response_class=Response, responses=SPEECH_ANSWERS, openapi_extra=tts_body())
async def tts_by_json(request: Request) -> Response:
    """Says a text."""
    client = context_of(request).access.authorize(request, "synth")
    return await _say(request, await read_json_object(request), client)


async def _say(request: Request, raw: Mapping[str, Any], client: str) -> Response:
    context = context_of(request)
    service = context.service
    require_ready(service)
    fields = parse_tts(
        raw,
        version=service.version,
        voice=await named_voice(service, raw.get("voice_id")),
        has_default_reference=service.has_default_reference,
    )
    check_limits(fields, context.settings)
    wanted = to_synthesis_request(fields, timeout_s=context.settings.timeout_s)
    delivery = Delivery(fields.media_type, use_cache=fields.cache, as_link=fields.response == "url")
    return await speak(request, wanted, delivery, client)
