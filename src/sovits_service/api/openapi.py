"""What openapi.json says beyond the route signatures: fields, media types and every possible status."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from sovits_service.api.errors import ErrorBody, OpenAiErrorBody
from sovits_service.api.schemas import TtsFields
from sovits_service.audio.encode import MEDIA_TYPES, content_type
from sovits_service.text.frontend import SUPPORTED_LANGUAGES
from sovits_service.types import SPLIT_METHODS

_MEANING = {
    400: "A field is missing or cannot be used, or the synthesis failed before its first sound.",
    401: "A key is required, or it is not known.",
    403: "The settings, or the scopes of the key, do not allow it.",
    404: "There is no such voice or job.",
    409: "The job is not done, or has failed.",
    413: "The body is longer than the settings allow.",
    415: "The content is no audio in a known format.",
    429: "Too many requests; Retry-After tells when to come back.",
    501: "Jobs are not part of this deployment.",
    503: "The queue is full, or the service is loading or draining; Retry-After tells when to come back.",
    504: "The request's deadline passed.",
}
TTS_EXAMPLE = {"text": "你好，世界。", "text_lang": "zh", "voice_id": "female_calm"}
_AUDIO = {"schema": {"type": "string", "format": "binary"}}
_SPEECH_HEADERS = {
    "X-Seed": {"description": "The seed that was used.", "schema": {"type": "string"}},
    "X-Sample-Rate": {"description": "Samples per second.", "schema": {"type": "string"}},
    "X-Dropped-Characters": {"description": "Characters without a reading.", "schema": {"type": "string"}},
    "X-Warnings": {"description": "What may sound worse than it could.", "schema": {"type": "string"}},
    "X-Takes": {"description": "Takes of all fragments, where the guard judged them.", "schema": {"type": "string"}},
    "X-Cache": {"description": "hit, miss or bypass.", "schema": {"type": "string"}},
    "ETag": {"description": "Of a whole file.", "schema": {"type": "string"}},
    "Server-Timing": {"description": "Durations of the stages.", "schema": {"type": "string"}},
}


class LinkAnswer(BaseModel):
    """What `response: url` answers."""

    url: str
    duration_s: float
    sample_rate: int
    cached: bool


Answers = dict[int | str, dict[str, Any]]


def failures(*statuses: int, model: type[BaseModel] = ErrorBody) -> Answers:
    """The `responses` of a route for these statuses; 401, 403 and 429 go without saying."""
    return {status: {"model": model, "description": _MEANING[status]} for status in sorted({*statuses, 401, 403, 429})}


def speech(media_types: tuple[str, ...] = MEDIA_TYPES) -> dict[str, Any]:
    """The 200 of a speech route."""
    return {
        "description": "Speech: one file, or a stream of it.",
        "content": {content_type(media_type): _AUDIO for media_type in media_types},
        "headers": _SPEECH_HEADERS,
    }


_NOT_MODIFIED = {"description": "The client has this answer already (If-None-Match)."}
_WITH_LINK = {
    **speech(),
    "content": {**speech()["content"], "application/json": {"schema": LinkAnswer.model_json_schema()}},
}
SPEECH_ANSWERS: Answers = {200: _WITH_LINK, 304: _NOT_MODIFIED, **failures(400, 404, 413, 503, 504)}
_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
_OR_EVENTS = {**speech(), "content": {**speech()["content"], "text/event-stream": {"schema": _EVENT}}}
OPENAI_ANSWERS: Answers = {
    200: _OR_EVENTS,
    304: _NOT_MODIFIED,
    **failures(400, 404, 413, 503, 504, model=OpenAiErrorBody),
}


_BINARY = {content_type(media_type): _AUDIO for media_type in MEDIA_TYPES}
OBJECT_ANSWERS: Answers = {
    200: {"description": "The file.", "content": _BINARY},
    206: {"description": "A range of it.", "content": {**_BINARY, "multipart/byteranges": _AUDIO}},
    400: {"description": "A range that cannot be read.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    403: {"model": ErrorBody, "description": "The link is not valid or has expired."},
    416: {"description": "No such range.", "content": {"text/plain": {"schema": {"type": "string"}}}},
}
OBJECT_PARAMETERS: dict[str, Any] = {
    "parameters": [
        {"name": "key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
        {"name": "expires", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "signature", "in": "query", "required": True, "schema": {"type": "string"}},
    ]
}


def tts_schema() -> dict[str, Any]:
    """The fields of `/tts` with the words that they take; any case is fine, and so are further fields."""
    schema = TtsFields.model_json_schema()
    words: dict[str, tuple[str, ...]] = {
        "text_lang": SUPPORTED_LANGUAGES["v2"],
        "media_type": MEDIA_TYPES,
        "text_split_method": SPLIT_METHODS,
    }
    for name, values in words.items():
        schema["properties"][name]["enum"] = list(values)
    for name in ("text", "text_lang"):
        del schema["properties"][name]["default"]
    schema["properties"]["text"]["minLength"] = 1
    schema["properties"]["response"]["enum"] = ["audio", "url"]
    schema["properties"]["prompt_lang"]["enum"] = ["", *SUPPORTED_LANGUAGES["v2"]]
    schema["properties"]["streaming_mode"] = {
        **schema["properties"]["streaming_mode"],
        "enum": [0, 1, 2, 3, False, True],
    }
    del schema["properties"]["streaming_mode"]["type"]
    return {**schema, "required": ["text", "text_lang"]}


def tts_parameters() -> dict[str, Any]:
    """The fields of `/tts` as query parameters."""
    schema = tts_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "description": field.get("description", ""),
            "schema": {key: value for key, value in field.items() if key != "description"},
            **({"example": TTS_EXAMPLE[name]} if name in TTS_EXAMPLE else {}),
        }
        for name, field in schema["properties"].items()
    ]
    return {"parameters": parameters}


def json_body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads a JSON object by itself."""
    content = {"schema": _inline(schema, schema.get("$defs", {})), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    """A part of a schema with what it refers to in place of the references, which count from the whole document."""
    if isinstance(part, list):
        return [_inline(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inline(definitions[part["$ref"].removeprefix("#/$defs/")], definitions)
    return {key: _inline(value, definitions) for key, value in part.items() if key != "$defs"}


def tts_body() -> dict[str, Any]:
    """The fields of `/tts` as a JSON object."""
    return json_body(tts_schema(), TTS_EXAMPLE)


def query_parameter(name: str, description: str) -> dict[str, Any]:
    """The `openapi_extra` of a route with one text parameter."""
    parameter = {
        "name": name,
        "in": "query",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }
    return {"parameters": [parameter]}


VOICE_ID: dict[str, Any] = {
    "parameters": [
        {
            "name": "voice_id",
            "in": "path",
            "required": True,
            "description": "Letters and digits of any script, `_` and `-`.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        }
    ]
}

_CONVERSION_FIELDS = (
    "ref_audio_path",
    "voice_id",
    "emotion",
    "aux_ref_audio_paths",
    "timbre_ref_audio_path",
    "prompt_text",
    "prompt_lang",
    "media_type",
    "streaming_mode",
    "seed",
    "sample_steps",
    "super_sampling",
    "cache",
    "response",
    "timeout_s",
)


def _conversion_body() -> dict[str, Any]:
    """The fields of `/vc`, as a form with the recording and as JSON that names it."""
    fields = _inline(tts_schema(), TtsFields.model_json_schema().get("$defs", {}))["properties"]
    said = {
        "text": {"type": "string", "description": "What the recording says; better with it."},
        "text_lang": {**fields["text_lang"], "description": "Its language; required with it."},
    }
    shared = {**said, **{name: fields[name] for name in _CONVERSION_FIELDS}}
    file = {"type": "string", "format": "binary", "description": "The recording, 0.3 to 60 s."}
    named = {"type": "string", "description": "An upload, a file under an allowed root, or data:...;base64,..."}
    form = {"type": "object", "properties": {"file": file, "source_audio_path": named, **shared}}
    body = {"type": "object", "required": ["source_audio_path"], "properties": {"source_audio_path": named, **shared}}
    example = {"source_audio_path": "voices/male_narrator.wav", "voice_id": "female_calm"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": body, "example": example},
            },
        }
    }


CONVERSION_BODY = _conversion_body()
CONVERSION_ANSWERS: Answers = {200: _WITH_LINK, 304: _NOT_MODIFIED, **failures(400, 404, 413, 415, 503, 504)}

_TRANSCRIPT: dict[str, Any] = {
    "prompt_text": {"type": "string", "description": "What the clip says."},
    "prompt_lang": {"type": "string", "description": "Its language."},
}
_CLIP: dict[str, Any] = {"type": "string", "format": "binary", "description": "The clip, 3 to 10 s."}
_NAMED_CLIP: dict[str, Any] = {"ref_audio_path": {"type": "string", "minLength": 1, "description": "As for /tts."}}
CHECK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": _CLIP, **_NAMED_CLIP, **_TRANSCRIPT}}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["ref_audio_path"],
                    "properties": {**_NAMED_CLIP, **_TRANSCRIPT},
                },
                "example": {
                    "ref_audio_path": "<the path that /upload_ref answered>",
                    "prompt_text": "What it says.",
                    "prompt_lang": "en",
                },
            },
        },
    }
}
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": _CLIP,
                        **_TRANSCRIPT,
                        "consent": {"type": "string", "description": "Who agreed to the use of the voice."},
                        "trim": {"type": "string", "enum": ["true", "false"], "description": "Cut it at silence."},
                    },
                }
            }
        },
    }
}
