"""GET and POST /tts, as api_v2: a query or JSON in, audio out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, drop_body, named_voice, owner_of, read_fields, require_ready
from sovits_service.api.inline import has_inline_references, keep_inline_references
from sovits_service.api.openapi import SPEECH_ANSWERS, tts_body, tts_parameters
from sovits_service.api.schemas import check_limits, parse_tts, to_synthesis_request
from sovits_service.api.speech import Delivery, promised, speak
from sovits_service.storage.references import UploadDetails

if TYPE_CHECKING:
    from sovits_service.service import SpeechService

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
    return await _say(request, await read_fields(request), client)


async def _say(request: Request, raw: Mapping[str, Any], client: str) -> Response:
    context = context_of(request)
    service = context.service
    require_ready(service)
    unread = request.method == "HEAD" and has_inline_references(raw)  # HEAD keeps no clip, and cannot judge this one
    if not unread:
        raw = {**raw, **await keep_inline_references(request, raw)}
    fields = parse_tts(
        raw,
        version=service.version,
        voice=await named_voice(service, raw.get("voice_id")),
        said=await _what_was_said(service, raw, client),
        has_default_reference=service.has_default_reference,
        accept=request.headers.get("accept", ""),
    )
    check_limits(fields, context.settings)
    wanted = to_synthesis_request(fields, timeout_s=context.settings.timeout_s)
    delivery = Delivery(fields.media_type, use_cache=fields.cache, as_link=fields.response == "url")
    return promised(delivery) if unread else await speak(request, wanted, delivery, client)


async def _what_was_said(service: SpeechService, raw: Mapping[str, Any], client: str) -> UploadDetails | None:
    """The transcript that came with an upload, for a request that names the upload and no transcript."""
    name = raw.get("ref_audio_path")
    if not isinstance(name, str) or any(raw.get(field) is not None for field in ("prompt_text", "prompt_lang")):
        return None
    return await service.upload_details(name, owner_of(client))
