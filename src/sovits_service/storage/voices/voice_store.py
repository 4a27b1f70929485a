"""Voice templates of this replica, as the service asks for them from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.types import Voice


class VoiceStore:
    """A `VoiceFolder` whose files are read and written in threads. `SharedVoices` shares them with other replicas."""

    def __init__(self, folder: VoiceFolder) -> None:
        self._folder = folder

    async def all(self) -> list[Voice]:
        """All usable voices, by id."""
        return await asyncio.to_thread(self._folder.list)

    async def get(self, voice_id: str) -> Voice:
        """The voice as its file says now. Raises UnknownVoiceError."""
        return await asyncio.to_thread(self._folder.get, voice_id)

    async def read_clips(self, voice: Voice, names: Collection[str]) -> dict[str, Clip]:
        """The content of some of a voice's clips; see `VoiceFolder.read_clips`."""
        return await asyncio.to_thread(self._folder.read_clips, voice, names)

    async def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the voices of an owner take; see `VoiceFolder.usage_bytes`."""
        return await asyncio.to_thread(lambda: self._folder.usage_bytes(owner, without=without))

    async def put(self, voice: Voice, clips: Mapping[str, Clip], editor: str | None = None) -> Voice:
        """Write a voice and its clips; see `VoiceFolder.put`."""
        return await asyncio.to_thread(self._folder.put, voice, clips, editor)

    async def delete(self, voice_id: str, editor: str | None = None) -> None:
        """Delete a voice and the clips kept for it; see `VoiceFolder.delete`."""
        await asyncio.to_thread(self._folder.delete, voice_id, editor)

    async def follow(self) -> int:
        """Take over what other replicas did; returns how many files changed: none, since there are no others."""
        return 0
