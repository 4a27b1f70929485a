"""The GSVI API: characters with emotions at `/tts`, and the newer `/infer_single`, which answers with a link."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sovits_service.api.access import presented_key
from sovits_service.api.deps import context_of, read_fields, require_ready
from sovits_service.api.inline import keep_inline_references
from sovits_service.api.say import understand
from sovits_service.api.schemas import over_defaults
from sovits_service.api.speech_response import Delivery, speak
from sovits_service.api.voice_names import find_voice
from sovits_service.errors import InvalidRequestError
from sovits_service.types import Voice

router = APIRouter(include_in_schema=False, tags=["speech"])

_NAMES: Mapping[str, str] = {
    "cha_name": "voice_id",
    "character": "voice_id",
    "model_name": "voice_id",
    "character_emotion": "emotion",
    "text_language": "text_lang",
    "speed": "speed_factor",
    "speed_facter": "speed_factor",  # their spelling
    "stream": "streaming_mode",
    "format": "media_type",
    "if_sr": "super_sampling",
}
_SPLIT_METHODS: Mapping[str, str] = {
    "不切": "cut0",
    "凑四句一切": "cut1",
    "凑50字一切": "cut2",
    "按中文句号。切": "cut3",
    "按英文句号.切": "cut4",
    "按标点符号切": "cut5",
}
_LANGUAGES: Mapping[str, str] = {"zh": "中文", "en": "英语", "ja": "日语", "yue": "粤语", "ko": "韩语"}
_DEFAULT_EMOTION = "默认"
_MADE = "合成成功"  # what their clients compare the message with
_MODEL = "default"
_ADDRESS = re.compile(r"https?://[\w.:\[\]-]{1,200}(/[\w./~-]{0,200})?", re.ASCII)


def names_character(raw: Mapping[str, Any]) -> bool:
    """Whether a request to `/tts` is one of GSVI's: it names a character, and no voice or reference of `/tts`."""
    is_theirs = any(raw.get(name) for name in ("cha_name", "character"))
    return is_theirs and not any(raw.get(name) for name in ("voice_id", "ref_audio_path"))


def translate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """GSVI's fields by the names of `/tts`, which may stand beside them and win."""
    theirs = {_NAMES[name]: value for name, value in raw.items() if name in _NAMES and value not in (None, "")}
    own = {name: value for name, value in raw.items() if name not in _NAMES and value is not None}
    fields = over_defaults({"text_lang": "auto", **theirs}, own)
    split = fields.get("text_split_method")
    if isinstance(split, str):
        fields["text_split_method"] = _SPLIT_METHODS.get(split, split)
    return fields


@router.post("/infer_single")
async def infer_single(request: Request) -> Response:
    """Say a text in a character's voice; the answer is a link to the file."""
    raw = await _authorized_fields(request)
    fields = translate(raw)
    name = fields.get("voice_id")
    if not isinstance(name, str) or not name:
        raise InvalidRequestError("model_name is required: the id of a voice template")
    voice, _ = await find_voice(context_of(request), name)
    # The language of the transcript is the voice's own; theirs chooses among transcripts that we have not.
    return await _link(request, raw, {**fields, "voice_id": voice.voice_id})


@router.post("/infer_classic")
async def infer_classic(request: Request) -> Response:
    """Say a text after a clip of the request; the answer is a link to the file."""
    raw = await _authorized_fields(request)
    for name in ("gpt_model_name", "sovits_model_name"):
        if raw.get(name) not in (None, "", _MODEL):
            raise InvalidRequestError(f"{name} must be {_MODEL}: a voice template may have weights of its own")
    fields = {**translate(raw), "prompt_lang": raw.get("prompt_text_lang") or ""}
    return await _link(request, raw, fields)


@router.get("/character_list")
async def list_characters(request: Request) -> dict[str, list[str]]:
    """The voice templates, each with its emotions."""
    return {voice.voice_id: ["default", *voice.emotions] for voice in await _voices(request)}


@router.get("/models/{version}")
@router.post("/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The voice templates, each with its language and the emotions in it; whatever version is asked for."""
    models = {
        voice.voice_id: {_LANGUAGES.get(voice.prompt_lang.split("_")[-1], "中文"): [_DEFAULT_EMOTION, *voice.emotions]}
        for voice in await _voices(request)
    }
    return {"msg": "获取成功", "models": models}


@router.get("/classic_model_list/{version}")
@router.post("/classic_model_list")
async def list_classic_models(request: Request) -> dict[str, Any]:
    """The weights that are loaded, under one name."""
    await context_of(request).access.authorize(request, "synth")
    return {"msg": "获取模型列表成功", "gpt": [_MODEL], "sovits": [_MODEL]}


@router.get("/version")
async def get_version(request: Request) -> dict[str, Any]:
    """The version of the model."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    require_ready(context.service)
    return {"msg": "获取版本号成功", "support_versions": [context.service.version]}


async def _voices(request: Request) -> list[Voice]:
    context = context_of(request)
    await context.access.authorize(request, "synth")
    return await context.service.voices.all()


async def _authorized_fields(request: Request) -> dict[str, Any]:
    context = context_of(request)
    if not context.access.needs_key or presented_key(request) is not None:
        request.state.client = await context.access.authorize(request, "synth")
        return await read_fields(request)
    raw = await read_fields(request)
    key = raw.get("app_key")
    request.state.client = await context.access.authorize(request, "synth", key=key if isinstance(key, str) else None)
    return raw


async def _link(request: Request, raw: Mapping[str, Any], fields: Mapping[str, Any]) -> Response:
    context = context_of(request)
    require_ready(context.service)
    client: str = request.state.client
    kept = await keep_inline_references(request, fields)
    asked = await understand(context, {**fields, **kept}, client)
    delivery = Delivery(
        asked.fields.media_type,
        use_cache=asked.fields.cache,
        as_link=True,
        link_base=_address(raw.get("dl_url")),
        warnings=asked.warnings,
    )
    response = await speak(request, asked.tts_request, delivery, client)
    headers = {name: response.headers[name] for name in ("x-seed", "x-warnings") if name in response.headers}
    return JSONResponse({"msg": _MADE, "audio_url": json.loads(bytes(response.body))["url"]}, headers=headers)


def _address(value: object) -> str:
    """The client's own word for the address of this service: it goes back to this client alone."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InvalidRequestError("dl_url must be the http address of this service, or be left out")
    return value.rstrip("/")
