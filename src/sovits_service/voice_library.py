"""Voices and uploads as the service uses them: names in, checked clips out. Everything here blocks."""

from __future__ import annotations

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
from sovits_service.errors import InvalidRequestError, ReferenceAudioError
from sovits_service.storage.references import ReferenceStore, UploadDetails
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
    """Voice templates and uploaded clips. Safe to call from several threads.

    Args:
        limits: what a clip may ask of the decoder.
    """

    def __init__(self, voices: VoiceStore, references: ReferenceStore, limits: AudioLimits) -> None:
        self.voices = voices
        self.references = references
        self._limits = limits
        self._default_reference: str | None = None
        self._lock = threading.Lock()
        self._decoded: OrderedDict[str, tuple[ReferenceAudio, tuple[str, ...]]] = OrderedDict()

    @property
    def has_default_reference(self) -> bool:
        return self._default_reference is not None

    def set_default_reference(self, name: str) -> None:
        """Set the clip of requests that name none. Raises InvalidRequestError, ReferenceAudioError."""
        self._load(self.references.resolve(name))
        self._default_reference = name

    def clips(self, request: SynthesisRequest, voice: Voice | None) -> tuple[list[ReferenceAudio], tuple[str, ...]]:
        """The decoded reference of a request, then the auxiliary ones, with what is to be said about the first.

        Raises:
            InvalidRequestError, ReferenceAudioError: a clip is missing or cannot serve.
        """
        paths = self._paths(request, voice)
        first, warnings = self._load(paths[0])
        return [first, *(decode_reference(path, limits=self._limits) for path in paths[1:])], warnings

    def content_hashes(self, request: SynthesisRequest, voice: Voice | None) -> tuple[str, ...]:
        """SHA-256 of the content of the clips that `clips` would decode."""
        return tuple(hashlib.sha256(_read(path)).hexdigest() for path in self._paths(request, voice))

    def add_reference(
        self, data: bytes, details: UploadDetails, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep a clip as mono wav, whatever format it came in.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            QuotaExceededError: the owner has too many uploads.
        """
        reference = decode_reference(data, limits=self._limits)
        if trim:
            reference = trim_reference(reference)
        elif reference.duration_s > MAX_REFERENCE_S:
            raise ReferenceAudioError(
                f"the reference is {reference.duration_s:.1f} s; it must be 3 to 10 s: cut it, or send trim=true"
            )
        warnings = validate_reference(reference)
        wav = encode_whole(reference.samples, reference.sample_rate_hz, "wav")
        stored = self.references.add(wav, ".wav", owner=owner, details=details)
        return StoredReference(
            stored.reference_id, stored.path, stored.size_bytes, round(reference.duration_s, 3), warnings
        )

    def put_voice(self, voice: Voice) -> Voice:
        """Write a voice template; its clips are copied beside it.

        Raises:
            InvalidRequestError, ReferenceAudioError: a field or a clip cannot be used.
        """
        clips = {name: self.references.resolve(name) for name in (voice.ref_audio, *voice.aux_ref_audio)}
        for clip in clips.values():
            self._load(clip)
        return self.voices.put(voice, clips)

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
