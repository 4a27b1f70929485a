"""The page to read first: what becomes of a request, from a place in the engine to chunks of audio."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import structlog

from sovits_service.audio.join import cut_after, with_pauses
from sovits_service.deadline import Deadline
from sovits_service.engine.engine import Admission, Engine
from sovits_service.engine.sequence import JobOptions
from sovits_service.errors import InvalidRequestError, OverloadedError, SovitsError, UnknownVoiceError
from sovits_service.service.clip_decoder import VoiceAudio, VoiceClips
from sovits_service.service.loaded_models import Model
from sovits_service.service.metrics import EngineWatch, engine_metrics
from sovits_service.service.model_store import ModelStore
from sovits_service.service.switches import Switches
from sovits_service.service.text_reader import TextReader
from sovits_service.service.upkeep import recurring_work, run_before_start
from sovits_service.service.voice_library import VoiceLibrary
from sovits_service.service.voices import Voices
from sovits_service.settings import ServiceSettings
from sovits_service.storage.stores import Stores
from sovits_service.text.explain import Explanation
from sovits_service.text.timing import TextClock
from sovits_service.threads import lower_priority, run_in
from sovits_service.types import (
    AudioChunk,
    Fingerprint,
    ModelVersion,
    Segment,
    SplitMethod,
    Synthesis,
    SynthesisRequest,
)

T = TypeVar("T")
log = structlog.get_logger(__name__)
_BACKGROUND_NICENESS = 5  # with more, a thread would now and then keep the interpreter lock while it is not scheduled
_RESOLVE_ATTEMPTS = 3
_UNHEARD_REFERENCE = (
    "the reference is not heard: without prompt_text it gives its timbre alone, whose place timbre_ref_audio_path takes"
)
_WARM_UP_TEXT = "你好，很高兴认识你。"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ResolvedRequest(SynthesisRequest):
    """A request with the content that it is spoken with, so that names which change meanwhile change nothing.

    Attributes:
        model: of its voice, or the current one.
        clips: what it sounds like.
    """

    model: Model
    clips: VoiceClips


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request that nothing is wrong with: what the engine needs of it, and warnings about its reference."""

    model: Model
    voice: VoiceAudio
    warnings: tuple[str, ...]
    prompt: Segment | None
    segments: Sequence[Segment]


class SpeechService:
    """Text and voices to speech. All methods are safe on the event loop: what takes long runs elsewhere.

    Attributes:
        voices: voices and uploads.
        switches: changes what later requests are spoken with.
        results, objects: the cache of finished answers and the store of linked files; None where they are off.
        limits, flights: rate limits, and requests in work, of all replicas; None where this process is by itself.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        engine: Engine,
        models: ModelStore,
        texts: TextReader,
        library: VoiceLibrary,
        stores: Stores,
    ) -> None:
        self.voices = Voices(settings, engine, models, texts, library)
        self.switches = Switches(models, library, texts, stores.replicas)
        self.results = stores.results
        self.objects = stores.objects
        self.limits = stores.limits
        self.flights = stores.flights
        self._settings = settings
        self._engine = engine
        self._models = models
        self._texts = texts
        self._library = library
        self._stores = stores
        self._background = ThreadPoolExecutor(1, "sovits-behind", partial(lower_priority, _BACKGROUND_NICENESS))
        self._is_ready = False
        self._watch = EngineWatch(engine, settings.stuck_s)
        self._periodic = recurring_work(library, stores, self.switches, self._watch, settings.objects.link_ttl_s)

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        """Speak a request; returns when its first chunk exists.

        Args:
            deadline: of a request that has waited before, or whose callers wait for themselves; None takes a new one of
                the request's `timeout_s`.
            is_background: nobody waits for it: it is worked on while nobody waits for anything else.

        Raises:
            InvalidRequestError: the reference, the text or a combination of fields cannot be used.
            UnknownVoiceError: no such voice.
            OverloadedError: the queue is full, or the service is not ready.
            DeadlineExceededError, SynthesisError: the engine did not finish, or failed.
        """
        if not self._is_ready:
            raise OverloadedError("the service is not ready; try again in a moment", retry_after_s=5.0)
        return await self._synthesize(request, deadline or self.deadline(request.timeout_s), is_background)

    async def _synthesize(
        self, request: SynthesisRequest, deadline: Deadline, is_background: bool = False
    ) -> Synthesis:
        """A place in the engine first, then what may take long; the place is given back when any of it fails."""
        with self._engine.admit(is_background=is_background) as admission:
            return await self._speak(admission, request, deadline, is_background)

    async def _speak(
        self, admission: Admission, request: SynthesisRequest, deadline: Deadline, is_background: bool
    ) -> Synthesis:
        prepared = await self._prepare(request, deadline, is_background=is_background)
        worker = prepared.model.worker
        if is_background:
            worker = await run_in(self._models.pool, prepared.model.background_worker)
        segments = prepared.segments
        pauses_s = _pauses_s(segments, request.pause_s)
        seed = request.seed if request.seed is not None else secrets.randbelow(2**32)
        speech = self._engine.synthesize(
            admission,
            worker,
            segments,
            prepared.prompt,
            prepared.voice.references,
            _job_options(request, seed),
            deadline,
            timbre=prepared.voice.timbre,
            source=request.source,
        )
        first = await anext(speech)
        chunks = with_pauses(first, speech, pauses_s, self._settings.max_audio_s)
        if request.timestamps != "none":
            clock = TextClock(request.text, segments, pauses_s, request.timestamps, prepared.model.spec.symbols)
            chunks = _timed(chunks, clock)
        if request.source is not None:
            chunks = cut_after(chunks, request.source.duration_s)
        return Synthesis(
            sample_rate_hz=first.sample_rate_hz,
            seed=seed,
            chunks=chunks,
            dropped_characters=sum(segment.dropped_characters for segment in segments),
            warnings=prepared.warnings,
        )

    async def _prepare(
        self, request: SynthesisRequest, deadline: Deadline, *, is_background: bool = False
    ) -> _Prepared:
        resolved = await deadline.wait(self.resolve(request))
        model = resolved.model
        audio, warnings = await deadline.wait(self._library.decoder.decode(resolved.clips))
        if audio.timbre is not None and not request.prompt_text and request.source is None:
            warnings = (*warnings, _UNHEARD_REFERENCE)
        if request.super_sampling and not model.can_super_sample:
            warnings = (*warnings, "super_sampling is left out: it is for v3, and needs the AP-BWE file")
        if is_background:
            read = partial(self._texts.read_here, request, model.spec, between=self._engine.give_way)
            reading = self.in_background(read)
        else:
            reading = self._texts.read(request, model.spec)
        prompt, segments = await deadline.wait(reading)
        pauses_s = _pauses_s(segments, request.pause_s)
        if sum(pauses_s) > self._settings.max_pauses_s:
            raise InvalidRequestError(
                f"the pauses are {sum(pauses_s):,.0f} s together; at most {self._settings.max_pauses_s:,.0f} s are "
                "accepted: shorten [pause:...] or fragment_interval, or send the text in parts"
            )
        return _Prepared(model, audio, warnings, prompt, segments)

    async def resolve(self, request: SynthesisRequest) -> ResolvedRequest:
        """Settle what a request is spoken with. It may be resolved already: then it is returned as it is.

        Raises:
            InvalidRequestError: there is no such reference.
            ForbiddenError: another owner's upload.
            UnknownVoiceError: no such voice.
        """
        if isinstance(request, ResolvedRequest):
            return request
        for attempt in range(_RESOLVE_ATTEMPTS):
            voice = await self.voices.get(request.voice_id) if request.voice_id is not None else None
            model = await self._models.of(voice)
            try:
                clips = await self._library.read_clips(request, voice)
            except UnknownVoiceError:  # rewritten between the two steps
                if attempt == _RESOLVE_ATTEMPTS - 1:
                    raise
            else:
                break
        values = {field.name: getattr(request, field.name) for field in fields(request)}
        return ResolvedRequest(**values, model=model, clips=clips)

    async def fingerprint(self, request: SynthesisRequest) -> Fingerprint:
        """What shapes the speech of a request beside its own fields, for the cache of finished answers.

        Raises:
            As `resolve`.
        """
        resolved = await self.resolve(request)
        clips = resolved.clips
        return Fingerprint(
            tuple(clip.content_hash for clip in clips.references),
            (resolved.model.weights_hash, self._models.configuration_hash, self._texts.lexicon_hash),
            clips.timbre.content_hash if clips.timbre is not None else "",
        )

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None:
        """Judge a request as `synthesize` does before anything is spoken; raises what that would."""
        with self._engine.admit():
            await self._prepare(request, deadline)

    async def explain(self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False) -> Explanation:
        """What would be said of a text with the current model.

        Raises:
            InvalidRequestError: the text is too long, has nothing to read, or its language is not known.
        """
        symbols = self._models.current.spec.symbols
        return await self._texts.explain(text, language, symbols, split, read_emoji=read_emoji)

    def deadline(self, timeout_s: float | None = None, spent_s: float = 0.0) -> Deadline:
        """What a request may wait: what it asks for, at most what the settings allow; see `Deadline`."""
        longest_s = self._settings.timeout_s
        return Deadline(min(timeout_s or longest_s, longest_s), spent_s)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for speech, so that the background should stand still."""
        return self._engine.is_awaited

    async def in_background(self, work: Callable[[], T]) -> T:
        """The result of short work that nobody waits for; it begins while nobody waits for speech."""

        def behind() -> T:
            self._engine.give_way()
            return work()

        return await run_in(self._background, behind)

    async def start(self) -> None:
        """Load the configured model, start the engine and speak once, so that the first request finds all warm.

        Raises:
            SettingsError: a configured file is missing.
            CheckpointError: a configured file cannot be used.
        """
        # The dictionaries that the first words need are read while the weights are.
        reading = asyncio.ensure_future(self._texts.warm_up(_WARM_UP_TEXT))
        await run_in(self._models.pool, self._models.load_configured)
        await reading
        await self.switches.follow()
        self._engine.start()
        await run_before_start(self._periodic)
        await self._warm_up()
        self._periodic.start()
        self._is_ready = True

    async def _warm_up(self) -> None:
        """Speak once with the first voice that can; with none, the first request is merely slower."""
        for voice in await self.voices.all():
            request = SynthesisRequest(
                text=_WARM_UP_TEXT,
                text_lang="zh",
                voice_id=voice.voice_id,
                prompt_text=voice.prompt_text,
                prompt_lang=voice.prompt_lang,
                seed=0,
                timestamps="word",  # which finds the heads that read along, where they are not known
            )
            try:
                async for _ in (await self._synthesize(request, self.deadline())).chunks:
                    pass
            except SovitsError as error:
                log.warning("warm_up_failed", voice=voice.voice_id, reason=type(error).__name__)
            else:
                return
        log.info("no_voice_to_warm_up_with")

    async def stop(self, deadline_s: float) -> None:
        """Refuse new requests, let those that run finish within the deadline, end the rest."""
        self._is_ready = False
        await asyncio.to_thread(self._engine.stop, deadline_s)
        await self._periodic.stop()
        self._background.shutdown(wait=False, cancel_futures=True)
        self._texts.close()
        self._models.close()
        self.voices.close()
        await self._library.close()
        await self._stores.close()

    @property
    def is_alive(self) -> bool:
        """False once the engine's loop has died or hangs; true while the model loads or the service drains."""
        return not self._is_ready or (self._engine.is_alive and not self._watch.stuck_work())

    @property
    def is_ready(self) -> bool:
        return self._is_ready and self._engine.is_alive

    @property
    def version(self) -> ModelVersion:
        return self._models.current.version

    @property
    def computation(self) -> Mapping[str, str]:
        """`backend` and `precision` of the GPT; empty while it loads."""
        return self._models.computation

    def stats(self) -> Mapping[str, float]:
        """The engine's counters by metric name; `..._total` counts from the start."""
        own = {"ready": float(self.is_ready), "stuck": float(bool(self._watch.stuck_work()))}
        return own | engine_metrics(self._engine, self._models)

    @property
    def periodic_failures(self) -> Mapping[str, int]:
        """Failed runs of periodic work since the start, by its name."""
        return self._periodic.failures


def _job_options(request: SynthesisRequest, seed: int) -> JobOptions:
    is_conversion = request.source is not None
    return JobOptions(
        sampling=request.sampling,
        seed=seed,
        speed=request.speed,
        streaming_mode=request.streaming_mode,
        overlap_tokens=request.overlap_tokens,
        min_chunk_tokens=request.min_chunk_tokens,
        cfm_steps=request.cfm_steps,
        super_sampling=request.super_sampling,
        has_times=request.timestamps != "none",
        guard="off" if is_conversion else request.guard,
        max_takes=request.max_takes,
        candidates=1 if is_conversion else request.candidates,
    )


async def _timed(chunks: AsyncGenerator[AudioChunk, None], clock: TextClock) -> AsyncGenerator[AudioChunk, None]:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield clock.add(chunk)


def _pauses_s(segments: Sequence[Segment], pause_s: float) -> list[float]:
    """The silence after each fragment: what the text asks for, else `pause_s` between two."""
    usual = [pause_s] * (len(segments) - 1) + [0.0]
    return [s.pause_s if s.pause_s is not None else length for s, length in zip(segments, usual, strict=True)]
