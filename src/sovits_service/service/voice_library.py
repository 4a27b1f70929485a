"""Voices and uploads as the service uses them, of this replica or of all."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sovits_service.audio.encode import encode_whole
from sovits_service.audio.isolate import IsolatedDecoder
from sovits_service.audio.load import AudioLimits, decode_reference, decode_source, trim_reference
from sovits_service.audio.quality import MAX_REFERENCE_S, validate_reference
from sovits_service.errors import InvalidRequestError, QuotaExceededError, ReferenceAudioError, UnknownVoiceError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import ObjectStore
from sovits_service.storage.stores import open_voices
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import ReferenceStore, UploadDetails
from sovits_service.storage.voices.shared import SharedReferences, SharedVoices
from sovits_service.storage.voices.voice_folder import VoiceStore
from sovits_service.threads import run_in
from sovits_service.types import ReferenceAudio, SynthesisRequest, Voice

_REMEMBERED_CLIPS = 64
_DECODING_THREADS = 2


@dataclass(frozen=True, slots=True)
class StoredReference:
    """An upload: `path` and `reference_id` both name it in later requests."""

    reference_id: str
    path: str
    size_bytes: int
    duration_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VoiceClips:
    """The clips that a request is spoken with, each content once.

    Attributes:
        references: the reference, then the auxiliary ones, whose timbre is averaged with its own.
        timbre: takes the place of the reference in that mean; None where the reference has its own.
    """

    references: tuple[Clip, ...]
    timbre: Clip | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VoiceAudio:
    """`VoiceClips`, decoded."""

    references: tuple[ReferenceAudio, ...]
    timbre: ReferenceAudio | None = None


class VoiceLibrary:
    """Voice templates and uploaded clips. Files are read and decoded off the event loop.

    Args:
        limits: what a clip may ask of the decoder.
        shared_references, shared_voices: where replicas share theirs through an object store; None keeps them here.
        quota_bytes: what one owner's uploads and voices may take together; None is no limit.
        decoder: decodes in separate processes; None decodes in this one.
    """

    def __init__(
        self,
        voices: VoiceStore,
        references: ReferenceStore,
        limits: AudioLimits,
        shared_references: SharedReferences | None = None,
        shared_voices: SharedVoices | None = None,
        quota_bytes: int | None = None,
        decoder: IsolatedDecoder | None = None,
    ) -> None:
        self.voices = voices
        self._references = references
        self._limits = limits
        self._shared_references = shared_references
        self._shared_voices = shared_voices
        self._quota_bytes = quota_bytes
        self._decoder = decoder
        self._decode_audio = decoder.decode if decoder is not None else decode_reference
        # One write of an owner at a time: the quota is checked and used up in one step.
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.default_reference: str | None = None
        self.default_details = UploadDetails()
        # Apart from asyncio's own pool: clips that take seconds to decode do not stop the short work on files.
        self._decoding = ThreadPoolExecutor(_DECODING_THREADS, "sovits-clips")
        self._lock = threading.Lock()
        self._decoded: OrderedDict[str, tuple[ReferenceAudio, tuple[str, ...]]] = OrderedDict()

    async def close(self) -> None:
        """Decode no more."""
        self._decoding.shutdown(wait=False, cancel_futures=True)
        if self._decoder is not None:
            await asyncio.to_thread(self._decoder.close)

    async def set_default_reference(self, name: str, details: UploadDetails) -> None:
        """Set the clip of requests that name none. Raises InvalidRequestError, ReferenceAudioError."""
        clip = await self._read(name, None)
        await run_in(self._decoding, lambda: self._decode(clip))
        self.default_reference, self.default_details = name, details

    async def read_clips(self, request: SynthesisRequest, voice: Voice | None) -> VoiceClips:
        """The clips of a request, each content once: what is hashed, cached and spoken with is what was read here.

        The first is the one that the request names, else the voice's (of its emotion, where the request has one), else
        the default one; then the auxiliary ones. A voice's own clips for the timbre, auxiliary ones included, count
        where the request names neither a reference nor a timbre.

        Raises:
            InvalidRequestError, ReferenceAudioError: a clip is missing.
            ForbiddenError: another owner's upload.
            UnknownVoiceError: the voice has changed since it was looked up, or has lost a clip or the emotion.
        """
        auxiliary = [await self._read(name, request.owner) for name in request.aux_ref_audio]
        timbre = await self._read(request.timbre_ref_audio, request.owner) if request.timbre_ref_audio else None
        if voice is not None and not request.ref_audio:
            own = await asyncio.to_thread(self.voices.read_clips, voice)
            clips = [own[_reference_name(voice, request.emotion)], *auxiliary]
            if timbre is None:
                clips += [] if auxiliary else [own[name] for name in voice.aux_ref_audio]
                timbre = own[voice.timbre_ref_audio] if voice.timbre_ref_audio else None
        elif request.ref_audio:
            clips = [await self._read(request.ref_audio, request.owner), *auxiliary]
        elif self.default_reference:
            clips = [await self._read(self.default_reference, None), *auxiliary]
        else:
            raise InvalidRequestError("ref_audio_path is required")
        return _each_once(clips, timbre)

    async def decode(self, clips: VoiceClips) -> tuple[VoiceAudio, tuple[str, ...]]:
        """The audio of clips, with what is to be said about the reference.

        Raises:
            ReferenceAudioError, UnsupportedAudioError: one of them cannot serve; which one, where it is not the first.
        """
        return await run_in(self._decoding, lambda: self._decode_all(clips))

    async def decode_source(self, data: bytes | None, name: str, owner: str | None) -> ReferenceAudio:
        """A recording of up to 60 s, as it was sent, or by the name of an upload or a file.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: it cannot be used.
            InvalidRequestError, ForbiddenError: there is no such file, or it is another owner's.
        """
        content = data if data is not None else (await self._read(name, owner)).data
        return await run_in(self._decoding, lambda: decode_source(content, self._limits, self._decode_audio))

    async def decode_clip(self, data: bytes | None, name: str, owner: str | None) -> ReferenceAudio:
        """A clip as it is, whether or not it could be a reference; otherwise as `decode_source`."""
        content = data if data is not None else (await self._read(name, owner)).data
        return await run_in(self._decoding, lambda: self._decode_audio(content, self._limits))

    async def upload_details(self, name: str, owner: str) -> UploadDetails:
        """What `owner` said of an upload; empty for anything else."""
        if self._shared_references is not None:
            return await self._shared_references.details(name, owner)
        return await asyncio.to_thread(self._references.details, name, owner)

    async def add_reference(
        self, data: bytes, details: UploadDetails, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep a clip as mono wav, whatever format it came in.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            QuotaExceededError: the owner has too many uploads.
        """
        wav, duration_s, warnings = await run_in(self._decoding, lambda: self._prepare(data, trim))
        async with self._writing[owner]:
            await self._require_room(owner, len(wav) + len(details.dump()), upload=Clip(wav).content_hash)
            if self._shared_references is not None:
                stored = await self._shared_references.add(wav, owner=owner, details=details)
            else:
                stored = await asyncio.to_thread(self._references.add, wav, ".wav", owner=owner, details=details)
        return StoredReference(stored.reference_id, stored.path, stored.size_bytes, duration_s, warnings)

    async def put_voice(self, voice: Voice, editor: str | None = None) -> Voice:
        """Write a voice template; its clips are copied beside it.

        Args:
            editor: name of the key that writes, which may change its own voices alone; None may change all.

        Raises:
            InvalidRequestError, ReferenceAudioError: a field or a clip cannot be used.
            ForbiddenError: the voice, or an upload that it names, is another owner's.
            QuotaExceededError: the owner's voices and uploads would take more than the quota.
        """
        clips = await self._clips_to_keep(voice, editor)
        timbre = clips[voice.timbre_ref_audio] if voice.timbre_ref_audio else None
        await self.decode(VoiceClips(tuple(clips[name] for name in (voice.ref_audio, *voice.aux_ref_audio)), timbre))
        for name, emotion in voice.emotions.items():
            try:
                await self.decode(VoiceClips((clips[emotion.ref_audio],)))
            except ReferenceAudioError as error:
                raise ReferenceAudioError(f"emotion {name}: {error}") from None
        sizes = {clip.content_hash: len(clip.data) for clip in clips.values()}
        async with self._writing[voice.owner]:
            await self._require_room(voice.owner, sum(sizes.values()), voice_id=voice.voice_id)
            if self._shared_voices is not None:
                return await self._shared_voices.put(voice, clips, editor)
            return await asyncio.to_thread(self.voices.put, voice, clips, editor)

    async def delete_voice(self, voice_id: str, editor: str | None = None) -> None:
        """Delete a voice template and the clips kept for it. Raises UnknownVoiceError, ForbiddenError."""
        if self._shared_voices is not None:
            await self._shared_voices.delete(voice_id, editor)
        else:
            await asyncio.to_thread(self.voices.delete, voice_id, editor)

    async def follow(self) -> None:
        """Take over what other replicas did to the shared voices."""
        if self._shared_voices is not None:
            await self._shared_voices.pull()

    async def sweep(self) -> None:
        """Delete expired uploads."""
        if self._shared_references is not None:
            await self._shared_references.sweep()
        else:
            await asyncio.to_thread(self._references.sweep)

    async def _read(self, name: str, owner: str | None) -> Clip:
        if self._shared_references is not None:
            return await self._shared_references.read(name, owner)
        return await asyncio.to_thread(self._references.read, name, owner)

    async def _clips_to_keep(self, voice: Voice, editor: str | None) -> dict[str, Clip]:
        """The content of each clip that a new template names: one that the voice has already, else what it may name.

        What GET answers names the voice's own clips, which other roots may have under the same names.
        """
        try:
            own = await asyncio.to_thread(lambda: self.voices.read_clips(self.voices.get(voice.voice_id)))
        except (UnknownVoiceError, ReferenceAudioError):
            own = {}
        return {name: own.get(name) or await self._read(name, editor) for name in voice.clip_names}

    async def _require_room(self, owner: str, added_bytes: int, *, upload: str = "", voice_id: str = "") -> None:
        """Raise a QuotaExceededError where an owner would have more than the quota.

        Args:
            upload, voice_id: what is being rewritten, and so does not count as it is now.
        """
        if self._quota_bytes is None:
            return
        if self._shared_references is not None:
            used = await self._shared_references.usage_bytes(owner, without=upload)
        else:
            used = await asyncio.to_thread(lambda: self._references.usage_bytes(owner, without=upload))
        used += await asyncio.to_thread(lambda: self.voices.usage_bytes(owner, without=voice_id))
        if used + added_bytes > self._quota_bytes:
            raise QuotaExceededError(
                f"the uploads and voices of this key take {used / 2**20:.1f} of {self._quota_bytes / 2**20:.1f} MiB; "
                "delete voices, wait until uploads expire, or ask for a larger quota"
            )

    def _prepare(self, data: bytes, trim: bool) -> tuple[bytes, float, tuple[str, ...]]:
        """Any format to mono wav, its duration in seconds, and warnings."""
        reference = self._decode_audio(data, self._limits)
        if trim:
            reference = trim_reference(reference)
        elif reference.duration_s > MAX_REFERENCE_S:
            raise ReferenceAudioError(
                f"the reference is {reference.duration_s:.1f} s; it must be 3 to 10 s: cut it, or send trim=true"
            )
        warnings = validate_reference(reference)
        wav = encode_whole(reference.samples, reference.sample_rate_hz, "wav")
        return wav, round(reference.duration_s, 3), warnings

    def _decode_all(self, clips: VoiceClips) -> tuple[VoiceAudio, tuple[str, ...]]:
        first, *further = clips.references
        reference, warnings = self._decode(first)
        auxiliary = [self._decode_as(f"auxiliary reference {index}", clip) for index, clip in enumerate(further, 1)]
        timbre = self._decode_as("timbre_ref_audio_path", clips.timbre) if clips.timbre is not None else None
        return VoiceAudio((reference, *auxiliary), timbre), warnings

    def _decode_as(self, role: str, clip: Clip) -> ReferenceAudio:
        """A clip beside the reference; an error says which."""
        try:
            return self._decode(clip)[0]
        except ReferenceAudioError as error:
            raise ReferenceAudioError(f"{role}: {error}") from None

    def _decode(self, clip: Clip) -> tuple[ReferenceAudio, tuple[str, ...]]:
        """Decode and check a clip, or remember it: by its content, never by its name."""
        with self._lock:
            known = self._decoded.get(clip.content_hash)
            if known is not None:
                self._decoded.move_to_end(clip.content_hash)
                return known
        reference = self._decode_audio(clip.data, self._limits)
        loaded = (reference, validate_reference(reference))
        with self._lock:
            self._decoded[clip.content_hash] = loaded
            if len(self._decoded) > _REMEMBERED_CLIPS:
                self._decoded.popitem(last=False)
        return loaded


def _each_once(clips: Sequence[Clip], timbre: Clip | None) -> VoiceClips:
    """A clip twice in the mean would count twice; the reference has no part in it where another clip has its place."""
    reference, *auxiliary = clips
    if timbre is not None and timbre.content_hash == reference.content_hash:
        timbre = None
    counted = reference if timbre is None else timbre
    further = {clip.content_hash: clip for clip in auxiliary if clip.content_hash != counted.content_hash}
    return VoiceClips((reference, *further.values()), timbre)


def _reference_name(voice: Voice, emotion: str) -> str:
    if not emotion:
        return voice.ref_audio
    if emotion not in voice.emotions:
        raise UnknownVoiceError("the voice has changed and no longer has the emotion; try again")
    return voice.emotions[emotion].ref_audio


def open_library(settings: ServiceSettings, objects: ObjectStore | None) -> VoiceLibrary:
    """The voices and uploads of the settings, shared through `objects` where these say so."""
    roots, uploads = settings.all_voices_roots, settings.uploads
    voices = open_voices(settings)
    ttl_s = uploads.ttl_s or None
    references = ReferenceStore(
        settings.upload_dir,
        [*roots, *settings.reference_roots],
        ttl_s=ttl_s,
        is_private=uploads.access == "key",
        max_clip_bytes=settings.max_upload_bytes,
    )
    shared_references = shared_voices = None
    if objects is not None and settings.objects.share_voices:
        local_bytes = settings.objects.local_bytes
        shared_references = SharedReferences(references, objects, ttl_s=ttl_s, max_local_bytes=local_bytes)
        shared_voices = SharedVoices(voices, roots[0], objects)
    return VoiceLibrary(
        voices,
        references,
        AudioLimits(max_bytes=settings.max_upload_bytes),
        shared_references,
        shared_voices,
        quota_bytes=uploads.quota_bytes or None,
        decoder=IsolatedDecoder() if settings.isolates_uploads else None,
    )
