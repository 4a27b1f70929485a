"""The page to read first: speech synthesis and everything else that the API asks of the service."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from sovits_service.audio.join import cut_after, with_pauses
from sovits_service.cores import choose_threads
from sovits_service.deadline import Deadline
from sovits_service.engine.engine import Admission, Engine
from sovits_service.engine.sequence import JobOptions
from sovits_service.errors import InvalidRequestError, OverloadedError, SovitsError, UnknownVoiceError
from sovits_service.native_memory import return_free_memory
from sovits_service.service.loaded_models import Model
from sovits_service.service.model_store import ModelStore
from sovits_service.service.periodic import PeriodicWork
from sovits_service.service.reference_checks import ReferenceChecks
from sovits_service.service.switches import Switches
from sovits_service.service.voice_library import StoredReference, VoiceAudio, VoiceClips, VoiceLibrary, open_library
from sovits_service.settings import ServiceSettings, TtsSettings
from sovits_service.storage.antivirus import ClamdScanner
from sovits_service.storage.cache import ResultCache
from sovits_service.storage.objects import LocalObjects, ObjectStore
from sovits_service.storage.references import UploadDetails
from sovits_service.storage.stores import open_cache, open_objects, open_replicas
from sovits_service.text.explain import Explanation, explain
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon import Lexicon
from sovits_service.text.lexicon_file import LexiconFile
from sovits_service.text.timing import TextClock
from sovits_service.threads import run_in
from sovits_service.types import (
    AudioChunk,
    Fingerprint,
    ModelVersion,
    ReferenceAudio,
    ReferenceReport,
    Segment,
    SplitMethod,
    SymbolSet,
    Synthesis,
    SynthesisRequest,
    Voice,
)

if TYPE_CHECKING:
    from sovits_service.storage.replicas import Replicas  # its client is an extra

T = TypeVar("T")
log = structlog.get_logger(__name__)
_TEXT_THREADS = 2  # they share the interpreter lock: more would not read faster, one would let a long text stop all
_SWEEP_INTERVAL_S = 600.0
_VOICES_POLL_INTERVAL_S = 3.0
_LEXICON_POLL_INTERVAL_S = 3.0
_SWITCHES_POLL_INTERVAL_S = 1.0
_RETURN_MEMORY_INTERVAL_S = 5.0
_WATCH_INTERVAL_S = 5.0
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
    """Text and voices to speech. All methods are safe on the event loop: what takes long runs elsewhere."""

    def __init__(
        self,
        settings: ServiceSettings,
        models: ModelStore,
        engine: Engine,
        frontend: Frontend,
        library: VoiceLibrary,
        results: ResultCache | None = None,
        objects: ObjectStore | None = None,
        scanner: ClamdScanner | None = None,
        configuration_hash: str = "",
        lexicon_file: LexiconFile | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.results = results
        self.objects = objects
        self.limits = replicas.limits if replicas is not None else None
        self.flights = replicas.flights if replicas is not None else None
        self._settings = settings
        self._models = models
        self._engine = engine
        self._frontend = frontend
        self._library = library
        self._scanner = scanner
        self._configuration_hash = configuration_hash
        self._lexicon_hash = lexicon_file.lexicon.digest() if lexicon_file is not None else ""
        self._is_ready = False
        self._stuck: list[str] = []
        # Apart from asyncio's own pool, which has the short work on files: neither long texts nor weights stop that.
        self._text_pool = ThreadPoolExecutor(_TEXT_THREADS, "sovits-text")
        self._model_pool = ThreadPoolExecutor(1, "sovits-models")
        self._checks = ReferenceChecks(frontend)
        self._replicas = replicas
        self._switches = Switches(
            models, library, lexicon_file, self._use_lexicon, self._model_pool, replicas, configuration_hash
        )
        self._periodic = PeriodicWork()
        self._periodic.add("sweep_uploads", library.sweep, _SWEEP_INTERVAL_S)
        self._periodic.add("sweep_objects", self._sweep_objects, _SWEEP_INTERVAL_S)
        self._periodic.add("follow_voices", library.follow, _VOICES_POLL_INTERVAL_S)
        self._periodic.add("watch_engine", self._watch_engine, _WATCH_INTERVAL_S)
        self._periodic.add("follow_lexicon", self._switches.refresh_lexicon, _LEXICON_POLL_INTERVAL_S)
        if replicas is not None:
            self._periodic.add("follow_switches", self._switches.follow, _SWITCHES_POLL_INTERVAL_S)
        self._periodic.add("return_memory", lambda: asyncio.to_thread(return_free_memory), _RETURN_MEMORY_INTERVAL_S)

    async def start(self) -> None:
        """Load the configured model, start the engine and speak once, so that the first request finds all warm.

        Raises:
            SettingsError: a configured file is missing.
            CheckpointError: a configured file cannot be used.
        """
        # The dictionaries that the first words need are read while the weights are.
        reading = asyncio.ensure_future(run_in(self._text_pool, self._read_warm_up_text))
        await run_in(self._model_pool, self._models.load_configured)
        await reading
        await self._switches.follow()
        self._engine.start()
        for work in ("follow_voices", "sweep_uploads", "sweep_objects"):
            await self._periodic.run(work)
        await self._warm_up()
        self._periodic.start()
        self._is_ready = True

    async def stop(self, deadline_s: float) -> None:
        """Refuse new requests, let those that run finish within the deadline, end the rest."""
        self._is_ready = False
        await asyncio.to_thread(self._engine.stop, deadline_s)
        await self._periodic.stop()
        self._text_pool.shutdown(wait=False, cancel_futures=True)
        self._model_pool.shutdown(wait=False, cancel_futures=True)
        self._checks.close()
        await self._library.close()
        if self.results is not None:
            await self.results.close()
        if self._replicas is not None:
            await self._replicas.close()

    @property
    def is_alive(self) -> bool:
        """False once the engine's loop has died or hangs; true while the model loads or the service drains."""
        return not self._is_ready or (self._engine.is_alive and not self._stuck_work())

    @property
    def is_ready(self) -> bool:
        return self._is_ready and self._engine.is_alive

    def _stuck_work(self) -> list[str]:
        return self._engine.stuck_work(self._settings.stuck_s)

    async def _watch_engine(self) -> None:
        """Say once when work hangs, and when it goes on after all."""
        stuck = self._stuck_work()
        if stuck != self._stuck:
            if stuck:
                log.error("engine_stuck", work=stuck, limit_s=self._settings.stuck_s)
            else:
                log.info("engine_goes_on", work=self._stuck)
        self._stuck = stuck

    @property
    def version(self) -> ModelVersion:
        return self._models.current.version

    @property
    def computation(self) -> Mapping[str, str]:
        """`backend` and `precision` of the GPT; empty while it loads."""
        return self._models.computation

    @property
    def default_reference(self) -> str | None:
        """The clip of requests that name none, as it was named."""
        return self._library.default_reference

    @property
    def default_details(self) -> UploadDetails:
        """What the default reference says."""
        return self._library.default_details

    def stats(self) -> Mapping[str, float]:
        """The engine's counters by metric name; `..._total` counts from the start."""
        stats = self._engine.stats()
        counters = stats.counters
        return {
            "ready": float(self.is_ready),
            "stuck": float(bool(self._stuck_work())),
            "queue_depth": stats.waiting_jobs,
            "active_requests": stats.active_jobs,
            "running_sequences": stats.running_sequences,
            "batch_occupancy": stats.running_sequences / self._models.slots,
            "device_memory_bytes": self._models.device_memory_bytes(),
            "semantic_tokens_total": counters.tokens,
            "decode_steps_total": counters.decode_steps,
            "audio_seconds_total": counters.audio_s,
            "cancelled_total": counters.cancelled,
            "expired_total": counters.expired,
            "failed_total": counters.failed,
            "prompts_known_total": counters.prompts_known,
            "prompts_encoded_total": counters.prompts_encoded,
            "prompt_encode_seconds_total": counters.prompt_encode_s,
            "rejected_total": stats.rejected,
            "takes_total": counters.takes,
            **{f"takes_{kind}_total": count for kind, count in counters.faults.items()},
        }

    @property
    def periodic_failures(self) -> Mapping[str, int]:
        """Failed runs of periodic work since the start, by its name."""
        return self._periodic.failures

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
            voice, model = await self._voice_and_model(request)
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
            (resolved.model.weights_hash, self._configuration_hash, self._lexicon_hash),
            clips.timbre.content_hash if clips.timbre is not None else "",
        )

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

    def deadline(self, timeout_s: float | None = None, spent_s: float = 0.0) -> Deadline:
        """What a request may wait: what it asks for, at most what the settings allow; see `Deadline`."""
        longest_s = self._settings.timeout_s
        return Deadline(min(timeout_s or longest_s, longest_s), spent_s)

    async def _synthesize(
        self, request: SynthesisRequest, deadline: Deadline, is_background: bool = False
    ) -> Synthesis:
        """A place in the engine first, then what may take long; the place is given back when any of it fails."""
        with self._engine.admit(is_background=is_background) as admission:
            return await self._speak(admission, request, deadline, is_background)

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None:
        """Judge a request as `synthesize` does before anything is spoken; raises what that would."""
        with self._engine.admit():
            await self._prepare(request, deadline)

    async def _prepare(self, request: SynthesisRequest, deadline: Deadline) -> _Prepared:
        resolved = await deadline.wait(self.resolve(request))
        model = resolved.model
        audio, warnings = await deadline.wait(self._library.decode(resolved.clips))
        if audio.timbre is not None and not request.prompt_text and request.source is None:
            warnings = (*warnings, _UNHEARD_REFERENCE)
        if request.super_sampling and not model.can_super_sample:
            warnings = (*warnings, "super_sampling is left out: it is for v3, and needs the AP-BWE file")
        reading = run_in(self._text_pool, lambda: self._read_text(request, model))
        prompt, segments = await deadline.wait(reading)
        pauses_s = _pauses_s(segments, request.pause_s)
        if sum(pauses_s) > self._settings.max_pauses_s:
            raise InvalidRequestError(
                f"the pauses are {sum(pauses_s):,.0f} s together; at most {self._settings.max_pauses_s:,.0f} s are "
                "accepted: shorten [pause:...] or fragment_interval, or send the text in parts"
            )
        return _Prepared(model, audio, warnings, prompt, segments)

    async def _speak(
        self, admission: Admission, request: SynthesisRequest, deadline: Deadline, is_background: bool
    ) -> Synthesis:
        prepared = await self._prepare(request, deadline)
        worker = prepared.model.worker
        if is_background:
            worker = await run_in(self._model_pool, prepared.model.background_worker)
        segments = prepared.segments
        pauses_s = _pauses_s(segments, request.pause_s)
        seed = request.seed if request.seed is not None else secrets.randbelow(2**32)
        options = JobOptions(
            sampling=request.sampling,
            seed=seed,
            speed=request.speed,
            streaming_mode=request.streaming_mode,
            overlap_tokens=request.overlap_tokens,
            min_chunk_tokens=request.min_chunk_tokens,
            cfm_steps=request.cfm_steps,
            super_sampling=request.super_sampling,
            has_times=request.timestamps != "none",
            guard=request.guard if request.source is None else "off",
            max_takes=request.max_takes,
            candidates=request.candidates if request.source is None else 1,
        )
        speech = self._engine.synthesize(
            admission,
            worker,
            segments,
            prepared.prompt,
            prepared.voice.references,
            options,
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

    async def _voice_and_model(self, request: SynthesisRequest) -> tuple[Voice | None, Model]:
        """The voice that a request names, and the model that speaks for it."""
        if request.voice_id is None:
            return None, self._models.current
        voice = await asyncio.to_thread(self._library.voices.get, request.voice_id)
        if not voice.gpt_weights and not voice.sovits_weights:
            return voice, self._models.current
        weights = (voice.gpt_weights, voice.sovits_weights)
        return voice, await run_in(self._model_pool, lambda: self._models.pair(*weights))

    async def explain(self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False) -> Explanation:
        """What would be said of a text with the current model.

        Raises:
            InvalidRequestError: the text is too long, has nothing to read, or its language is not known.
        """
        self._check_text_length(text)
        symbols = self._models.current.spec.symbols
        read = partial(self._frontend.segments, text, language, symbols, split, read_emoji=read_emoji)
        segments = await run_in(self._text_pool, read)
        return explain(text, segments, symbols)

    def _check_text_length(self, text: str) -> None:
        limit = self._settings.max_text_characters
        if len(text) > limit:
            raise InvalidRequestError(f"text has {len(text)} characters; send at most {limit} at a time")

    def _read_text(self, request: SynthesisRequest, model: Model) -> tuple[Segment | None, list[Segment]]:
        self._check_text_length(request.text)
        self._check_prompt_length(request.prompt_text)
        symbols = model.spec.symbols
        if request.source is not None:
            segments = [self._read_source(request, symbols)]
        elif model.spec.flow_matching is not None and not request.prompt_text:
            raise InvalidRequestError(f"prompt_text is required with {model.version}: say what the reference says")
        else:
            segments = self._frontend.segments(
                request.text, request.text_lang, symbols, request.split_method, read_emoji=request.read_emoji
            )
        prompt = None
        if request.prompt_text:
            prompt = self._frontend.transcript(request.prompt_text, request.prompt_lang, symbols)
        return prompt, segments

    def _read_source(self, request: SynthesisRequest, symbols: SymbolSet) -> Segment:
        """What a recording says, as one segment; without a phoneme where nobody told."""
        if not request.text:
            return Segment(())
        return self._frontend.transcript(request.text, request.text_lang, symbols, field="text")

    def _read_warm_up_text(self) -> None:
        with contextlib.suppress(SovitsError):  # told when the text is spoken
            self._frontend.segments(_WARM_UP_TEXT, "zh", "v2", "cut5")

    async def _warm_up(self) -> None:
        """Speak once with the first voice that can; with none, the first request is merely slower."""
        for voice in await asyncio.to_thread(self._library.voices.list):
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

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep an uploaded clip as mono wav, whatever format it came in, with what is said of it.

        Args:
            owner: name of the API key, for its quota.
            trim: cut the clip to 3 to 10 s at silence where it is too long.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            InfectedUploadError, ScanUnavailableError: the virus scanner did not clear it.
            QuotaExceededError: the owner has too many uploads.
        """
        details = details or UploadDetails()
        await self._check_transcript(details.prompt_text, details.prompt_lang)
        await self.scan(data)
        return await self._library.add_reference(data, details, owner=owner, trim=trim)

    async def scan(self, data: bytes) -> None:
        """Have the virus scanner look at a file, where there is one.

        Raises:
            InfectedUploadError, ScanUnavailableError: it did not clear the file.
        """
        if self._scanner is not None:
            await self._scanner.scan(data)

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio:
        """A recording that is to be said in another voice; it is not kept.

        Args:
            data: the file's bytes; None takes the upload or the file under an allowed root that `name` means.
            owner: whose uploads it may be, where they are private; None is everybody's.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: it cannot be used.
            InvalidRequestError, ForbiddenError: there is no such file, or it is another owner's.
            InfectedUploadError, ScanUnavailableError: the virus scanner did not clear it.
        """
        if data is not None:
            await self.scan(data)
        return await self._library.decode_source(data, name, owner)

    async def check_voice(self, voice_id: str, emotion: str = "") -> ReferenceReport:
        """What would spoil the speech with a voice, or with one of its emotions.

        Raises:
            UnknownVoiceError: no such voice.
            InvalidRequestError: no such emotion.
            ReferenceAudioError, UnsupportedAudioError: the clip cannot be read.
            OverloadedError, DeadlineExceededError: the engine is full, or took too long.
        """
        voice = await self.get_voice(voice_id)
        name = next((known for known in voice.emotions if known.casefold() == emotion.strip().casefold()), "")
        if emotion and not name:
            raise InvalidRequestError("the voice has no such emotion; GET /voices lists those that it has")
        said = voice.emotions[name] if name else voice
        request = SynthesisRequest("", "", voice_id=voice_id, emotion=name)
        _, model = await self._voice_and_model(request)
        clips = await self._library.read_clips(request, voice)
        reference = await self._library.decode_clip(clips.references[0].data, "", None)
        return await self._check_reference(reference, UploadDetails(said.prompt_text, said.prompt_lang), model)

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport:
        """What would spoil the speech with a clip, which is not kept; as it was sent, or by its name.

        Args:
            details: what it says.
            owner: as for `decode_source`.

        Raises:
            As `decode_source`, but for length and silence, which are findings; as `check_voice` where there is no room.
        """
        details = details or UploadDetails()
        self._check_prompt_length(details.prompt_text)
        if data is not None:
            await self.scan(data)
        reference = await self._library.decode_clip(data, name, owner)
        return await self._check_reference(reference, details, self._models.current)

    async def _check_reference(
        self, reference: ReferenceAudio, details: UploadDetails, model: Model
    ) -> ReferenceReport:
        with self._engine.admit():
            return await self.deadline().wait(
                self._checks.check(reference, details.prompt_text, details.prompt_lang, model)
            )

    async def _check_transcript(self, text: str, language: str, *, is_own_model: bool = False) -> None:
        """Raise an InvalidRequestError for a transcript that no synthesis could use, when it comes and not later."""
        if not text:
            return
        self._check_prompt_length(text)
        symbols = "v2" if is_own_model else self._models.current.spec.symbols
        await run_in(self._text_pool, partial(self._frontend.transcript, text, language, symbols))

    def _check_prompt_length(self, text: str) -> None:
        limit = self._settings.max_prompt_characters
        if len(text) > limit:
            raise InvalidRequestError(f"prompt_text has {len(text):,} characters; at most {limit:,} are accepted")

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload; empty for anything else."""
        return await self._library.upload_details(name, owner)

    async def _sweep_objects(self) -> None:
        """Delete linked files that have expired; those in a bucket are its own lifecycle rule's business."""
        if isinstance(self.objects, LocalObjects):
            await asyncio.to_thread(self.objects.sweep, "audio", self._settings.objects.link_ttl_s)

    async def refresh_lexicon(self) -> None:
        """Reload the lexicon when its file has changed; an unusable file is logged."""
        await self._switches.refresh_lexicon()

    def _use_lexicon(self, lexicon: Lexicon) -> None:
        # Both at once as seen from the event loop, where answers get their place in the cache.
        self._frontend.use_lexicon(lexicon)
        self._lexicon_hash = lexicon.digest()

    async def list_voices(self) -> list[Voice]:
        """All usable voice templates, by id."""
        return await asyncio.to_thread(self._library.voices.list)

    async def get_voice(self, voice_id: str) -> Voice:
        """One voice template. Raises UnknownVoiceError."""
        return await asyncio.to_thread(self._library.voices.get, voice_id)

    async def put_voice(self, voice: Voice, editor: str | None = None) -> Voice:
        """Write a voice template; its clips are copied beside it.

        Args:
            voice: its clips by the names that the client gave them; its owner, where it is new.
            editor: name of the key that writes, which may change its own voices alone; None may change all.

        Raises:
            InvalidRequestError, ReferenceAudioError: a field or a clip cannot be used.
            ForbiddenError: the voice, or an upload that it names, is another owner's.
            QuotaExceededError: there are as many voices, or bytes of them, as the settings allow.
        """
        for weights in filter(None, (voice.gpt_weights, voice.sovits_weights)):
            self._models.require_registered(weights)
        said = [(voice.prompt_text, voice.prompt_lang)]
        said += [(emotion.prompt_text, emotion.prompt_lang) for emotion in voice.emotions.values()]
        for text, language in said:
            await self._check_transcript(text, language, is_own_model=bool(voice.sovits_weights))
        return await self._library.put_voice(voice, editor)

    async def delete_voice(self, voice_id: str, editor: str | None = None) -> None:
        """Delete a voice template and the clips kept for it. Raises UnknownVoiceError, ForbiddenError."""
        await self._library.delete_voice(voice_id, editor)

    async def set_gpt_weights(self, path: str) -> None:
        """Take another GPT for later requests, here and on all replicas. Raises as `Switches.weights`."""
        await self._switches.weights(gpt=path)

    async def set_sovits_weights(self, path: str) -> None:
        """Take another SoVITS for later requests, here and on all replicas. Raises as `Switches.weights`."""
        await self._switches.weights(sovits=path)

    async def set_default_reference(self, path: str, details: UploadDetails | None = None) -> None:
        """Set the reference of requests that name none. Raises as `Switches.default_reference`."""
        await self._switches.default_reference(path, details or UploadDetails())


async def _timed(chunks: AsyncGenerator[AudioChunk, None], clock: TextClock) -> AsyncGenerator[AudioChunk, None]:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield clock.add(chunk)


def _pauses_s(segments: Sequence[Segment], pause_s: float) -> list[float]:
    """The silence after each fragment: what the text asks for, else `pause_s` between two."""
    usual = [pause_s] * (len(segments) - 1) + [0.0]
    return [s.pause_s if s.pause_s is not None else length for s, length in zip(segments, usual, strict=True)]


def build_service(tts: TtsSettings, settings: ServiceSettings) -> SpeechService:
    """Put the parts together. Nothing is loaded before `start`.

    Raises:
        SettingsError: the lexicon cannot be read.
    """
    engine = Engine(max_jobs=settings.max_running + settings.max_queue, threads=choose_threads(settings.threads))
    lexicon_file = LexiconFile(settings.lexicon_path)
    digest = hashlib.sha256(importlib.metadata.version("sovits-service").encode())
    digest.update(tts.model_dump_json().encode())
    objects = open_objects(settings.objects)
    return SpeechService(
        settings=settings,
        models=ModelStore(tts, settings, engine.counters),
        engine=engine,
        frontend=Frontend(lexicon=lexicon_file.lexicon, g2pw_dir=tts.g2pw_dir),
        library=open_library(settings, objects),
        scanner=ClamdScanner(settings.uploads.clamd) if settings.uploads.clamd else None,
        results=open_cache(settings.cache),
        objects=objects,
        configuration_hash=digest.hexdigest(),
        lexicon_file=lexicon_file,
        replicas=open_replicas(settings.sharing),
    )
