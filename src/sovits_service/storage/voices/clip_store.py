"""Uploaded clips of this replica, as the service asks for them from the event loop."""

from __future__ import annotations

import asyncio

from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import ClipFolder, StoredClip
from sovits_service.storage.voices.upload_details import UploadDetails


class ClipStore:
    """A `ClipFolder` whose files are read and written in threads. `SharedClips` shares them with other replicas."""

    def __init__(self, folder: ClipFolder) -> None:
        self._folder = folder

    async def add(self, data: bytes, *, owner: str = "", details: UploadDetails | None = None) -> StoredClip:
        """Keep a wav clip; see `ClipFolder.add`. Raises StorageError."""
        return await asyncio.to_thread(lambda: self._folder.add(data, ".wav", owner=owner, details=details))

    async def read(self, name: str, owner: str | None = None) -> Clip:
        """The clip that a name means; raises as `ClipFolder.read`."""
        return await asyncio.to_thread(self._folder.read, name, owner)

    async def details(self, name: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload; empty where nothing was said."""
        return await asyncio.to_thread(self._folder.details, name, owner)

    async def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the living uploads of an owner take; see `ClipFolder.usage_bytes`."""
        return await asyncio.to_thread(lambda: self._folder.usage_bytes(owner, without=without))

    async def sweep(self) -> int:
        """Delete expired uploads; returns how many went."""
        return await asyncio.to_thread(self._folder.sweep)
