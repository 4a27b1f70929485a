"""Uploads and voices that replicas share: an object store holds them, local folders mirror it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sovits_service.errors import ForbiddenError, InvalidRequestError
from sovits_service.storage.files import write_atomic
from sovits_service.storage.objects.objects import ObjectInfo, ObjectStore
from sovits_service.storage.results.single_flight import SingleFlight
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import (
    UPLOADS_PREFIX,
    ReferenceStore,
    StoredUpload,
    UploadDetails,
    details_name,
    details_names,
    upload_id,
)
from sovits_service.storage.voices.voice_folder import VoiceStore, normal_id
from sovits_service.types import Voice

_VOICES_PREFIX = "voices/"
_MANIFEST = ".shared.json"


class SharedReferences:
    """Uploads that every replica knows by the same id.

    Args:
        local: this replica's copies.
        objects: what the replicas share.
        ttl_s: life of an upload, as `local` has it; None keeps it.
        max_local_bytes: what the copies here may take together; the oldest go first.
    """

    def __init__(
        self,
        local: ReferenceStore,
        objects: ObjectStore,
        *,
        ttl_s: float | None = 24 * 3600.0,
        max_local_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._local = local
        self._objects = objects
        self._ttl_s = ttl_s
        self._max_local_bytes = max_local_bytes
        self._clock = clock
        self._fetches = SingleFlight[Clip | None]()

    async def add(self, data: bytes, *, owner: str = "", details: UploadDetails | None = None) -> StoredUpload:
        """Keeps a wav clip here and for all replicas.

        Raises:
            StorageError: it is kept here alone; the client should try again.
        """
        reference_id = hashlib.sha256(data).hexdigest()
        said_key = UPLOADS_PREFIX + details_name(reference_id, owner)
        earlier = await self._objects.get(said_key)
        merged = (details or UploadDetails()).over(UploadDetails.load(earlier.data if earlier is not None else b""))
        stored = await asyncio.to_thread(lambda: self._local.add(data, ".wav", owner=owner, details=merged))
        # Each owner's file of its own: replicas that take in the same clip at once write no common one.
        await self._objects.put(said_key, merged.dump(), "application/json")
        await self._objects.put(stored.path, data, "audio/wav")
        await asyncio.to_thread(self._local.shrink, self._max_local_bytes)
        return stored

    async def read(self, name: str, owner: str | None = None) -> Clip:
        """As `ReferenceStore.read`, and fetches what another replica took in.

        Raises:
            InvalidRequestError: no replica has it, or the name means something else.
            ForbiddenError: another owner's upload.
            StorageError: it is not here, and the store does not answer.
        """
        try:
            return await asyncio.to_thread(self._local.read, name, owner)
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
        if await asyncio.to_thread(self._local.is_owner, reference_id, owner):
            return await asyncio.to_thread(self._local.details, reference_id, owner)
        said = await self._objects.get(UPLOADS_PREFIX + details_name(reference_id, owner))
        return UploadDetails.load(said.data) if said is not None else UploadDetails()

    async def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the living uploads of an owner take in the store, with what is said of them; as `ReferenceStore`."""
        clips, owned = await self._listing()
        return sum(
            info.size_bytes + clips[reference_id].size_bytes
            for (reference_id, name), info in owned.items()
            if name == owner and reference_id in clips and reference_id != without
        )

    async def sweep(self) -> int:
        """Deletes expired uploads here and in the store; returns how many went from the store."""
        await asyncio.to_thread(self._local.sweep)
        await asyncio.to_thread(self._local.shrink, self._max_local_bytes)
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
        if self._local.is_private and owner is not None:
            self._local.require_owner(said is not None)
        details = said.data if said is not None else None
        room = self._max_local_bytes - len(found.data) - len(details or b"")
        if room >= 0:
            await asyncio.to_thread(self._local.shrink, room)
            await asyncio.to_thread(self._local.adopt, found.data, owner or "", details, found.info.modified_s)
        return clip

    def _is_expired(self, info: ObjectInfo) -> bool:
        return self._ttl_s is not None and info.modified_s + self._ttl_s <= self._clock()


class SharedVoices:
    """Voices that are written on one replica and spoken on all.

    Args:
        voices: the store whose first root is `root`.
        root: the folder that follows the object store. Files that were put there by hand stay, and stay here.
        objects: what the replicas share.
    """

    def __init__(self, voices: VoiceStore, root: Path, objects: ObjectStore) -> None:
        self._voices = voices
        self._root = root
        self._objects = objects
        # A pull between a local write and its upload would take the new voice for a deleted one.
        self._lock = asyncio.Lock()

    async def put(self, voice: Voice, clips: Mapping[str, Clip], editor: str | None = None) -> Voice:
        """As `VoiceStore.put`, for all replicas.

        Raises:
            InvalidRequestError: an id or a field that cannot be used.
            ForbiddenError: another owner's voice.
            StorageError: other replicas do not have it; the client should try again.
        """
        async with self._lock:
            await self._pull()  # whose voice it is may have been settled on another replica just now
            stored = await asyncio.to_thread(self._voices.put, voice, clips, editor)
            names = (*stored.clip_names, f"{stored.voice_id}.yaml")
            # In the manifest before they are in the store: what is in the one and not in the other goes.
            await asyncio.to_thread(self._note, names)
            for name in names:  # the template last, since it names the others
                data = await asyncio.to_thread((self._root / name).read_bytes)
                await self._objects.put(_VOICES_PREFIX + name, data)
            await self._drop_remote(stored.voice_id, keep=set(names))
            return stored

    async def delete(self, voice_id: str, editor: str | None = None) -> None:
        """As `VoiceStore.delete`, for all replicas.

        Raises:
            UnknownVoiceError: there is no such voice.
            ForbiddenError: another owner's voice.
            StorageError: other replicas still have it; the client should try again.
        """
        voice_id = normal_id(voice_id)
        async with self._lock:
            await self._pull()
            mark = await asyncio.to_thread(self._voices.hiding_template, voice_id, editor)
            template = f"{voice_id}.yaml"
            if mark is not None:
                await asyncio.to_thread(self._note, [template])
                await self._objects.put(_VOICES_PREFIX + template, mark)
            await self._drop_remote(voice_id, keep=set() if mark is None else {template})
            await asyncio.to_thread(self._voices.delete, voice_id, editor)

    async def pull(self) -> int:
        """Makes the folder follow the store; returns how many files changed. To be called every few seconds."""
        async with self._lock:
            return await self._pull()

    async def _pull(self) -> int:
        entries = {
            name: info
            for info in await self._objects.entries(_VOICES_PREFIX)
            if "/" not in (name := info.key.removeprefix(_VOICES_PREFIX))  # a folder in there is not ours
        }
        known = await asyncio.to_thread(self._read_manifest)
        stale = [name for name, info in entries.items() if known.get(name) != info.tag]
        stale += [name for name in entries if name not in stale and not (self._root / name).is_file()]
        for name in sorted(stale, key=_is_template):
            found = await self._objects.get(_VOICES_PREFIX + name)
            if found is not None:
                await asyncio.to_thread(write_atomic, self._root / name, found.data)
        gone = [name for name in known if name not in entries]
        for name in sorted(gone, key=_is_template, reverse=True):
            (self._root / name).unlink(missing_ok=True)
        if stale or gone:
            await asyncio.to_thread(self._write_manifest, entries)
        return len(stale) + len(gone)

    async def _drop_remote(self, voice_id: str, keep: set[str]) -> None:
        infos = await self._objects.entries(f"{_VOICES_PREFIX}{voice_id}.")
        names = [info.key.removeprefix(_VOICES_PREFIX) for info in infos]
        for name in sorted(names, key=_is_template, reverse=True):
            if name not in keep:
                await self._objects.delete(_VOICES_PREFIX + name)

    def _note(self, names: Iterable[str]) -> None:
        known = self._read_manifest()
        write_atomic(self._root / _MANIFEST, json.dumps({**known, **dict.fromkeys(names, "")}).encode())

    def _read_manifest(self) -> dict[str, str]:
        try:
            manifest = json.loads((self._root / _MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def _write_manifest(self, entries: Mapping[str, ObjectInfo]) -> None:
        tags = {name: info.tag for name, info in entries.items() if os.path.lexists(self._root / name)}
        write_atomic(self._root / _MANIFEST, json.dumps(tags).encode())


def _is_template(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))
