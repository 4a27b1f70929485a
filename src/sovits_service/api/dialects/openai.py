"""The OpenAI API: `/v1/audio/speech`, models and voices."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, owner_of, read_fields, require_ready
from sovits_service.api.dialects.elevenlabs import is_elevenlabs, models_for_elevenlabs
from sovits_service.api.inline import keep_inline_references
from sovits_service.api.openapi import OPENAI_ANSWERS, json_body
from sovits_service.api.routes.voices import checked_details
from sovits_service.api.say import understand
from sovits_service.api.schemas import Real, Text, describe_problem, over_defaults
from sovits_service.api.speech_response import UNTIMED_STREAM, Delivery, speak
from sovits_service.api.timed import ShapeChunk, word_fields
from sovits_service.api.uploads import receive_clip
from sovits_service.api.voice_names import find_voice
from sovits_service.audio.encode import StreamEncoder, pcm_stream_encoder, stream_encoder
from sovits_service.errors import InvalidRequestError, UnknownModelError
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import SEMANTIC_TOKENS_PER_SECOND, AudioChunk, FloatArray, Voice

router = APIRouter(tags=["speech"])

MODEL = "gpt-sovits"
_EXAMPLE = {"model": MODEL, "input": "你好，世界。", "voice": "female_calm", "response_format": "mp3"}
_PCM_RATE_HZ = 24_000  # what OpenAI's clients take for granted
_DELTA_BYTES = 24 * 1024  # of audio in an event: readers of lines have limits
_NAME_CHARACTERS = 40
_NO_MANNER = "instructions have no effect: they name none of the voice's emotions"


class SpeechFields(BaseModel):
    """OpenAI's fields; those of `/tts` may stand beside them (`text_lang`, `seed`, `emotion`, ...)."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": True})

    input: Text = Field(min_length=1, description="What to say.")
    voice: Text | dict[str, Any] = Field(description="A voice template's id or an alias, or an object with the id.")
    model: Text = Field("", description="Any; the service speaks with the model that it has loaded.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field("mp3", description="pcm: 24 kHz.")
    speed: Real = Field(1.0, ge=0.25, le=4.0)
    instructions: Text | None = Field(None, description="Chooses the emotion of the voice that is named in it.")
    stream_format: Literal["audio", "sse"] = Field("audio", description="sse: events with the audio in base64.")


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses=OPENAI_ANSWERS,
    openapi_extra=json_body(SpeechFields.model_json_schema(), _EXAMPLE),
)
async def create_speech(request: Request) -> Response:
    """Say a text in a template's voice, for OpenAI's clients."""
    context = context_of(request)
    client = await context.access.authorize(request, "synth")
    raw = await read_fields(request)
    try:
        asked = SpeechFields.model_validate(
            {name: value for name, value in raw.items() if value is not None and (value != "" or name == "voice")}
        )
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    require_ready(context.service)
    voice_id = asked.voice if isinstance(asked.voice, str) else asked.voice.get("id", "")
    if not isinstance(voice_id, str):
        raise InvalidRequestError("voice.id should be a valid string")
    voice, warnings = await find_voice(context, voice_id)
    manner = {} if raw.get("emotion") else _manner(asked.instructions, voice)
    if asked.instructions and not manner and not raw.get("emotion"):
        warnings = (*warnings, _NO_MANNER)
    is_pcm, is_sse = asked.response_format == "pcm", asked.stream_format == "sse"
    is_timed = any(raw.get(name) not in (None, "", "none") for name in ("timestamps", "subtitles"))
    # A whole wav or flac has a right header, and JSON with times is whole; everything else begins with the first
    # sentence.
    is_whole = asked.response_format in ("wav", "flac") or (is_timed and not is_sse)
    fields = {
        **over_defaults({"text_lang": "auto", "streaming_mode": 0 if is_whole else 1}, raw),
        **manner,
        "text": asked.input,
        "voice_id": voice.voice_id,
        "speed_factor": asked.speed,
        "media_type": "raw" if is_pcm else asked.response_format,
    }
    fields |= await keep_inline_references(request, fields)
    said = await understand(context, fields, client)
    warnings = (*warnings, *said.warnings)
    if not is_pcm and not is_sse:
        delivery = Delivery(
            said.fields.media_type,
            use_cache=said.fields.cache,
            as_link=said.fields.response == "url",
            warnings=warnings,
            subtitles=said.fields.subtitles,
        )
        return await speak(request, said.tts_request, delivery, client)
    if said.tts_request.timestamps != "none" and (not is_sse or said.fields.subtitles):
        raise InvalidRequestError(UNTIMED_STREAM)
    encoder = _pcm_encoder if is_pcm else stream_encoder

    def events(media_type: str, sample_rate_hz: int) -> StreamEncoder:
        return _EventStream(encoder(media_type, sample_rate_hz), sample_rate_hz, len(asked.input))

    delivery = Delivery(  # a form of its own, which no cached file has
        said.fields.media_type,
        use_cache=False,
        encoder=events if is_sse else encoder,
        warnings=warnings,
        content_type="text/event-stream" if is_sse else "",
        shape_chunk=_with_words if is_sse and said.tts_request.timestamps != "none" else None,
    )
    tts_request = replace(said.tts_request, streaming_mode=said.tts_request.streaming_mode or 1)
    return await speak(request, tts_request, delivery, client)


def _pcm_encoder(media_type: str, sample_rate_hz: int) -> StreamEncoder:
    return pcm_stream_encoder(sample_rate_hz, _PCM_RATE_HZ)


def _manner(instructions: str | None, voice: Voice) -> dict[str, str]:
    """The emotion that is named first in the instructions, as `emotion`; the reference sets everything else."""
    told = (instructions or "").casefold()
    places = {
        name: found.start()
        for name in voice.emotions
        if (found := re.search(rf"(?<![a-z]){re.escape(name.casefold())}(?![a-z])", told))
    }
    return {"emotion": min(places, key=places.__getitem__)} if places else {}


class _EventStream:
    """Server-sent events around the bytes of another encoder.

    Usage counts the characters of the text and the semantic tokens of the speech.
    """

    def __init__(self, inner: StreamEncoder, sample_rate_hz: int, characters: int) -> None:
        self.output_rate_hz = inner.output_rate_hz
        self._inner = inner
        self._sample_rate_hz = sample_rate_hz
        self._characters = characters
        self._samples = 0

    def start(self) -> bytes:
        return _deltas(self._inner.start())

    def encode(self, samples: FloatArray) -> bytes:
        self._samples += len(samples)
        return _deltas(self._inner.encode(samples))

    def finish(self) -> bytes:
        tokens = round(self._samples / self._sample_rate_hz * SEMANTIC_TOKENS_PER_SECOND)
        usage = {
            "input_tokens": self._characters,
            "output_tokens": tokens,
            "total_tokens": self._characters + tokens,
        }
        return _deltas(self._inner.finish()) + _event({"type": "speech.audio.done", "usage": usage})


def _with_words(encoder: StreamEncoder) -> ShapeChunk:
    """An event with the words of each fragment, behind its audio."""

    def shape(data: bytes, chunk: AudioChunk | None) -> bytes:
        if chunk is None or not chunk.is_fragment_end:
            return data
        words = [word_fields(word) for word in chunk.words]
        return data + _event({"type": "speech.audio.words", "words": words, "aligned": bool(words)})

    return shape


def _deltas(data: bytes) -> bytes:
    parts = (data[start : start + _DELTA_BYTES] for start in range(0, len(data), _DELTA_BYTES))
    return b"".join(_event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()}) for part in parts)


def _event(content: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


@router.get("/v1/models", include_in_schema=False)
async def list_models(request: Request) -> Any:
    """The one model, whatever weights it has; ElevenLabs' clients ask at the same address for another shape."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    if context.settings.dialects.elevenlabs and is_elevenlabs(request):
        return models_for_elevenlabs(MODEL)
    return {"object": "list", "data": [_model()]}


@router.get("/v1/models/{model}", include_in_schema=False)
async def get_model(request: Request) -> dict[str, Any]:
    """The one model."""
    await context_of(request).access.authorize(request, "synth")
    if request.path_params["model"] != MODEL:
        raise UnknownModelError(f"there is no such model; the model is {MODEL}")
    return _model()


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": "sovits_service"}


@router.get("/v1/audio/models", include_in_schema=False)
async def list_speech_models(request: Request) -> dict[str, Any]:
    """The models as Open WebUI asks for them."""
    await context_of(request).access.authorize(request, "synth")
    return {"models": [{"id": MODEL, "name": MODEL}]}


@router.get("/v1/audio/voices", include_in_schema=False)
async def list_voices(request: Request) -> dict[str, Any]:
    """Every voice template: `data` as OpenAI shows a voice, `voices` as Open WebUI and others list them."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    voices = await context.service.voices.all()
    return {
        "object": "list",
        "data": [_voice(voice.voice_id, voice.voice_id) for voice in voices],
        "voices": [{"id": voice.voice_id, "name": voice.voice_id} for voice in voices],
    }


@router.post("/v1/audio/voices", include_in_schema=False)
async def create_voice(request: Request) -> dict[str, Any]:
    """Make a voice template of a clip, for OpenAI's clients; a clip that is too long is cut at silence."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    with context.access.upload_slot(client):
        form = await receive_clip(request, context.settings, "audio_sample")
        require_ready(context.service)
        if form.text("type") not in ("", "audio_sample"):
            raise InvalidRequestError("type must be audio_sample: voices are made of a clip, not of a prompt")
        name = form.text("name").strip()
        if not name:
            raise InvalidRequestError("name is required")
        said = UploadDetails(form.text("prompt_text"), form.text("prompt_lang"), form.text("consent"))
        details = checked_details(said, context.settings, context.service.version)
        owner = owner_of(client)
        stored = await context.service.voices.add_reference(form.clip, details, owner=owner, trim=True)
    voice = Voice(
        _new_id(name),
        stored.path,
        details.prompt_text,
        details.prompt_lang,
        description=name[:2000],
        consent=details.consent,
        owner=owner,
    )
    written = await context.service.voices.put(voice, context.access.owner(client))
    return _voice(written.voice_id, name, int(time.time()))


@router.delete("/v1/audio/voices/{voice_id}", include_in_schema=False)
async def delete_voice(request: Request) -> dict[str, Any]:
    """Remove a voice template."""
    context = context_of(request)
    client = await context.access.authorize(request, "upload")
    voice_id = request.path_params["voice_id"]
    await context.service.voices.delete(voice_id, context.access.owner(client))
    return {"id": voice_id, "deleted": True, "object": "audio.voice.deleted"}


def _new_id(name: str) -> str:
    """An id made of the name that no voice has yet: two voices may have one name."""
    readable = re.sub(r"[^\w-]+", "_", name).strip("_-")[:_NAME_CHARACTERS] or "voice"
    return f"{readable}_{secrets.token_hex(4)}"


def _voice(voice_id: str, name: str, created_s: int = 0) -> dict[str, Any]:
    return {
        "id": voice_id,
        "object": "audio.voice",
        "name": name,
        "type": "audio_sample",
        "created_at": created_s,
    }
