"""The API of api.py, the original's first server: speech at `/`, `/change_refer`, `/set_model`.

Fields of `/tts` may stand beside its own, and win: SillyTavern posts those of api_v2 to `/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sovits_service.api.deps import context_of, drop_body, read_fields, require_ready
from sovits_service.api.dialects.sillytavern import with_its_voice
from sovits_service.api.front_page import front_page, wants_front_page
from sovits_service.api.say import query_fields, say
from sovits_service.errors import InvalidRequestError
from sovits_service.storage.voices.upload_details import UploadDetails

router = APIRouter(include_in_schema=False, tags=["speech"])
admin_router = APIRouter(include_in_schema=False, tags=["administration"])

_NAMES: Mapping[str, str] = {
    "refer_wav_path": "ref_audio_path",
    "prompt_language": "prompt_lang",
    "text_language": "text_lang",
    "speed": "speed_factor",
    "inp_refs": "aux_ref_audio_paths",
    "if_sr": "super_sampling",
}
_OWN_NAMES = re.compile(rf"\b({'|'.join(_NAMES.values())})\b")
_CUT_MARKS = frozenset(",.;?!、，。？！；：…")
_SUCCESS = {"code": 0, "message": "Success"}


@router.get("/")
async def speak_by_query(request: Request) -> Response:
    """Say a text; without one, a browser gets the page to try it on."""
    if wants_front_page(request):
        return front_page(request)
    client = await context_of(request).access.authorize(request, "synth")
    await drop_body(request)
    return await _say(request, query_fields(request, "inp_refs"), client)


@router.post("/")
async def speak_by_json(request: Request) -> Response:
    """Say a text."""
    client = await context_of(request).access.authorize(request, "synth")
    return await _say(request, await read_fields(request), client)


@admin_router.api_route("/change_refer", methods=["GET", "POST"])
async def change_refer(request: Request) -> Response:
    """Set the reference of requests that name none, with its transcript; what is left out stays as it was."""
    context = context_of(request)
    service = context.service
    await context.access.authorize_admin(request)
    raw = await _fields(request)
    given = {name: raw[name] for name in ("refer_wav_path", "prompt_text", "prompt_language") if raw.get(name)}
    if not given:
        raise InvalidRequestError("refer_wav_path, prompt_text or prompt_language is required")
    if not all(isinstance(value, str) for value in given.values()):
        raise InvalidRequestError("refer_wav_path, prompt_text and prompt_language must be text")
    require_ready(service)
    before = service.voices.default_details
    path = given.get("refer_wav_path") or service.voices.default_reference
    if path is None:
        raise InvalidRequestError("refer_wav_path is required: there is no default reference yet")
    details = UploadDetails(
        prompt_text=given.get("prompt_text", before.prompt_text),
        prompt_lang=given.get("prompt_language", before.prompt_lang),
    )
    await service.switches.default_reference(path, details)
    return JSONResponse(_SUCCESS)


@admin_router.api_route("/set_model", methods=["GET", "POST"])
async def set_model(request: Request) -> Response:
    """Takes another pair of weights for later requests."""
    context = context_of(request)
    await context.access.authorize_admin(request)
    raw = await _fields(request)
    gpt, sovits = raw.get("gpt_model_path"), raw.get("sovits_model_path")
    if not (isinstance(gpt, str) and gpt and isinstance(sovits, str) and sovits):
        raise InvalidRequestError("gpt_model_path and sovits_model_path are required")
    require_ready(context.service)
    await context.service.switches.weights(gpt=gpt)
    await context.service.switches.weights(sovits=sovits)
    return JSONResponse(_SUCCESS)


async def _fields(request: Request) -> dict[str, Any]:
    if request.method == "POST":
        return await read_fields(request)
    await drop_body(request)
    return dict(request.query_params)


async def _say(request: Request, raw: Mapping[str, Any], client: str) -> Response:
    try:
        fields = _translate(raw)
        context = context_of(request)
        if context.settings.dialects.sillytavern:
            fields = await with_its_voice(context.service, fields)
        return await say(request, _with_default(request, fields), client)
    except InvalidRequestError as error:
        raise type(error)(_in_its_words(str(error), raw)) from None


def _translate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by the names of `/tts`."""
    fields = {_NAMES.get(name, name): value for name, value in raw.items() if name in _NAMES and value is not None}
    fields |= {name: value for name, value in raw.items() if name not in _NAMES and value is not None}
    paths = fields.get("aux_ref_audio_paths")
    if isinstance(paths, list):  # the original's own example puts each into quotation marks
        fields["aux_ref_audio_paths"] = [path.strip('"') if isinstance(path, str) else path for path in paths]
    elif isinstance(paths, str) and not paths.startswith("["):
        fields["aux_ref_audio_paths"] = paths.strip('"')
    marks, text = fields.pop("cut_punc", None), fields.get("text")
    if isinstance(marks, str) and isinstance(text, str):
        fields["text"] = _cut(text, marks)
        fields.setdefault("text_split_method", "cut0")
    return fields


def _cut(text: str, marks: str) -> str:
    """A line for each piece that ends in one of the marks: lines are fragments."""
    known = "".join(mark for mark in marks if mark in _CUT_MARKS)
    return re.sub(f"([{re.escape(known)}])", "\\1\n", text) if known else text


def _with_default(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    """The default voice with its transcript, where the request names none; a transcript alone is of no clip."""
    context = context_of(request)
    if fields.get("ref_audio_path") or fields.get("voice_id"):
        return fields
    if context.service.voices.default_reference is not None:
        details = context.service.voices.default_details
        prompt = {"prompt_text": details.prompt_text, "prompt_lang": details.prompt_lang}
        return {**fields, **prompt}
    if context.settings.default_voice:
        fields = {name: value for name, value in fields.items() if name not in ("prompt_text", "prompt_lang")}
        return {**fields, "voice_id": context.settings.default_voice}
    raise InvalidRequestError(
        "refer_wav_path is required: there is no default reference (default_voice in configs/service.yaml, or "
        "/change_refer)"
    )


def _in_its_words(message: str, raw: Mapping[str, Any]) -> str:
    """The message with the names that the client used, or would have used."""
    theirs = {own: name for name, own in _NAMES.items() if own not in raw}
    return _OWN_NAMES.sub(lambda match: theirs.get(match[1], match[1]), message)
