"""Voices and uploads as the service uses them: names in, checked clips out, of this replica or of all."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from sovits_service.audio.encode import encode_whole
from sovits_service.audio.load import (
    MAX_REFERENCE_S,
    AudioLimits,
    decode_reference,
    trim_reference,
    validate_reference,
)
from sovits_service.errors import InvalidRequestError, ReferenceAudioError, UnknownVoiceError
from sovits_service.storage.references import ReferenceStore, UploadDetails
from sovits_service.storage.shared import SharedReferences, SharedVoices
from sovits_service.storage.voices import VoiceStore
from sovits_service.types import ReferenceAudio, SynthesisRequest, Voice

_REMEMBERED_CLIPS = 64


@dataclass(frozen=True, slots=True)
class StoredReference:
    """An upload: `path` and `reference_id` both name it in later requests."""

    reference_id: str
    path: str
    size_bytes: int
    duration_s: float
    warnings: tuple[str, ...]


class VoiceLibrary:
    """Voice templates and uploaded clips. Files are read and decoded off the event loop.

    Args:
        limits: what a clip may ask of the decoder.
        shared_references, shared_voices: where replicas share theirs through an object store; None keeps them here.
    """

    def __init__(
        self,
        voices: VoiceStore,
        references: ReferenceStore,
        limits: AudioLimits,
        shared_references: SharedReferences | None = None,
        shared_voices: SharedVoices | None = None,
    ) -> None:
        self.voices = voices
        self.references = references
        self._limits = limits
        self._shared_references = shared_references
        self._shared_voices = shared_voices
        self._default_reference: str | None = None
        self._lock = threading.Lock()
        self._decoded: OrderedDict[str, tuple[ReferenceAudio, tuple[str, ...]]] = OrderedDict()

    @property
    def has_default_reference(self) -> bool:
        return self._default_reference is not None

    async def set_default_reference(self, name: str) -> None:
        """Set the clip of requests that name none. Raises InvalidRequestError, ReferenceAudioError."""
        await self._fetch(name)
        await asyncio.to_thread(lambda: self._load(self.references.resolve(name)))
        self._default_reference = name

    async def clips(
        self, request: SynthesisRequest, voice: Voice | None
    ) -> tuple[list[ReferenceAudio], tuple[str, ...]]:
        """The decoded reference of a request, then the auxiliary ones, with what is to be said about the first.

        Raises:
            InvalidRequestError, ReferenceAudioError: a clip is missing or cannot serve.
        """
        await self._fetch(request.ref_audio, *request.aux_ref_audio)
        return await asyncio.to_thread(self._clips, request, voice)

    async def content_hashes(self, request: SynthesisRequest, voice: Voice | None) -> tuple[str, ...]:
        """SHA-256 of the content of the clips that `clips` would decode."""
        await self._fetch(request.ref_audio, *request.aux_ref_audio)
        return await asyncio.to_thread(
            lambda: tuple(hashlib.sha256(_read(path)).hexdigest() for path in self._paths(request, voice))
        )

    async def add_reference(
        self, data: bytes, details: UploadDetails, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep a clip as mono wav, whatever format it came in.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            QuotaExceededError: the owner has too many uploads.
        """
        wav, duration_s, warnings = await asyncio.to_thread(self._prepare, data, trim)
        if self._shared_references is not None:
            stored = await self._shared_references.add(wav, owner=owner, details=details)
        else:
            stored = await asyncio.to_thread(self.references.add, wav, ".wav", owner=owner, details=details)
        return StoredReference(stored.reference_id, stored.path, stored.size_bytes, duration_s, warnings)

    async def put_voice(self, voice: Voice) -> Voice:
        """Write a voice template; its clips are copied beside it.

        Raises:
            InvalidRequestError, ReferenceAudioError: a field or a clip cannot be used.
        """
        await self._fetch(voice.ref_audio, *voice.aux_ref_audio)
        clips = await asyncio.to_thread(self._checked_clips, voice)
        if self._shared_voices is not None:
            return await self._shared_voices.put(voice, clips)
        return await asyncio.to_thread(self.voices.put, voice, clips)

    async def delete_voice(self, voice_id: str) -> None:
        """Delete a voice template and the clips kept for it. Raises UnknownVoiceError, ForbiddenError."""
        if self._shared_voices is not None:
            await self._shared_voices.delete(voice_id)
        else:
            await asyncio.to_thread(self.voices.delete, voice_id)

    async def follow(self) -> None:
        """Take over what other replicas did to the shared voices."""
        if self._shared_voices is not None:
            await self._shared_voices.pull()

    async def sweep(self) -> None:
        """Delete uploads whose life is over."""
        if self._shared_references is not None:
            await self._shared_references.sweep()
        else:
            await asyncio.to_thread(self.references.sweep)

    async def _fetch(self, *names: str) -> None:
        """Bring uploads that another replica took in here. A name that means none is told by whoever resolves it."""
        if self._shared_references is None:
            return
        for name in names:
            if name:
                await self._shared_references.resolve(name)

    def _clips(self, request: SynthesisRequest, voice: Voice | None) -> tuple[list[ReferenceAudio], tuple[str, ...]]:
        paths = self._paths(request, voice)
        first, warnings = self._load(paths[0])
        return [first, *(self._load_auxiliary(number, path) for number, path in enumerate(paths[1:], 1))], warnings

    def _load_auxiliary(self, number: int, path: Path) -> ReferenceAudio:
        """An auxiliary clip, held to the same rules as the first; its problem says which one it is."""
        try:
            return self._load(path)[0]
        except ReferenceAudioError as error:
            raise ReferenceAudioError(f"auxiliary reference {number}: {error}") from None

    def _prepare(self, data: bytes, trim: bool) -> tuple[bytes, float, tuple[str, ...]]:
        """Any format to mono wav, its duration in seconds, and warnings."""
        reference = decode_reference(data, limits=self._limits)
        if trim:
            reference = trim_reference(reference)
        elif reference.duration_s > MAX_REFERENCE_S:
            raise ReferenceAudioError(
                f"the reference is {reference.duration_s:.1f} s; it must be 3 to 10 s: cut it, or send trim=true"
            )
        warnings = validate_reference(reference)
        wav = encode_whole(reference.samples, reference.sample_rate_hz, "wav")
        return wav, round(reference.duration_s, 3), warnings

    def _checked_clips(self, voice: Voice) -> dict[str, Path]:
        """The file of each clip that a new template names: one that the voice has already, else what a request means.

        What GET answers names the voice's own clips, which other roots may have under the same names.
        """
        clips = self._own_clips(voice.voice_id)
        clips = {
            name: clips.get(name) or self.references.resolve(name) for name in (voice.ref_audio, *voice.aux_ref_audio)
        }
        self._load(clips[voice.ref_audio])
        for number, name in enumerate(voice.aux_ref_audio, 1):
            self._load_auxiliary(number, clips[name])
        return clips

    def _own_clips(self, voice_id: str) -> dict[str, Path]:
        try:
            known = self.voices.get(voice_id)
            paths = (self.voices.reference_path(known), *self.voices.aux_reference_paths(known))
        except UnknownVoiceError:
            return {}
        return dict(zip((known.ref_audio, *known.aux_ref_audio), paths, strict=True))

    def _paths(self, request: SynthesisRequest, voice: Voice | None) -> list[Path]:
        """The clip that the request names, else the voice's, else the default one; then the auxiliary clips."""
        auxiliary = [self.references.resolve(name) for name in request.aux_ref_audio]
        if voice is not None and not request.ref_audio:
            return [self.voices.reference_path(voice), *(auxiliary or self.voices.aux_reference_paths(voice))]
        name = request.ref_audio or self._default_reference
        if not name:
            raise InvalidRequestError("ref_audio_path is required")
        return [self.references.resolve(name), *auxiliary]

    def _load(self, path: Path) -> tuple[ReferenceAudio, tuple[str, ...]]:
        """Decode and check a clip, or remember it: by its content, never by its name."""
        data = _read(path)
        key = hashlib.sha256(data).hexdigest()
        with self._lock:
            known = self._decoded.get(key)
            if known is not None:
                self._decoded.move_to_end(key)
                return known
        reference = decode_reference(data, limits=self._limits)
        loaded = (reference, validate_reference(reference))
        with self._lock:
            self._decoded[key] = loaded
            if len(self._decoded) > _REMEMBERED_CLIPS:
                self._decoded.popitem(last=False)
        return loaded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReferenceAudioError("the reference cannot be read any more; upload it again") from error
