"""SillyTavern's two GPT-SoVITS providers: `/speakers`, and their fields of a request to `/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request

from sovits_service.api.deps import context_of
from sovits_service.errors import UnknownVoiceError

if TYPE_CHECKING:
    from sovits_service.service.protocol import Service

router = APIRouter(include_in_schema=False, tags=["voices"])

_CLIPS_FOLDER = "参考音频"  # where the provider supposes a clip for each speaker
_NOT_ITS_OWN = ("ref_audio_path", "prompt_text", "prompt_lang")  # made up of the speaker's name


@router.get("/speakers")
async def list_speakers(request: Request) -> list[dict[str, str]]:
    """Every voice template, as both providers read it."""
    context = context_of(request)
    await context.access.authorize(request, "synth")
    voices = await context.service.voices.all()
    return [{"name": voice.voice_id, "voice_id": voice.voice_id, "lang": voice.prompt_lang} for voice in voices]


async def with_its_voice(service: Service, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the voice template that a provider means, where it is one of them that asks.

    One names a clip after the speaker, with the speaker's name for a transcript; the other says `target_voice`.
    """
    fields = dict(raw)
    if fields.get("use_st_adapter") and fields.get("media_type") == "auto":
        del fields["media_type"]
    voice_id = fields.get("target_voice") if fields.get("use_st_adapter") else _named_by_clip(fields)
    if not isinstance(voice_id, str) or fields.get("voice_id"):
        return fields
    if not fields.get("use_st_adapter"):
        try:
            await service.voices.get(voice_id)
        except UnknownVoiceError:
            return fields  # then it is the path of a clip
    return {**{name: value for name, value in fields.items() if name not in _NOT_ITS_OWN}, "voice_id": voice_id}


def _named_by_clip(fields: Mapping[str, Any]) -> str | None:
    path = fields.get("ref_audio_path")
    if not isinstance(path, str):
        return None
    clip = PurePosixPath(path)
    return clip.stem if clip.parent.name == _CLIPS_FOLDER else None
