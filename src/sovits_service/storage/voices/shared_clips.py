"""Uploads that replicas share: an object store holds them, a local folder has copies of some."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable

from sovits_service.errors import ForbiddenError, InvalidRequestError
from sovits_service.storage.objects.objects import ObjectInfo, ObjectStore
from sovits_service.storage.results.single_flight import SingleFlight
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import (
    UPLOADS_PREFIX,
    ClipFolder,
    StoredClip,
    details_name,
    details_names,
    upload_id,
)
from sovits_service.storage.voices.clip_store import ClipStore
from sovits_service.storage.voices.upload_details import UploadDetails


class SharedClips(ClipStore):
    """Uploads that every replica knows by the same id.

    Args:
        folder: this replica's copies.
        objects: what the replicas share.
        ttl_s: life of an upload, as `folder` has it; None keeps it.
        max_local_bytes: what the copies here may take together; the oldest go first.
    """

    def __init__(
        self,
        folder: ClipFolder,
        objects: ObjectStore,
        *,
        ttl_s: float | None = 24 * 3600.0,
        max_local_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(folder)
        self._objects = objects
        self._ttl_s = ttl_s
        self._max_local_bytes = max_local_bytes
        self._clock = clock
        self._fetches = SingleFlight[Clip | None]()

    async def add(self, data: bytes, *, owner: str = "", details: UploadDetails | None = None) -> StoredClip:
        """Keep a wav clip here and for all replicas.

        Raises:
            StorageError: it is kept here alone; the client should try again.
        """
        reference_id = hashlib.sha256(data).hexdigest()
        said_key = UPLOADS_PREFIX + details_name(reference_id, owner)
        earlier = await self._objects.get(said_key)
        merged = (details or UploadDetails()).over(UploadDetails.load(earlier.data if earlier is not None else b""))
        stored = await super().add(data, owner=owner, details=merged)
        # Each owner's file of its own: replicas that take in the same clip at once write no common one.
        await self._objects.put(said_key, merged.dump(), "application/json")
        await self._objects.put(stored.path, data, "audio/wav")
        await asyncio.to_thread(self._folder.shrink, self._max_local_bytes)
        return stored

    async def read(self, name: str, owner: str | None = None) -> Clip:
        """As `ClipStore.read`, and fetches what another replica took in.

        Raises:
            InvalidRequestError: no replica has it, or the name means something else.
            ForbiddenError: another owner's upload.
            StorageError: it is not here, and the store does not answer.
        """
        try:
            return await super().read(name, owner)
        except (InvalidRequestError, ForbiddenError) as error:
            reference_id = upload_id(name)
            if reference_id is None:
                raise
            refusal = error
        clip, _ = await self._fetches.run(f"{reference_id}.{owner}", lambda: self._fetch(reference_id, owner))
        if clip is None:
            raise refusal
        return clip

    async def details(self, name: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload, to whichever replica; empty where nothing was said."""
        reference_id = upload_id(name)
        if reference_id is None:
            return UploadDetails()
        if await asyncio.to_thread(self._folder.is_owner, reference_id, owner):
            return await super().details(name, owner)
        said = await self._objects.get(UPLOADS_PREFIX + details_name(reference_id, owner))
        return UploadDetails.load(said.data) if said is not None else UploadDetails()

    async def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the living uploads of an owner take in the store, with what is said of them; as `ClipFolder`."""
        clips, owned = await self._listing()
        return sum(
            info.size_bytes + clips[reference_id].size_bytes
            for (reference_id, name), info in owned.items()
            if name == owner and reference_id in clips and reference_id != without
        )

    async def sweep(self) -> int:
        """Delete expired uploads here and in the store; returns how many went from the store."""
        await super().sweep()
        await asyncio.to_thread(self._folder.shrink, self._max_local_bytes)
        alive, _ = await self._listing()
        removed = 0
        for info in await self._objects.entries(UPLOADS_PREFIX):
            name = info.key.removeprefix(UPLOADS_PREFIX)
            names = details_names(name)
            # What is said of a clip lives as long as the clip.
            if self._is_expired(info) and (names is None or names[0] not in alive):
                await self._objects.delete(info.key)
                removed += name.endswith(".wav")
        return removed

    async def _listing(self) -> tuple[dict[str, ObjectInfo], dict[tuple[str, str], ObjectInfo]]:
        """The living clips by id, and the files of details by id and owner."""
        clips, owned = {}, {}
        for info in await self._objects.entries(UPLOADS_PREFIX):
            name = info.key.removeprefix(UPLOADS_PREFIX)
            names, reference_id = details_names(name), upload_id(name)
            if names is not None:
                owned[names] = info
            elif reference_id is not None and not self._is_expired(info):
                clips[reference_id] = info
        return clips, owned

    async def _fetch(self, reference_id: str, owner: str | None) -> Clip | None:
        """An upload as the store has it, of which a copy stays here where there is room."""
        said = await self._objects.get(UPLOADS_PREFIX + details_name(reference_id, owner or ""))
        found = await self._objects.get(f"{UPLOADS_PREFIX}{reference_id}.wav")
        clip = Clip(found.data, ".wav") if found is not None else None
        if found is None or clip is None or clip.content_hash != reference_id or self._is_expired(found.info):
            return None
        if self._folder.is_private and owner is not None:
            self._folder.require_owner(said is not None)
        details = said.data if said is not None else None
        room = self._max_local_bytes - len(found.data) - len(details or b"")
        if room >= 0:
            await asyncio.to_thread(self._folder.shrink, room)
            await asyncio.to_thread(self._folder.adopt, found.data, owner or "", details, found.info.modified_s)
        return clip

    def _is_expired(self, info: ObjectInfo) -> bool:
        return self._ttl_s is not None and info.modified_s + self._ttl_s <= self._clock()
