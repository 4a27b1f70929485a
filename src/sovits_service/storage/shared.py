"""Uploads and voices of one replica in, the same on all of them out: an object store holds them, folders copy them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sovits_service.errors import InvalidRequestError
from sovits_service.storage.files import write_atomic
from sovits_service.storage.objects import ObjectInfo, ObjectStore
from sovits_service.storage.references import UPLOADS_PREFIX, ReferenceStore, StoredUpload, UploadDetails, upload_id
from sovits_service.storage.single_flight import SingleFlight
from sovits_service.storage.voices import VoiceStore
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
        self._fetches = SingleFlight[None]()

    async def add(self, data: bytes, *, owner: str = "", details: UploadDetails | None = None) -> StoredUpload:
        """Keeps a wav clip here and for all replicas.

        Raises:
            QuotaExceededError: the owner's uploads would take more than the quota.
            StorageError: it is kept here alone; the client should try again.
        """
        stored = await asyncio.to_thread(lambda: self._local.add(data, ".wav", owner=owner, details=details))
        said = await asyncio.to_thread(self._local.details_file, stored.reference_id)
        if said is not None:
            await self._objects.put(f"{UPLOADS_PREFIX}{stored.reference_id}.json", said, "application/json")
        await self._objects.put(stored.path, data, "audio/wav")
        return stored

    async def resolve(self, name: str) -> Path:
        """As `ReferenceStore.resolve`, and fetches what another replica took in.

        Raises:
            InvalidRequestError: no replica has it, or the name means something else.
            StorageError: it is not here, and the store does not answer.
        """
        try:
            return await asyncio.to_thread(self._local.resolve, name)
        except InvalidRequestError:
            reference_id = upload_id(name)
            if reference_id is None:
                raise
        await self._fetches.run(reference_id, lambda: self._fetch(reference_id))
        return await asyncio.to_thread(self._local.resolve, name)

    async def sweep(self) -> int:
        """Deletes expired uploads here and in the store; returns how many went from the store."""
        await asyncio.to_thread(self._local.sweep)
        expired = [info for info in await self._objects.entries(UPLOADS_PREFIX) if self._is_expired(info)]
        for info in expired:
            await self._objects.delete(info.key)
        return sum(info.key.endswith(".wav") for info in expired)

    async def _fetch(self, reference_id: str) -> None:
        clip = await self._objects.get(f"{UPLOADS_PREFIX}{reference_id}.wav")
        if clip is None or self._is_expired(clip.info):
            return
        said = await self._objects.get(f"{UPLOADS_PREFIX}{reference_id}.json")
        details = said.data if said is not None else None
        room = max(0, self._max_local_bytes - len(clip.data))
        await asyncio.to_thread(self._local.shrink, room)
        await asyncio.to_thread(self._local.adopt, clip.data, details, clip.info.modified_s)

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

    async def put(self, voice: Voice, clips: Mapping[str, Path]) -> Voice:
        """As `VoiceStore.put`, for all replicas.

        Raises:
            InvalidRequestError: an id or a field that cannot be used.
            StorageError: other replicas do not have it; the client should try again.
        """
        async with self._lock:
            stored = await asyncio.to_thread(self._voices.put, voice, clips)
            names = (stored.ref_audio, *stored.aux_ref_audio, f"{stored.voice_id}.yaml")
            # In the manifest before they are in the store: what is in the one and not in the other goes.
            await asyncio.to_thread(self._note, names)
            for name in names:  # the template last, since it names the others
                data = await asyncio.to_thread((self._root / name).read_bytes)
                await self._objects.put(_VOICES_PREFIX + name, data)
            await self._drop_remote(stored.voice_id, keep=set(names))
            return stored

    async def delete(self, voice_id: str) -> None:
        """As `VoiceStore.delete`, for all replicas.

        Raises:
            UnknownVoiceError: there is no such voice.
            StorageError: other replicas still have it; the client should try again.
        """
        async with self._lock:
            mark = await asyncio.to_thread(self._voices.hiding_template, voice_id)
            template = f"{voice_id}.yaml"
            if mark is not None:
                await asyncio.to_thread(self._note, [template])
                await self._objects.put(_VOICES_PREFIX + template, mark)
            await self._drop_remote(voice_id, keep=set() if mark is None else {template})
            await asyncio.to_thread(self._voices.delete, voice_id)

    async def pull(self) -> int:
        """Makes the folder follow the store; returns how many files changed. To be called every few seconds."""
        async with self._lock:
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
