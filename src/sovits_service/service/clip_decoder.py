"""Decode reference clips and recordings, beside the event loop and, where settings say so, in separate processes."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sovits_service.audio.encode import encode_whole
from sovits_service.audio.isolate import IsolatedDecoder
from sovits_service.audio.load import AudioLimits, decode_reference, decode_source, trim_reference
from sovits_service.audio.quality import MAX_REFERENCE_S, validate_reference
from sovits_service.errors import ReferenceAudioError
from sovits_service.storage.voices.clip import Clip
from sovits_service.threads import run_in
from sovits_service.types import ReferenceAudio

_REMEMBERED_CLIPS = 64
_DECODING_THREADS = 2


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


class ClipDecoder:
    """Bytes of audio files to samples. What a clip gives is remembered by its content.

    Args:
        limits: what a clip may ask of the decoder.
        isolated: decodes in separate processes; None decodes in this one.
    """

    def __init__(self, limits: AudioLimits, isolated: IsolatedDecoder | None = None) -> None:
        self._limits = limits
        self._isolated = isolated
        self._decode_audio = isolated.decode if isolated is not None else decode_reference
        # Apart from asyncio's own pool: clips that take seconds to decode do not stop the short work on files.
        self._pool = ThreadPoolExecutor(_DECODING_THREADS, "sovits-clips")
        self._lock = threading.Lock()
        self._decoded: OrderedDict[str, tuple[ReferenceAudio, tuple[str, ...]]] = OrderedDict()

    async def close(self) -> None:
        """Decode no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._isolated is not None:
            await asyncio.to_thread(self._isolated.close)

    async def decode(self, clips: VoiceClips) -> tuple[VoiceAudio, tuple[str, ...]]:
        """The audio of clips, with what is to be said about the reference.

        Raises:
            ReferenceAudioError, UnsupportedAudioError: one of them cannot serve; which one, where it is not the first.
        """
        return await run_in(self._pool, lambda: self._decode_all(clips))

    async def decode_source(self, data: bytes) -> ReferenceAudio:
        """A recording of up to 60 s. Raises UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError."""
        return await run_in(self._pool, lambda: decode_source(data, self._limits, self._decode_audio))

    async def decode_clip(self, data: bytes) -> ReferenceAudio:
        """A clip as it is, whether or not it could be a reference; otherwise as `decode_source`."""
        return await run_in(self._pool, lambda: self._decode_audio(data, self._limits))

    async def to_wav(self, data: bytes, *, trim: bool) -> tuple[bytes, float, tuple[str, ...]]:
        """A reference in any format as mono wav, with its duration in seconds, and warnings.

        Args:
            trim: cut it to 3 to 10 s at silence where it is too long.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
        """
        return await run_in(self._pool, lambda: self._to_wav(data, trim))

    def _to_wav(self, data: bytes, trim: bool) -> tuple[bytes, float, tuple[str, ...]]:
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
