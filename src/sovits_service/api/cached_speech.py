"""Turn a synthesis request into audio: from the cache, from an equal request in flight, or by synthesis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sovits_service.api.middleware import RequestTimings
from sovits_service.api.timed import faults_of
from sovits_service.audio.encode import content_type, encode_whole, output_rate_hz
from sovits_service.deadline import Deadline
from sovits_service.errors import InvalidRequestError, SynthesisError
from sovits_service.storage.results.cache import CachedAudio, cache_key
from sovits_service.storage.results.single_flight import SharedReader, SharedStreams, SingleFlight
from sovits_service.telemetry import Metrics
from sovits_service.types import AudioChunk, FloatArray, SynthesisRequest

if TYPE_CHECKING:
    from sovits_service.service.protocol import Service

CacheState = Literal["hit", "miss", "bypass"]
_NO_AUDIO = "the model made no audio; try again, or with another seed"


@dataclass(frozen=True, slots=True)
class StreamHead:
    """What is known of a stream when its first chunk exists."""

    sample_rate_hz: int
    seed: int
    dropped_characters: int
    warnings: tuple[str, ...]


StreamItem = StreamHead | AudioChunk
SpeechItems = AsyncGenerator[StreamItem, None]


@dataclass(frozen=True, slots=True)
class CacheSlot:
    """Where the answer to a request belongs in the cache.

    Attributes:
        model_hashes: of the models that the key speaks of: other ones must not fill its place.
        tts_request: the request with the content that the key speaks of, which alone may fill its place.
    """

    key: str
    media_type: str
    model_hashes: tuple[str, ...]
    tts_request: SynthesisRequest


class CachedSpeech:
    """The speech of one application. Equal requests at the same time share one synthesis."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._files: SingleFlight[tuple[CachedAudio, bool]] = SingleFlight()
        self._streams: SharedStreams[StreamItem] = SharedStreams()

    async def place(self, tts_request: SynthesisRequest, media_type: str, use_cache: bool | None) -> CacheSlot | None:
        """Where the answer belongs; None where it is not cached.

        Args:
            use_cache: None means: with a fixed seed, whose speech is the same each time.

        Raises:
            SovitsError: the reference cannot be read.
        """
        if self._service.results is None or not (tts_request.seed is not None if use_cache is None else use_cache):
            return None
        tts_request = await self._service.resolve(tts_request)
        found = await self._service.fingerprint(tts_request)
        key = cache_key(
            tts_request,
            media_type=media_type,
            reference_hashes=found.reference_hashes,
            weights_hashes=found.model_hashes,
            timbre_hash=found.timbre_hash,
        )
        return CacheSlot(key, media_type, found.model_hashes, tts_request)

    async def look_up(self, place: CacheSlot | None) -> CachedAudio | None:
        """The finished answer, where it is kept."""
        if place is None or self._service.results is None:
            return None
        audio = await self._service.results.get(place.key)
        return audio if audio is not None and audio.media_type == place.media_type else None

    async def whole(
        self,
        tts_request: SynthesisRequest,
        media_type: str,
        place: CacheSlot | None,
        deadline: Deadline,
        timings: RequestTimings,
    ) -> tuple[CachedAudio, CacheState]:
        """Speech as one file, and whether its making was somebody else's.

        Shared work has the longest deadline that the settings allow, and everyone who waits for it their own.
        """
        if place is None:
            return await self._make(tts_request, media_type, deadline, timings), "bypass"

        async def make_and_keep() -> CachedAudio:
            audio = await self._make(replace(tts_request, timeout_s=None), media_type, None, timings)
            await self._keep(place, tts_request, audio)
            return audio

        async def make_once() -> tuple[CachedAudio, bool]:
            flights = self._service.flights
            if flights is None:
                return await make_and_keep(), False
            return await flights.run(place.key, lambda: self.look_up(place), make_and_keep)

        (audio, of_replica), shared = await deadline.wait(self._files.run(place.key, make_once))
        return audio, "hit" if shared or of_replica else "miss"

    def stream(
        self, tts_request: SynthesisRequest, media_type: str, place: CacheSlot | None, deadline: Deadline
    ) -> tuple[SpeechItems, CacheState]:
        """The head, then the chunks as they are made; to be closed, which ends the work of its last reader."""
        if place is None:
            return self._chunks(tts_request, None, media_type, deadline), "bypass"
        unhurried = replace(tts_request, timeout_s=None)
        reader, shared = self._streams.open(place.key, lambda: self._chunks(unhurried, place, media_type, None))
        return _read(reader, deadline), "hit" if shared else "miss"

    async def link(self, audio: CachedAudio, ttl_s: float) -> str:
        """A link to the audio that expires, from the object store.

        Raises:
            StorageError: the store does not answer.
            InvalidRequestError: there is no store.
        """
        objects = self._service.objects
        if objects is None:
            raise InvalidRequestError("response: url is switched off; set objects.backend in configs/service.yaml")
        key = f"audio/{audio.etag.strip(chr(34))}.{audio.media_type}"
        await objects.put(key, audio.data, content_type(audio.media_type))
        return await objects.url(key, ttl_s)

    async def _make(
        self, tts_request: SynthesisRequest, media_type: str, deadline: Deadline | None, timings: RequestTimings
    ) -> CachedAudio:
        started_s = time.perf_counter()
        synthesis = await self._service.synthesize(tts_request, deadline)
        self._note_first_audio(tts_request, timings)
        async with contextlib.aclosing(synthesis.chunks) as chunks:
            told = [chunk async for chunk in chunks]
        pieces = [chunk.samples for chunk in told]
        timings.mark("synthesis")
        head = StreamHead(synthesis.sample_rate_hz, synthesis.seed, synthesis.dropped_characters, synthesis.warnings)
        duration_s = _duration_s(sum(map(len, pieces)), head.sample_rate_hz)
        self._note_speech(duration_s, time.perf_counter() - started_s)
        encoding_s = time.perf_counter()
        audio = _with_findings(await asyncio.to_thread(_encode, pieces, head, media_type), told)
        timings.add("encode", time.perf_counter() - encoding_s)
        return audio

    async def _chunks(
        self, tts_request: SynthesisRequest, place: CacheSlot | None, media_type: str, deadline: Deadline | None
    ) -> AsyncGenerator[StreamItem, None]:
        started_s = time.perf_counter()
        synthesis = await self._service.synthesize(tts_request, deadline)
        head = StreamHead(synthesis.sample_rate_hz, synthesis.seed, synthesis.dropped_characters, synthesis.warnings)
        kept: list[AudioChunk] = []  # for the cache alone
        samples = 0
        async with contextlib.aclosing(synthesis.chunks) as chunks:
            yield head
            async for chunk in chunks:
                samples += len(chunk.samples)
                if place is not None:
                    kept.append(chunk)
                yield chunk
        self._note_speech(_duration_s(samples, head.sample_rate_hz), time.perf_counter() - started_s)
        if place is not None:
            # Before the stream ends, so that whoever asks after the last byte finds it.
            pieces = [chunk.samples for chunk in kept]
            audio = await asyncio.to_thread(_encode, pieces, head, media_type)
            await self._keep(place, tts_request, _with_findings(audio, kept))

    async def _keep(self, place: CacheSlot, tts_request: SynthesisRequest, audio: CachedAudio) -> None:
        if self._service.results is None:
            return
        # The weights may have been switched since the key was made.
        if (await self._service.fingerprint(tts_request)).model_hashes == place.model_hashes:
            await self._service.results.put(place.key, audio)

    def _note_first_audio(self, tts_request: SynthesisRequest, timings: RequestTimings) -> None:
        elapsed_s = timings.mark("first_audio")
        self._metrics.first_audio_seconds.labels(streaming_mode=str(tts_request.streaming_mode)).observe(elapsed_s)

    def _note_speech(self, audio_s: float, elapsed_s: float) -> None:
        self._metrics.audio_seconds.inc(audio_s)
        self._metrics.real_time_factor.observe(elapsed_s / audio_s)


async def _read(reader: SharedReader[StreamItem], deadline: Deadline) -> AsyncGenerator[StreamItem, None]:
    """A shared stream as one of its readers waits for it; closes its place in the stream."""
    async with contextlib.aclosing(reader):
        while True:
            try:
                item = await deadline.wait(anext(reader))
            except StopAsyncIteration:
                return
            yield item


def _duration_s(samples: int, sample_rate_hz: int) -> float:
    if not samples:
        raise SynthesisError(_NO_AUDIO)
    return samples / sample_rate_hz


def _with_findings(audio: CachedAudio, chunks: Sequence[AudioChunk]) -> CachedAudio:
    """With what the chunks say of themselves."""
    return replace(
        audio,
        words=tuple(word for chunk in chunks for word in chunk.words),
        cues=tuple(chunk.cue for chunk in chunks if chunk.cue is not None),
        takes=sum(chunk.takes for chunk in chunks),
        faults=faults_of(chunks),
    )


def _encode(pieces: list[FloatArray], head: StreamHead, media_type: str) -> CachedAudio:
    samples = np.concatenate(pieces)
    return CachedAudio(
        data=encode_whole(samples, head.sample_rate_hz, media_type),
        media_type=media_type,
        sample_rate_hz=output_rate_hz(media_type, head.sample_rate_hz),
        duration_s=len(samples) / head.sample_rate_hz,
        seed=head.seed,
        dropped_characters=head.dropped_characters,
        warnings=head.warnings,
    )
