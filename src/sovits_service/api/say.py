"""Answer a `/tts` request, whichever route its fields came through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import ApiContext, context_of, named_voice, owner_of, require_ready
from sovits_service.api.inline import has_inline_references, keep_inline_references
from sovits_service.api.schemas import TtsFields, check_limits, emotion_warnings, parse_tts, to_synthesis_request
from sovits_service.api.speech_response import Delivery, promised, speak
from sovits_service.api.timed import SpeechEvents, kept_events
from sovits_service.errors import InvalidRequestError
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import SynthesisRequest

if TYPE_CHECKING:
    from sovits_service.service.protocol import Service


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for, checked.

    Attributes:
        fields: by the names of `/tts`.
        warnings: about the request itself.
    """

    fields: TtsFields
    tts_request: SynthesisRequest
    warnings: tuple[str, ...]


def query_fields(request: Request, list_field: str) -> dict[str, Any]:
    """The fields of a query; `list_field` is a list where it comes more than once."""
    fields: dict[str, Any] = dict(request.query_params)
    values = request.query_params.getlist(list_field)
    if len(values) > 1:
        fields[list_field] = values
    return fields


async def understand(context: ApiContext, raw: Mapping[str, Any], client: str, accept: str = "") -> Asked:
    """Check the fields of a request against its voice, its upload and the settings.

    Args:
        raw: fields by the names of `/tts`, as a query, a form or JSON has them.
        client: whose request it is.
        accept: its `Accept` header.

    Raises:
        SovitsError: a field cannot be used, or there is no such voice.
    """
    service, settings = context.service, context.settings
    fields = parse_tts(
        raw,
        version=service.version,
        voice=await named_voice(service, raw.get("voice_id")),
        said=await upload_transcript(service, raw, client),
        has_default_reference=service.voices.default_reference is not None,
        accept=accept,
    )
    check_limits(fields, settings)
    tts_request = to_synthesis_request(fields, settings)
    return Asked(fields, tts_request, emotion_warnings(raw, fields))


async def say(request: Request, raw: Mapping[str, Any], client: str, warnings: tuple[str, ...] = ()) -> Response:
    """Answer a request for speech.

    Args:
        raw: fields by the names of `/tts`, as a query, a form or JSON has them.
        client: whose request it is.
        warnings: about the request, beside those that are found here.

    Raises:
        SovitsError: a field cannot be used, or the speech cannot be made.
    """
    context = context_of(request)
    require_ready(context.service)
    unread = request.method == "HEAD" and has_inline_references(raw)  # HEAD keeps no clip, and cannot judge this one
    if not unread:
        raw = {**raw, **await keep_inline_references(request, raw)}
    asked = await understand(context, raw, client, request.headers.get("accept", ""))
    fields = asked.fields
    delivery = Delivery(
        fields.media_type,
        use_cache=fields.cache,
        as_link=fields.response == "url",
        warnings=(*warnings, *asked.warnings),
        subtitles=fields.subtitles,
    )
    if asked.tts_request.timestamps != "none" and asked.tts_request.streaming_mode and fields.response != "url":
        if fields.subtitles:
            raise InvalidRequestError("subtitles need a whole answer: leave streaming_mode out, or ask for timestamps")
        delivery = replace(delivery, content_type="text/event-stream", shape_chunk=SpeechEvents, shape_kept=kept_events)
    return (
        promised(delivery, asked.tts_request) if unread else await speak(request, asked.tts_request, delivery, client)
    )


async def upload_transcript(service: Service, raw: Mapping[str, Any], client: str) -> UploadDetails | None:
    """The transcript that came with an upload, for a request that names the upload and no transcript."""
    name = raw.get("ref_audio_path")
    if (
        not isinstance(name, str)
        or not name
        or any(raw.get(field) is not None for field in ("prompt_text", "prompt_lang"))
    ):
        return None
    return await service.voices.upload_details(name, owner_of(client))
