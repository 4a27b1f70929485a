"""OpenAI's POST /v1/audio/speech in, the same speech as /tts out."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, read_fields, require_ready
from sovits_service.api.openapi import OPENAI_ANSWERS, json_body
from sovits_service.api.say import understand
from sovits_service.api.schemas import Real, Text, describe_problem
from sovits_service.api.speech import Delivery, speak
from sovits_service.audio.encode import StreamEncoder, pcm_stream_encoder
from sovits_service.errors import InvalidRequestError

router = APIRouter(tags=["speech"])

_EXAMPLE = {"model": "gpt-sovits", "input": "你好，世界。", "voice": "female_calm", "response_format": "mp3"}
_PCM_RATE_HZ = 24_000  # what OpenAI's clients take for granted


class SpeechFields(BaseModel):
    """OpenAI's fields; those of `/tts` may stand beside them (`text_lang`, `seed`, `top_k`, ...)."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": True})

    input: Text = Field(min_length=1, description="What to say.")
    voice: Text | dict[str, Any] = Field(description="A voice template's id, or an object with the id.")
    model: Text = Field("", description="Any; the service speaks with the model that it has loaded.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field("mp3", description="pcm: 24 kHz.")
    speed: Real = Field(1.0, ge=0.25, le=4.0)
    instructions: Text | None = Field(None, description="Ignored: the reference sets the manner of speaking.")
    stream_format: Literal["audio"] = Field("audio", description="Server-sent events are not offered.")


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses=OPENAI_ANSWERS,
    openapi_extra=json_body(SpeechFields.model_json_schema(), _EXAMPLE),
)
async def create_speech(request: Request) -> Response:
    """Says a text in a template's voice, for OpenAI's clients."""
    context = context_of(request)
    client = context.access.authorize(request, "synth")
    raw = await read_fields(request)
    try:
        asked = SpeechFields.model_validate({name: value for name, value in raw.items() if value is not None})
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    require_ready(context.service)
    voice_id = asked.voice if isinstance(asked.voice, str) else asked.voice.get("id")
    if not voice_id:
        raise InvalidRequestError("voice is required: the id of a voice template")
    is_pcm = asked.response_format == "pcm"
    fields = {
        "text_lang": "auto",
        # A whole wav or flac has a right header; everything else begins with the first sentence.
        "streaming_mode": 0 if asked.response_format in ("wav", "flac") else 1,
        **raw,
        "text": asked.input,
        "voice_id": voice_id,
        "speed_factor": asked.speed,
        "media_type": "raw" if is_pcm else asked.response_format,
        **({"streaming_mode": 1} if is_pcm else {}),
    }
    said = await understand(context, fields, client)
    if is_pcm:  # a form of its own, which no cached file has
        delivery = Delivery("raw", use_cache=False, encoder=_pcm_encoder, warnings=said.warnings)
    else:
        delivery = Delivery(said.fields.media_type, use_cache=said.fields.cache, warnings=said.warnings)
    return await speak(request, said.wanted, delivery, client)


def _pcm_encoder(media_type: str, sample_rate_hz: int) -> StreamEncoder:
    return pcm_stream_encoder(sample_rate_hz, _PCM_RATE_HZ)
