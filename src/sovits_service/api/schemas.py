"""Public request schemas: query strings and JSON bodies, validated and converted to the service's own types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from sovits_service.api.spellings import accepted_media_type, language_code, media_type_name
from sovits_service.audio.encode import MEDIA_TYPES
from sovits_service.config_file import nearest
from sovits_service.errors import InvalidRequestError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.storage.voices.voice_template import DEFAULT_FIELDS
from sovits_service.text.frontend import SUPPORTED_LANGUAGES
from sovits_service.text.subtitles import SUBTITLE_FORMATS
from sovits_service.types import (
    GUARD_MODES,
    SPLIT_METHODS,
    TIMESTAMPS,
    GuardMode,
    ModelVersion,
    SamplingParams,
    SplitMethod,
    SynthesisRequest,
    Timestamps,
    Voice,
)

_ECHO_CHARACTERS = 32
_MAX_PATHS = 1000  # the settings say how many are really accepted
_MAX_SEED = 2**63 - 1
_MAX_CANDIDATES = 8
_NO_TOP_K = 100_000  # more than there are tokens
_NO_EMOTION = frozenset({"", "default", "neutral", "none", "默认", "中立", "无"})


def _as_flag(value: object) -> object:
    """`True`, `"TRUE"`, `"1"`, `1.0` and their like are one thing to a client."""
    if isinstance(value, str):
        return value.strip().lower()
    return value


def _as_number(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number")
    if isinstance(value, str):
        value = value.strip()
        if value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise PydanticCustomError("number", "must be a finite number")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("number", "must be a finite number")
    return value


def as_path_list(value: object) -> object:
    """A JSON list, a list in a query (repeated, or one string of JSON), or one path alone."""
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped.startswith("["):
            return [stripped] if stripped else []
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError):
            raise PydanticCustomError("path_list", "must be a list of strings") from None
    # Each wrong entry is a problem of its own to pydantic: half a million of them take seconds and 400 MB.
    if isinstance(value, list) and len(value) > _MAX_PATHS:
        raise PydanticCustomError("path_list", "has far too many entries")
    return value


def _as_streaming_mode(value: object) -> int:
    names = {"true": 1, "false": 0}
    if isinstance(value, str):
        value = names.get(value.strip().lower(), value.strip())
    try:
        number = float(cast("float", value))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if number not in (0.0, 1.0, 2.0, 3.0):
        raise PydanticCustomError("streaming_mode", "must be 0, 1, 2 or 3, or true or false")
    return int(number)


Flag = Annotated[bool, BeforeValidator(_as_flag)]
Whole = Annotated[int, BeforeValidator(_as_number)]
Real = Annotated[float, BeforeValidator(_as_number), Field(allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True)]
PathList = Annotated[list[Text], BeforeValidator(as_path_list)]
StreamingMode = Annotated[Literal[0, 1, 2, 3], BeforeValidator(_as_streaming_mode)]


class TtsFields(BaseModel):
    """The fields of `/tts`. Their order is the order in which problems are reported."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": True})

    ref_audio_path: Text = Field("", description="A file under an allowed root, or the path or id of an upload.")
    voice_id: Text = Field("", description="A voice template; fields that the request names win over it.")
    emotion: Text = Field(
        "", description="One of the voice's; with another it speaks as usual, and X-Warnings says so."
    )
    aux_ref_audio_paths: PathList = Field([], description="More references, whose timbre is averaged.")
    timbre_ref_audio_path: Text = Field(
        "", description="Whose timbre the speech has; the reference then gives manner and rhythm alone."
    )
    text: Text = Field("", description="What to say.")
    text_lang: Text = Field("", description="auto, auto_yue, zh, en, ja, yue, ko, all_zh, all_ja, all_yue or all_ko.")
    prompt_text: Text = Field("", description="What the reference says; empty means no prompt.")
    prompt_lang: Text = Field("", description="Language of prompt_text; required with it.")
    media_type: Text = Field("wav", description=", ".join(MEDIA_TYPES))
    text_split_method: Text = Field("cut5", description="cut0 to cut5.")
    read_emoji: Flag = Field(False, description="Say the names of emoji, which are silent otherwise.")
    streaming_mode: StreamingMode = Field(0, description="0 or false, 1 or true, 2, 3.")
    top_k: Whole = Field(15, ge=-1, le=_NO_TOP_K, description="0 and -1 set no limit.")
    top_p: Real = Field(1.0, ge=0.0, description="Above 1 is 1.")
    temperature: Real = Field(1.0, ge=0.0, le=10.0)
    repetition_penalty: Real = Field(1.35, gt=0.0, le=10.0)
    speed_factor: Real = Field(1.0, ge=0.25, le=4.0)
    fragment_interval: Real = Field(0.3, ge=0.0, le=10.0, description="Seconds of silence between fragments.")
    seed: Whole = Field(-1, ge=-1, le=_MAX_SEED, description="-1 draws one; X-Seed tells which was used.")
    overlap_length: Whole = Field(2, ge=0, le=100, description="Tokens, in streaming modes 2 and 3.")
    min_chunk_length: Whole = Field(16, ge=1, le=1000, description="Tokens, in streaming modes 2 and 3.")
    sample_steps: Whole = Field(32, ge=1, le=200, description="v3 and v4 only.")
    super_sampling: Flag = Field(False, description="v3 only.")
    timestamps: Text = Field("none", description="none, word, char or phoneme: JSON with the times of each.")
    guard: Text = Field(
        "", description="off, flag or retry: look for words left out or said twice; else the settings'."
    )
    candidates: Whole = Field(1, ge=1, le=_MAX_CANDIDATES, description="Takes of each fragment; the best is kept.")
    subtitles: Text = Field("", description="srt, vtt or lrc: JSON with a subtitle file beside the audio.")
    cache: Flag | None = Field(None, description="Keep or reuse the answer; by default with a fixed seed alone.")
    response: Text = Field("audio", description="audio, or url for a link to the file that expires.")
    timeout_s: Real | None = Field(None, gt=0.0, description="A deadline shorter than the service's own.")
    batch_size: Whole = Field(1, ge=1, description="Accepted for compatibility; the engine batches by itself.")
    batch_threshold: Real = Field(0.75, description="Accepted for compatibility.")
    split_bucket: Flag = Field(True, description="Accepted for compatibility.")
    parallel_infer: Flag = Field(True, description="Accepted for compatibility.")

    @field_validator("*", mode="after")
    @classmethod
    def _unicode_only(cls, value: Any) -> Any:
        """A lone surrogate, which JSON can spell, is in no text."""
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and any("\ud800" <= character <= "\udfff" for character in part):
                raise PydanticCustomError("unicode", "must be valid Unicode text")
        return value

    @field_validator("media_type", mode="after")
    @classmethod
    def _known_media_type(cls, value: str) -> str:
        name = media_type_name(value)
        if name not in MEDIA_TYPES:
            raise PydanticCustomError(
                "unsupported",
                "media_type: {value} is not supported; use one of {valid}",
                {"value": echo(value), "valid": ", ".join(MEDIA_TYPES)},
            )
        return name

    @field_validator("response", mode="after")
    @classmethod
    def _known_response(cls, value: str) -> str:
        if value.lower() not in ("audio", "url"):
            raise PydanticCustomError("response", "must be audio or url")
        return value.lower()

    @field_validator("timestamps", mode="after")
    @classmethod
    def _known_timestamps(cls, value: str) -> str:
        if value.lower() not in TIMESTAMPS:
            raise PydanticCustomError("timestamps", "must be none, word, char or phoneme")
        return value.lower()

    @field_validator("guard", mode="before")
    @classmethod
    def _known_guard(cls, value: Any) -> Any:
        mode = "off" if value is False else value  # YAML reads off as false
        mode = mode.lower() if isinstance(mode, str) else mode
        if mode not in ("", *GUARD_MODES):
            raise PydanticCustomError("guard", "must be off, flag or retry")
        return mode

    @field_validator("subtitles", mode="after")
    @classmethod
    def _known_subtitles(cls, value: str) -> str:
        if value and value.lower() not in SUBTITLE_FORMATS:
            raise PydanticCustomError("subtitles", "must be srt, vtt or lrc")
        return value.lower()

    @field_validator("text_split_method", mode="after")
    @classmethod
    def _known_split_method(cls, value: str) -> str:
        if value.lower() not in SPLIT_METHODS:
            raise PydanticCustomError(
                "unsupported",
                "text_split_method:{value} is not supported; use one of {valid}",
                {"value": echo(value), "valid": ", ".join(SPLIT_METHODS)},
            )
        return value.lower()

    @field_validator("text_lang", "prompt_lang", mode="after")
    @classmethod
    def _known_language(cls, value: str, info: ValidationInfo) -> str:
        version: ModelVersion = (info.context or {}).get("version", "v2")
        valid = SUPPORTED_LANGUAGES["v1" if version == "v1" else "v2"]
        code = language_code(value)
        if value and code not in valid:
            raise PydanticCustomError(
                "unsupported",
                "{field}: {value} is not supported in version {version}; use one of {valid}",
                {"field": info.field_name, "value": echo(value), "version": version, "valid": ", ".join(valid)},
            )
        return code


def over_defaults(defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a request with the defaults of its dialect, for which null and empty values leave room."""
    return {
        **defaults,
        **{name: value for name, value in given.items() if value not in (None, "") or name not in defaults},
    }


def parse_tts(
    raw: Mapping[str, object],
    *,
    version: ModelVersion,
    voice: Voice | None = None,
    said: UploadDetails | None = None,
    has_default_reference: bool = False,
    accept: str = "",
    required: Sequence[str] = ("text", "text_lang"),
) -> TtsFields:
    """Check the fields of a request, as a query or as JSON.

    Args:
        raw: public field names and values; strings are fine for every type; None means not given.
        version: of the SoVITS model in use; v1 knows fewer languages.
        voice: the template that the request names, whose values stand in for fields that the request does not name.
        said: what the uploader of the reference said of it, which stands in likewise.
        has_default_reference: whether a reference is set on the server, so that a request need not name one.
        accept: the request's `Accept` header, which chooses the format where nothing else does.
        required: fields that the request or its voice must name, beside the reference and the language of a transcript.

    Raises:
        InvalidRequestError: the first problem in the order of the fields: the reference, the text, its language, ...
    """
    given = {name: value for name, value in raw.items() if name in TtsFields.model_fields and value is not None}
    for name in TtsFields.model_fields:  # an empty `top_k=` in a query is a field left out
        if given.get(name) == "" and TtsFields.model_fields[name].default != "":
            del given[name]
    given = _with_known_emotion(given, voice)
    transcript = {} if said is None else {"prompt_text": said.prompt_text, "prompt_lang": said.prompt_lang}
    usual = {"media_type": accepted_media_type(accept, "wav")}
    merged = {**usual, **_template_fields(voice, given), **transcript, **given}
    problems: dict[str, str] = {}
    try:
        fields = TtsFields.model_validate(merged, context={"version": version})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            problems.setdefault(str(detail["loc"][0]), _describe(detail))
    needed = [*required]
    if voice is None and not has_default_reference:
        needed.append("ref_audio_path")
    if merged.get("prompt_text"):
        needed.append("prompt_lang")
    problems.update({name: f"{name} is required" for name in needed if merged.get(name) in (None, "")})
    for name in TtsFields.model_fields:
        if name in problems:
            raise InvalidRequestError(problems[name])
    return fields


def _template_fields(voice: Voice | None, given: Mapping[str, object]) -> dict[str, object]:
    """What a voice template fills in. Its transcript belongs to its clip: another clip does not get it."""
    if voice is None:
        return {}
    emotion = given.get("emotion")
    source = voice.emotions[emotion] if isinstance(emotion, str) and emotion else voice
    prompt = {"prompt_text": source.prompt_text, "prompt_lang": source.prompt_lang}
    return {**voice.defaults, **({} if given.get("ref_audio_path") else prompt)}


def _with_known_emotion(given: dict[str, object], voice: Voice | None) -> dict[str, object]:
    """The fields with the emotion as the voice spells it, and an empty one where it has none of this name."""
    asked = given.get("emotion")
    if not isinstance(asked, str):
        return given
    known = () if voice is None or given.get("ref_audio_path") else voice.emotions
    return {**given, "emotion": next((name for name in known if name.casefold() == asked.strip().casefold()), "")}


def emotion_warnings(raw: Mapping[str, object], fields: TtsFields) -> tuple[str, ...]:
    """What to tell a client whose emotion is not heard; `raw` are the fields as it sent them."""
    asked = raw.get("emotion")
    if fields.emotion or not isinstance(asked, str) or asked.strip().casefold() in _NO_EMOTION:
        return ()
    if fields.voice_id and not fields.ref_audio_path:
        return ("the voice has no such emotion and speaks as usual; GET /voices lists those that it has",)
    return ("emotion is left out: it is one of a voice_id",)


def checked_prompt_language(prompt_text: str, prompt_lang: str, version: ModelVersion) -> str:
    """The language of a voice's transcript in the spelling of the service.

    Raises:
        InvalidRequestError: the model does not know it, or it is missing.
    """
    if prompt_text and not prompt_lang:
        raise InvalidRequestError("prompt_lang is required")
    return checked_language("prompt_lang", prompt_lang, version)


def checked_language(field: Literal["text_lang", "prompt_lang"], name: str, version: ModelVersion) -> str:
    """A language in the spelling of the service. Raises InvalidRequestError where the model does not know it."""
    try:
        fields = TtsFields.model_validate({field: name}, context={"version": version})
    except ValidationError as error:
        raise InvalidRequestError(describe_problem(error)) from None
    return fields.text_lang if field == "text_lang" else fields.prompt_lang


def voice_defaults(defaults: Mapping[str, object], version: ModelVersion) -> dict[str, object]:
    """Check the request fields that a voice template sets.

    Raises:
        InvalidRequestError: not a field that a template may set, or an unusable value.
    """
    for name in defaults:
        if name not in DEFAULT_FIELDS:
            known = ", ".join(DEFAULT_FIELDS)
            guess = nearest(echo(name), DEFAULT_FIELDS)
            raise InvalidRequestError(f"defaults: {echo(name)} cannot be set{guess}; these can: {known}")
    try:
        fields = TtsFields.model_validate(defaults, context={"version": version})
    except ValidationError as error:
        raise InvalidRequestError(f"defaults: {describe_problem(error)}") from None
    return fields.model_dump(exclude_unset=True)


def check_prompt_length(prompt_text: str, settings: ServiceSettings) -> None:
    """Raise an InvalidRequestError for a transcript that no clip of ten seconds can have."""
    limit = settings.max_prompt_characters
    if len(prompt_text) > limit:
        raise InvalidRequestError(
            f"prompt_text has {len(prompt_text):,} characters; at most {limit:,} are accepted: send what the reference "
            "says, and no more"
        )


def check_limits(fields: TtsFields, settings: ServiceSettings) -> None:
    """Raise an InvalidRequestError for a request that is larger than the settings allow."""
    check_prompt_length(fields.prompt_text, settings)
    if len(fields.text) > settings.max_text_characters:
        raise InvalidRequestError(
            f"text has {len(fields.text):,} characters; at most {settings.max_text_characters:,} are accepted: "
            "send it in parts"
        )
    if len(fields.aux_ref_audio_paths) > settings.max_aux_references:
        raise InvalidRequestError(
            f"aux_ref_audio_paths has {len(fields.aux_ref_audio_paths)} references; "
            f"at most {settings.max_aux_references} are accepted"
        )


def to_synthesis_request(fields: TtsFields, settings: ServiceSettings) -> SynthesisRequest:
    """Rename the public fields to the service's own; what they leave open is as in the settings."""
    return SynthesisRequest(
        text=fields.text,
        text_lang=fields.text_lang,
        ref_audio=fields.ref_audio_path,
        aux_ref_audio=tuple(path for path in fields.aux_ref_audio_paths if path),
        timbre_ref_audio=fields.timbre_ref_audio_path,
        voice_id=fields.voice_id or None,
        emotion=fields.emotion,
        prompt_text=fields.prompt_text,
        prompt_lang=fields.prompt_lang,
        split_method=cast("SplitMethod", fields.text_split_method),
        read_emoji=fields.read_emoji,
        timestamps=cast(
            "Timestamps", "word" if fields.subtitles and fields.timestamps == "none" else fields.timestamps
        ),
        sampling=SamplingParams(
            top_k=fields.top_k if fields.top_k > 0 else _NO_TOP_K,
            top_p=min(fields.top_p, 1.0),
            temperature=fields.temperature,
            repetition_penalty=fields.repetition_penalty,
        ),
        speed=fields.speed_factor,
        pause_s=fields.fragment_interval,
        seed=None if fields.seed == -1 else fields.seed,
        streaming_mode=fields.streaming_mode,
        overlap_tokens=fields.overlap_length,
        min_chunk_tokens=fields.min_chunk_length,
        cfm_steps=fields.sample_steps,
        super_sampling=fields.super_sampling,
        timeout_s=min(settings.timeout_s, fields.timeout_s or settings.timeout_s),
        guard=cast("GuardMode", fields.guard or settings.guard),
        max_takes=settings.max_takes,
        candidates=fields.candidates,
    )


def echo(value: str) -> str:
    """A few printable characters of what the client sent."""
    return "".join(c if c.isprintable() else "?" for c in value[:_ECHO_CHARACTERS])


def describe_problem(error: ValidationError) -> str:
    """The first problem of a pydantic model as a sentence."""
    return _describe(error.errors(include_url=False, include_input=False)[0])


def _describe(detail: ErrorDetails) -> str:
    """A pydantic problem as a sentence that names the field."""
    if detail["type"] == "unsupported":
        return detail["msg"]
    if detail["type"] == "missing" or (detail["type"] == "string_too_short" and detail["ctx"]["min_length"] == 1):
        return f"{detail['loc'][-1]} is required"
    name = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Input ").removeprefix("String ")
    return f"{name} {message[:1].lower()}{message[1:]}"
