"""Resolve the voice names of other services' clients to voice templates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sovits_service.errors import InvalidRequestError, UnknownVoiceError
from sovits_service.types import Voice

if TYPE_CHECKING:
    from sovits_service.api.deps import ApiContext

# What programs send that were written for another service: OpenAI's voices, and ids as ElevenLabs makes them.
_OTHERS = re.compile(
    "alloy|ash|ballad|cedar|coral|echo|fable|marin|nova|onyx|sage|shimmer|verse|[A-Za-z0-9]{20}", re.IGNORECASE
)


async def find_voice(context: ApiContext, name: str) -> tuple[Voice, tuple[str, ...]]:
    """The voice that a name stands for, with what to tell the client about it.

    That is the template of this id, else the one that `voice_aliases` says. A voice of another service that is neither
    is spoken by `default_voice`, or the first voice, with a warning; `strict_voices` refuses it.

    Raises:
        UnknownVoiceError: there is no such voice.
        InvalidRequestError: the name is empty.
    """
    if not name:
        raise InvalidRequestError("voice is required: the id of a voice template")
    try:
        return await context.service.voices.get(name), ()
    except UnknownVoiceError:
        alias = {known.casefold(): voice_id for known, voice_id in context.settings.voice_aliases.items()}
        if name.casefold() in alias:
            return await context.service.voices.get(alias[name.casefold()]), ()
        if context.settings.strict_voices or not _OTHERS.fullmatch(name):
            raise
    return await default_voice(context), (
        "the voice is another service's and has no entry in voice_aliases; the default voice speaks",
    )


async def default_voice(context: ApiContext) -> Voice:
    """The voice of clients that name none: `default_voice`, else the first by its id.

    Raises:
        UnknownVoiceError: there is none.
    """
    if context.settings.default_voice:
        return await context.service.voices.get(context.settings.default_voice)
    voices = await context.service.voices.all()
    if not voices:
        raise UnknownVoiceError("there are no voices yet; write one with PUT /voices/{voice_id}")
    return voices[0]
