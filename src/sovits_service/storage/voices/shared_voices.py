"""Voices that replicas share: an object store holds them, the first root of each replica mirrors it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping

from sovits_service.storage.files import write_atomic
from sovits_service.storage.objects.objects import ObjectInfo, ObjectStore
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.voice_folder import VoiceFolder, normal_id
from sovits_service.storage.voices.voice_store import VoiceStore
from sovits_service.types import Voice

_VOICES_PREFIX = "voices/"
_MANIFEST = ".shared.json"


class SharedVoices(VoiceStore):
    """Voices that are written on one replica and spoken on all.

    Args:
        folder: whose first root follows the object store. Files that were put there by hand stay, and stay here.
        objects: what the replicas share.
    """

    def __init__(self, folder: VoiceFolder, objects: ObjectStore) -> None:
        super().__init__(folder)
        self._root = folder.roots[0]
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
            stored = await super().put(voice, clips, editor)
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
            mark = await asyncio.to_thread(self._folder.hiding_template, voice_id, editor)
            template = f"{voice_id}.yaml"
            if mark is not None:
                await asyncio.to_thread(self._note, [template])
                await self._objects.put(_VOICES_PREFIX + template, mark)
            await self._drop_remote(voice_id, keep=set() if mark is None else {template})
            await super().delete(voice_id, editor)

    async def follow(self) -> int:
        """Make the folder follow the object store; returns how many files changed. To be called every few seconds."""
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
