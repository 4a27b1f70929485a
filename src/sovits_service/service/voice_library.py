"""Which voices and uploads there are, and which of their clips a request is spoken with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sovits_service.audio.isolate import IsolatedDecoder
from sovits_service.audio.load import AudioLimits
from sovits_service.errors import InvalidRequestError, QuotaExceededError, ReferenceAudioError, UnknownVoiceError
from sovits_service.service.clip_decoder import ClipDecoder, VoiceClips
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import ObjectStore
from sovits_service.storage.stores import open_voices
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.clip_store import ClipStore
from sovits_service.storage.voices.shared_clips import SharedClips
from sovits_service.storage.voices.shared_voices import SharedVoices
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.storage.voices.voice_store import VoiceStore
from sovits_service.types import SynthesisRequest, Voice


@dataclass(frozen=True, slots=True)
class StoredReference:
    """An upload: `path` and `reference_id` both name it in later requests."""

    reference_id: str
    path: str
    size_bytes: int
    duration_s: float
    warnings: tuple[str, ...]


class VoiceLibrary:
    """Voice templates and uploaded clips, and which of them a request is spoken with.

    Args:
        voices, clips: of this replica, or shared with others.
        quota_bytes: what one owner's uploads and voices may take together; None is no limit.
    """

    def __init__(
        self, voices: VoiceStore, clips: ClipStore, decoder: ClipDecoder, *, quota_bytes: int | None = None
    ) -> None:
        self.voices = voices
        self.clips = clips
        self.decoder = decoder
        self._quota_bytes = quota_bytes
        # One write of an owner at a time: the quota is checked and used up in one step.
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.default_reference: str | None = None
        self.default_details = UploadDetails()

    async def close(self) -> None:
        """Decode no more."""
        await self.decoder.close()

    async def set_default_reference(self, name: str, details: UploadDetails) -> None:
        """Set the clip of requests that name none. Raises InvalidRequestError, ReferenceAudioError."""
        await self.decoder.decode(VoiceClips((await self.clips.read(name),)))
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
        auxiliary = [await self.clips.read(name, request.owner) for name in request.aux_ref_audio]
        timbre = await self.clips.read(request.timbre_ref_audio, request.owner) if request.timbre_ref_audio else None
        if voice is not None and not request.ref_audio:
            reference = _reference_name(voice, request.emotion)
            further = () if auxiliary or timbre is not None else voice.aux_ref_audio
            own_timbre = voice.timbre_ref_audio if timbre is None else ""
            own = await self.voices.read_clips(voice, {reference, *further, own_timbre})
            clips = [own[reference], *auxiliary, *(own[name] for name in further)]
            timbre = own[own_timbre] if own_timbre else timbre
        elif request.ref_audio:
            clips = [await self.clips.read(request.ref_audio, request.owner), *auxiliary]
        elif self.default_reference:
            clips = [await self.clips.read(self.default_reference, None), *auxiliary]
        else:
            raise InvalidRequestError("ref_audio_path is required")
        return _each_once(clips, timbre)

    async def add_reference(
        self, data: bytes, details: UploadDetails, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep a clip as mono wav, whatever format it came in.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            QuotaExceededError: the owner has too many uploads.
        """
        wav, duration_s, warnings = await self.decoder.to_wav(data, trim=trim)
        async with self._writing[owner]:
            await self._require_room(owner, len(wav) + len(details.dump()), upload=Clip(wav).content_hash)
            stored = await self.clips.add(wav, owner=owner, details=details)
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
        references = tuple(clips[name] for name in (voice.ref_audio, *voice.aux_ref_audio))
        await self.decoder.decode(VoiceClips(references, timbre))
        for name, emotion in voice.emotions.items():
            try:
                await self.decoder.decode(VoiceClips((clips[emotion.ref_audio],)))
            except ReferenceAudioError as error:
                raise ReferenceAudioError(f"emotion {name}: {error}") from None
        sizes = {clip.content_hash: len(clip.data) for clip in clips.values()}
        async with self._writing[voice.owner]:
            await self._require_room(voice.owner, sum(sizes.values()), voice_id=voice.voice_id)
            return await self.voices.put(voice, clips, editor)

    async def _clips_to_keep(self, voice: Voice, editor: str | None) -> dict[str, Clip]:
        """The content of each clip that a new template names: one that the voice has already, else what it may name.

        What GET answers names the voice's own clips, which other roots may have under the same names.
        """
        try:
            known = await self.voices.get(voice.voice_id)
            own = await self.voices.read_clips(known, known.clip_names)
        except (UnknownVoiceError, ReferenceAudioError):
            own = {}
        return {name: own.get(name) or await self.clips.read(name, editor) for name in voice.clip_names}

    async def _require_room(self, owner: str, added_bytes: int, *, upload: str = "", voice_id: str = "") -> None:
        """Raise a QuotaExceededError where an owner would have more than the quota.

        Args:
            upload, voice_id: what is being rewritten, and so does not count as it is now.
        """
        if self._quota_bytes is None:
            return
        used = await self.clips.usage_bytes(owner, without=upload)
        used += await self.voices.usage_bytes(owner, without=voice_id)
        if used + added_bytes > self._quota_bytes:
            raise QuotaExceededError(
                f"the uploads and voices of this key take {used / 2**20:.1f} of {self._quota_bytes / 2**20:.1f} MiB; "
                "delete voices, wait until uploads expire, or ask for a larger quota"
            )


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
    uploads, folder = settings.uploads, open_voices(settings)
    ttl_s = uploads.ttl_s or None
    clip_folder = ClipFolder(
        settings.upload_dir,
        [*folder.roots, *settings.reference_roots],
        ttl_s=ttl_s,
        is_private=uploads.access == "key",
        max_clip_bytes=settings.max_upload_bytes,
    )
    voices, clips = VoiceStore(folder), ClipStore(clip_folder)
    if objects is not None and settings.objects.share_voices:
        voices = SharedVoices(folder, objects)
        clips = SharedClips(clip_folder, objects, ttl_s=ttl_s, max_local_bytes=settings.objects.local_bytes)
    isolated = IsolatedDecoder() if settings.isolates_uploads else None
    decoder = ClipDecoder(AudioLimits(max_bytes=settings.max_upload_bytes), isolated)
    return VoiceLibrary(voices, clips, decoder, quota_bytes=uploads.quota_bytes or None)
