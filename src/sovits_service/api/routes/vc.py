"""POST /vc: say the words of a recording in another voice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, named_voice, read_fields, require_ready
from sovits_service.api.inline import decode_inline, is_inline, keep_inline_references
from sovits_service.api.openapi import CONVERSION_ANSWERS, CONVERSION_BODY
from sovits_service.api.schemas import check_limits, emotion_warnings, parse_tts, to_synthesis_request
from sovits_service.api.speech_response import Delivery, speak
from sovits_service.api.uploads import receive_clip
from sovits_service.errors import InvalidRequestError
from sovits_service.types import ReferenceAudio

router = APIRouter(tags=["speech"])

_SOURCE = "source_audio_path"
_MAX_FIELDS = 32
_CHUNKS: Literal[3] = 3  # the streaming mode of pieces as they are decoded


@router.post("/vc", response_class=Response, responses=CONVERSION_ANSWERS, openapi_extra=CONVERSION_BODY)
async def convert(request: Request) -> Response:
    """Say the words of a recording in another voice, as they are said in it."""
    context = context_of(request)
    client = await context.access.authorize(request, "synth")
    require_ready(context.service)
    with context.access.upload_slot(client):
        raw, source = await _receive(request, client)
    raw = {**raw, **await keep_inline_references(request, raw)}
    service = context.service
    fields = parse_tts(
        raw,
        version=service.version,
        voice=await named_voice(service, raw.get("voice_id")),
        has_default_reference=service.voices.default_reference is not None,
        accept=request.headers.get("accept", ""),
        required=("text_lang",) if raw.get("text") else (),
    )
    check_limits(fields, context.settings)
    tts_request = replace(
        to_synthesis_request(fields, context.settings),
        source=source,
        streaming_mode=_CHUNKS if fields.streaming_mode else 0,
        speed=1.0,
        timestamps="none",
    )
    delivery = Delivery(
        fields.media_type,
        use_cache=fields.cache,
        as_link=fields.response == "url",
        warnings=emotion_warnings(raw, fields),
    )
    return await speak(request, tts_request, delivery, client)


async def _receive(request: Request, client: str) -> tuple[Mapping[str, Any], ReferenceAudio]:
    """The fields of the request, and its recording: a file of a form, else what `source_audio_path` names.

    Raises:
        SovitsError: there is no recording, or it cannot be used.
    """
    context = context_of(request)
    service = context.service
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await receive_clip(request, context.settings, "file", max_fields=_MAX_FIELDS, or_text=_SOURCE)
        raw: Mapping[str, Any] = form.texts
        if form.clip or not raw.get(_SOURCE):
            return raw, await service.voices.decode_source(form.clip)
    else:
        raw = await read_fields(request)
    name = raw.get(_SOURCE)
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(
            f"file is required: send the recording as multipart/form-data, or name it in {_SOURCE}"
        )
    if is_inline(name):
        return raw, await service.voices.decode_source(await decode_inline(request, name))
    return raw, await service.voices.decode_source(name=name, owner=context.access.owner(client))
