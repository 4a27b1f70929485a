"""The ElevenLabs API: `/v1/text-to-speech/{voice_id}` and `/v1/voices`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from sovits_service.api.deps import context_of, read_fields, require_ready
from sovits_service.api.inline import keep_inline_references
from sovits_service.api.say import understand
from sovits_service.api.schemas import echo, over_defaults
from sovits_service.api.speech_response import Delivery, speak
from sovits_service.api.timed import character_times
from sovits_service.api.voice_names import find_voice
from sovits_service.audio.encode import StreamEncoder, rated_encoder
from sovits_service.errors import InvalidRequestError
from sovits_service.text.frontend import SUPPORTED_LANGUAGES
from sovits_service.types import AudioChunk, TimedText, Voice

router = APIRouter(include_in_schema=False, tags=["speech"])

_USUAL_FORMAT = "mp3_44100_128"
# The media type of the service that a format is written as, its content type, and the rates that it may have.
_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
_FORMATS: Mapping[str, tuple[str, str, tuple[int, ...]]] = {
    "mp3": ("mp3", "audio/mpeg", (22050, 24000, 44100)),
    "opus": ("opus", "audio/ogg", (48000,)),
    "pcm": ("raw", "audio/pcm", _RATES),
    "wav": ("wav", "audio/wav", _RATES),
    "ulaw": ("mulaw", "audio/basic", (8000,)),
    "alaw": ("alaw", "audio/x-alaw-basic", (8000,)),
}
_FORMAT = re.compile(r"([a-z0-9]+?)_(\d{4,5})(?:_(\d{2,3}))?")


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What an `output_format` means.

    Attributes:
        bit_rate: bits per second; None where the format has none.
    """

    kind: str
    content_type: str
    rate_hz: int
    bit_rate: int | None

    @property
    def encoder(self) -> Callable[[int], StreamEncoder]:
        """Makes the encoder of a stream, by the rate of its samples."""
        return partial(rated_encoder, self.kind, output_rate_hz=self.rate_hz, bit_rate=self.bit_rate)


def output_format(name: str) -> OutputFormat:
    """`mp3_44100_128`, `pcm_24000`, `ulaw_8000` and their like.

    Raises:
        InvalidRequestError: the service does not write it.
    """
    match = _FORMAT.fullmatch(name.strip().lower() or _USUAL_FORMAT)
    found = _FORMATS.get(match[1]) if match else None
    has_bit_rate = match is not None and match[1] in ("mp3", "opus")
    if match is None or found is None or int(match[2]) not in found[2] or has_bit_rate != bool(match[3]):
        raise InvalidRequestError(
            f"output_format: {echo(name)} is not supported; use one such as mp3_44100_128, opus_48000_64, pcm_24000, "
            "wav_44100, ulaw_8000 or alaw_8000"
        )
    kbits = min(max(int(match[3]), 16), 320) if match[3] else None
    return OutputFormat(found[0], found[1], int(match[2]), kbits * 1000 if kbits else None)


def speech_fields(raw: Mapping[str, Any], voice: Voice) -> dict[str, Any]:
    """ElevenLabs' fields by the names of `/tts`, which may stand beside them.

    `voice_settings` but for `speed`, the model, and what was said before have no counterpart.

    Raises:
        InvalidRequestError: a field is of another type.
    """
    settings = raw.get("voice_settings") or {}
    if not isinstance(settings, Mapping):
        raise InvalidRequestError("voice_settings should be an object")
    theirs = {"text_lang": raw.get("language_code"), "speed_factor": settings.get("speed")}
    defaults = over_defaults({"text_lang": "auto", "streaming_mode": 1}, theirs)
    return {
        **over_defaults(defaults, raw),
        "voice_id": voice.voice_id,
        "media_type": "wav",  # the output format is chosen apart
    }


@router.post("/v1/text-to-speech/{voice_id}")
@router.post("/v1/text-to-speech/{voice_id}/stream")
async def convert(request: Request) -> Response:
    """Say a text, sentence by sentence as it is made."""
    return await _convert(request)


@router.post("/v1/text-to-speech/{voice_id}/with-timestamps")
@router.post("/v1/text-to-speech/{voice_id}/stream/with-timestamps")
async def convert_with_timestamps(request: Request) -> Response:
    """Say a text, and when each of its characters is said: one JSON object, or one a line as sentences are made."""
    return await _convert(request, has_times=True)


async def _convert(request: Request, *, has_times: bool = False) -> Response:
    context = context_of(request)
    client = await context.access.authorize(request, "synth")
    raw = await read_fields(request)
    chosen = output_format(request.query_params.get("output_format") or str(raw.get("output_format") or ""))
    require_ready(context.service)
    voice, warnings = await find_voice(context, request.path_params["voice_id"])
    times = {"timestamps": "char"} if has_times else {}
    fields = {**speech_fields(raw, voice), **times}
    fields |= await keep_inline_references(request, fields)
    asked = await understand(context, fields, client)
    delivery = Delivery(
        "wav",
        use_cache=False,  # a form of its own, which no cached file has
        encoder=lambda _, sample_rate_hz: chosen.encoder(sample_rate_hz),
        warnings=(*warnings, *asked.warnings),
        content_type=chosen.content_type,
    )
    if has_times:
        lines = TimedLines(asked.tts_request.text, is_stream="/stream/" in request.url.path)
        delivery = replace(delivery, content_type="application/json", shape_chunk=lambda _: lines)
    tts_request = replace(asked.tts_request, streaming_mode=asked.tts_request.streaming_mode or 1)
    return await speak(request, tts_request, delivery, client)


class TimedLines:
    """ElevenLabs' JSON of audio and the times of its characters: an object for each fragment, or one for all.

    Together the objects have every character of the text.

    Args:
        text: that is said.
        is_stream: whether objects are sent as fragments end.
    """

    def __init__(self, text: str, *, is_stream: bool) -> None:
        self._text = text
        self._is_stream = is_stream
        self._data = b""
        self._parts: list[TimedText] = []
        self._start = self._end = 0
        self._last_s: float | None = None

    def __call__(self, data: bytes, chunk: AudioChunk | None) -> bytes:
        self._data += data
        if chunk is not None:
            self._parts += chunk.words
            marks = [] if chunk.cue is None else [chunk.cue]  # with the punctuation, which no word has
            self._end = max([self._end, *(part.end for part in [*chunk.words, *marks])])
        is_end = chunk is None or chunk.is_last
        if is_end:
            self._end = len(self._text)
        if chunk is not None and not (self._is_stream and chunk.is_fragment_end):
            return b""
        alignment = None
        if self._start < self._end and (self._parts or is_end):
            alignment = character_times(self._text, self._parts, self._start, self._end, self._last_s)
        if not self._data and alignment is None:
            return b""
        content = {
            "audio_base64": base64.b64encode(self._data).decode(),
            "alignment": alignment,
            "normalized_alignment": alignment,
        }
        if alignment is not None:
            self._start, self._last_s = self._end, alignment["character_end_times_seconds"][-1]
        self._data, self._parts = b"", []
        return json.dumps(content, ensure_ascii=False).encode() + b"\n"


@router.get("/v1/voices")
@router.get("/v2/voices")
async def list_voices(request: Request) -> dict[str, Any]:
    """Every voice template."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    voices = [_shape(voice) for voice in await context.service.voices.all()]
    if not request.url.path.endswith("/v2/voices"):
        return {"voices": voices}
    return {"voices": voices, "has_more": False, "total_count": len(voices), "next_page_token": None}


@router.get("/v1/voices/{voice_id}")
async def get_voice(request: Request) -> dict[str, Any]:
    """One voice template."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    return _shape(await context.service.voices.get(request.path_params["voice_id"]))


def _shape(voice: Voice) -> dict[str, Any]:
    return {
        "voice_id": voice.voice_id,
        "name": voice.voice_id,
        "category": "cloned",
        "description": voice.description,
        "labels": {"language": voice.prompt_lang} if voice.prompt_lang else {},
        "samples": [],
        "preview_url": None,
        "available_for_tiers": [],
        "high_quality_base_model_ids": [],
    }


def is_elevenlabs(request: HTTPConnection) -> bool:
    """Whether one of ElevenLabs' clients asks, at an address that another dialect has too."""
    return "xi-api-key" in request.headers or request.headers.get("x-fern-sdk-name") == "elevenlabs"


def models_for_elevenlabs(model: str) -> list[dict[str, Any]]:
    """The answer of `/v1/models` to them."""
    languages = [code for code in SUPPORTED_LANGUAGES["v2"] if "_" not in code and code != "auto"]
    return [
        {
            "model_id": model,
            "name": model,
            "can_do_text_to_speech": True,
            "languages": [{"language_id": code, "name": code} for code in languages],
        }
    ]
