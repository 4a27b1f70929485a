"""A small service with the methods of SpeechService, for tests of the HTTP layer.

It speaks: each character is a tone whose pitch comes from the voice and the character, so that a test hears in the
audio which voice said which text.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sovits_service.audio.load import decode_reference, decode_source
from sovits_service.audio.quality import find_faults
from sovits_service.deadline import Deadline
from sovits_service.errors import (
    DeadlineExceededError,
    InfectedUploadError,
    InvalidRequestError,
    OverloadedError,
    ReferenceAudioError,
    SynthesisError,
    UnknownVoiceError,
    UnsupportedAudioError,
)
from sovits_service.service.voice_library import StoredReference
from sovits_service.storage.objects.objects import ObjectStore
from sovits_service.storage.replicas.shared_flights import SharedFlights
from sovits_service.storage.replicas.shared_limits import SharedLimits
from sovits_service.storage.results.cache import ResultCache
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.text.explain import Explanation, explain
from sovits_service.text.frontend import Frontend
from sovits_service.types import (
    FAULT_KINDS,
    AudioChunk,
    Fingerprint,
    ModelVersion,
    ReferenceAudio,
    ReferenceFinding,
    ReferenceReport,
    SplitMethod,
    Synthesis,
    SynthesisRequest,
    TimedText,
    Voice,
)

T = TypeVar("T")
RATE_HZ = 32_000
_FAILURES = {
    "late": DeadlineExceededError("the request took longer than its deadline; send less text"),
    "broken": SynthesisError("the model's output is not finite; try again, or with another seed"),
    "bug": RuntimeError("/home/someone/secret.wav"),
    "noise": UnsupportedAudioError("the reference is in no audio format that is accepted"),
}
CHARACTER_S = 0.05
CHARACTER_SAMPLES = int(RATE_HZ * CHARACTER_S)


def pitch_hz(voice: str, character: str) -> float:
    """A pitch from 200 to 8,000 Hz, a different one for nearly every pair."""
    digest = hashlib.sha256(f"{voice}\0{character}".encode()).digest()
    return 200.0 + int.from_bytes(digest[:4], "big") % 7_800


def tone(voice: str, text: str) -> npt.NDArray[np.float32]:
    times_s = np.arange(CHARACTER_SAMPLES) / RATE_HZ
    pieces = [0.5 * np.sin(2 * np.pi * pitch_hz(voice, character) * times_s) for character in text]
    return np.concatenate(pieces).astype(np.float32)


def heard(samples: npt.NDArray[np.floating], count: int) -> list[float]:
    """The pitch of each character of `count`, measured in the audio."""
    window = np.hanning(CHARACTER_SAMPLES)
    pitches = []
    for index in range(count):
        piece = samples[index * CHARACTER_SAMPLES : (index + 1) * CHARACTER_SAMPLES] * window
        spectrum = np.abs(np.fft.rfft(piece, 8 * CHARACTER_SAMPLES))
        pitches.append(float(np.argmax(spectrum)) * RATE_HZ / (8 * CHARACTER_SAMPLES))
    return pitches


def _words_that_end(pieces: Sequence[str], index: int) -> tuple[TimedText, ...]:
    """The words of a text that end with one of its pieces."""
    end = sum(len(piece) for piece in pieces[: index + 1])
    start = end - len(pieces[index])
    return tuple(
        TimedText(word[0], *word.span(), word.start() * CHARACTER_S, word.end() * CHARACTER_S, 1.0)
        for word in re.finditer(r"\w+", "".join(pieces))
        if start < word.end() <= end
    )


class _Chunks(AsyncGenerator[AudioChunk, None]):
    """Chunks of which the first exists already; waiting for them spends the deadline."""

    def __init__(self, rest: AsyncGenerator[AudioChunk, None], deadline: Deadline) -> None:
        self._first: AudioChunk | None = None
        self._rest = rest
        self._deadline = deadline

    async def begin(self) -> None:
        try:
            self._first = await self._deadline.wait(anext(self._rest))
        except BaseException:
            await self._rest.aclose()
            raise

    async def asend(self, value: None) -> AudioChunk:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._deadline.wait(anext(self._rest))

    async def athrow(self, *error: Any) -> AudioChunk:
        return await self._rest.athrow(*error)

    async def aclose(self) -> None:
        await self._rest.aclose()


@dataclass
class FastService:
    """Voices in memory, one chunk per character when streaming.

    Attributes:
        gate: when set, every chunk after the first waits for one permit, so that a test steps through a stream.
        last_gate: when set, a synthesis ends only with it, after its last chunk.
        places: syntheses that may run at once; one more is refused.
        pace_s: what a chunk takes.
        keeps_requests: remember what was asked.
        tells_words: whether a request with `timestamps`, of which each word is a fragment, gets the times of its words.
    """

    version: ModelVersion = "v2"
    is_ready: bool = True
    is_alive: bool = True
    results: ResultCache | None = None
    objects: ObjectStore | None = None
    limits: SharedLimits | None = None
    flights: SharedFlights | None = None
    weights_hash: str = "weights"
    gate: asyncio.Semaphore | None = None
    last_gate: asyncio.Event | None = None
    places: int = 1_000
    pace_s: float = 0.0
    keeps_requests: bool = True
    tells_words: bool = True
    started: int = 0
    closed: int = 0
    most_running: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    closed_early: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[SynthesisRequest] = field(default_factory=list)
    templates: dict[str, Voice] = field(default_factory=dict)
    references: dict[str, bytes] = field(default_factory=dict)
    details: dict[tuple[str, str], UploadDetails] = field(default_factory=dict)
    switched: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.voices = FastVoices(self)
        self.switches = FastSwitches(self)

    def stats(self) -> Mapping[str, float]:
        running = self.started - self.closed
        return {
            "ready": float(self.is_ready),
            "stuck": 0.0,
            "queue_depth": 0,
            "active_requests": running,
            "running_sequences": running,
            "batch_occupancy": running / max(1, self.places),
            "device_memory_bytes": 0,
            "semantic_tokens_total": self.started * 25,
            "decode_steps_total": self.started * 25,
            "audio_seconds_total": self.closed,
            "cancelled_total": 0,
            "expired_total": 0,
            "failed_total": 0,
            "prompts_known_total": self.started,
            "prompts_encoded_total": 0,
            "prompt_encode_seconds_total": 0.0,
            "rejected_total": 0,
            "takes_total": 0,
            **{f"takes_{kind}_total": 0 for kind in FAULT_KINDS},
        }

    @property
    def computation(self) -> Mapping[str, str]:
        return {"backend": "onnx", "precision": "int8"} if self.is_ready else {}

    @property
    def periodic_failures(self) -> Mapping[str, int]:
        return {"follow_voices": 2}

    async def resolve(self, request: SynthesisRequest) -> SynthesisRequest:
        return request

    async def fingerprint(self, request: SynthesisRequest) -> Fingerprint:
        name = request.ref_audio or f"voices/{request.voice_id}.wav"
        content = self.references.get(name, name.encode())
        timbre = hashlib.sha256(self.references.get(request.timbre_ref_audio, b"")).hexdigest()
        hashes = (hashlib.sha256(content).hexdigest(),)
        return Fingerprint(hashes, (self.weights_hash,), timbre if request.timbre_ref_audio else "")

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None:
        self._admit()
        self._judge(request)

    def _admit(self) -> None:
        if not self.is_ready or self.started - self.closed >= self.places:
            raise OverloadedError("the queue is full; try again", 2.5)

    def _judge(self, request: SynthesisRequest) -> None:
        if request.source is not None:
            return
        if (
            request.ref_audio
            and request.ref_audio not in self.references
            and not request.ref_audio.startswith("voices/")
        ):
            raise InvalidRequestError("ref_audio_path is not a file under an allowed root, nor an upload")
        text = request.text
        if not any(character.isalnum() for character in text):
            raise InvalidRequestError("text has nothing to read; send words in the language of text_lang")
        for word, error in _FAILURES.items():
            if text.startswith(word):
                raise error

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        deadline = deadline or Deadline(request.timeout_s or 300.0)
        self._admit()
        if self.keeps_requests:
            self.requests.append(request)
        self._judge(request)
        self.started += 1
        self.most_running = max(self.most_running, self.started - self.closed)
        self.began.set()
        chunks = _Chunks(self._chunks(request), deadline)
        await chunks.begin()
        seed = 1234 if request.seed is None else request.seed
        warnings = ("the reference is quiet (−40 dB)",) if request.ref_audio == "voices/quiet.wav" else ()
        return Synthesis(RATE_HZ, seed, chunks, request.text.count("😀"), warnings)

    @property
    def is_awaited(self) -> bool:
        return False

    async def in_background(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def _chunks(self, request: SynthesisRequest) -> AsyncGenerator[AudioChunk, None]:
        voice = request.voice_id or request.ref_audio
        text = request.text if request.source is None else "aa"
        pieces = [text] if request.streaming_mode == 0 else list(text)
        finished = False
        try:
            for index, piece in enumerate(pieces):
                if self.gate is not None and (index > 0 or request.streaming_mode == 0):
                    await self.gate.acquire()
                await asyncio.sleep(self.pace_s)
                if piece == "\N{BOMB}":
                    raise SynthesisError("the model's output is not finite; try again, or with another seed")
                is_last = index == len(pieces) - 1
                words = _words_that_end(pieces, index) if request.timestamps != "none" else ()
                is_end = is_last or bool(words)
                told = words if self.tells_words else ()
                is_told = request.timestamps != "none" and request.streaming_mode == 0
                cue = TimedText(text, 0, len(text), 0.0, len(text) * CHARACTER_S, 1.0) if is_told else None
                yield AudioChunk(tone(voice, piece), RATE_HZ, is_end, is_last, words=told, cue=cue)
            if self.last_gate is not None:
                await self.last_gate.wait()
            finished = True
        finally:
            self.closed += 1
            if not finished:
                self.closed_early.set()

    async def explain(self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False) -> Explanation:
        segments = Frontend().segments(text, language, "v2", split, read_emoji=read_emoji)
        return explain(text, segments, "v2")


class FastVoices:
    """Voices and uploads of a FastService."""

    def __init__(self, service: FastService) -> None:
        self._service = service
        self.default_reference: str | None = None
        self.default_details = UploadDetails()

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio:
        if data is None and name not in self._service.references:
            raise InvalidRequestError("the recording is not a file under an allowed root, nor an upload")
        return decode_source(self._service.references[name] if data is None else data)

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport:
        if data is None and name not in self._service.references:
            raise InvalidRequestError("ref_audio_path is not a file under an allowed root, nor an upload")
        findings = find_faults(decode_reference(self._service.references[name] if data is None else data))
        said = (details or UploadDetails()).prompt_text
        return ReferenceReport(tuple(findings), {} if said else {"transcript": "there is none"})

    async def check(self, voice_id: str, emotion: str = "") -> ReferenceReport:
        voice = await self.get(voice_id)
        if emotion and emotion not in voice.emotions:
            raise InvalidRequestError("the voice has no such emotion; GET /voices lists those that it has")
        span = (0, len(voice.prompt_text))
        found = ReferenceFinding("transcript_differs", "warning", "transcript: ...", 0.5, 1.25, span)
        return ReferenceReport((found,), {})

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails:
        return self._service.details.get((name, owner), UploadDetails())

    async def scan(self, data: bytes) -> None:
        if data == b"virus":
            raise InfectedUploadError("the virus scanner found something in the file; it was not kept")

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        await self.scan(data)
        if not data.startswith(b"RIFF"):
            raise UnsupportedAudioError("the file is in no audio format that is accepted")
        duration_s = (len(data) - 44) / 2 / RATE_HZ
        if trim:
            duration_s = min(duration_s, 10.0)
        if not 3.0 <= duration_s <= 10.0:
            raise ReferenceAudioError(f"the reference is {duration_s:.1f} s; it must be 3 to 10 s")
        reference_id = hashlib.sha256(data).hexdigest()
        self._service.references[reference_id] = data
        self._service.details[reference_id, owner] = details or UploadDetails()
        return StoredReference(reference_id, reference_id, len(data), duration_s, ("the reference is quiet",))

    async def all(self) -> list[Voice]:
        return list(self._service.templates.values())

    async def get(self, voice_id: str) -> Voice:
        if voice_id not in self._service.templates:
            raise UnknownVoiceError("there is no voice of this id; GET /voices lists them")
        return self._service.templates[voice_id]

    async def put(self, voice: Voice, editor: str | None = None) -> Voice:
        if not voice.voice_id.replace("_", "").replace("-", "").isalnum():
            raise InvalidRequestError("a voice's id is made of letters, digits, _ and -")
        known = self._service.templates.get(voice.voice_id)
        if voice.ref_audio not in self._service.references and (known is None or voice.ref_audio != known.ref_audio):
            raise InvalidRequestError("ref_audio_path is not a file under an allowed root, nor an upload")
        self._service.templates[voice.voice_id] = replace(voice, ref_audio=f"{voice.voice_id}.wav")
        return self._service.templates[voice.voice_id]

    async def delete(self, voice_id: str, editor: str | None = None) -> None:
        await self.get(voice_id)
        del self._service.templates[voice_id]


class FastSwitches:
    """Remembers what was switched, in `FastService.switched`."""

    def __init__(self, service: FastService) -> None:
        self._service = service

    async def weights(self, *, gpt: str | None = None, sovits: str | None = None) -> None:
        for what, path in (("gpt", gpt), ("sovits", sovits)):
            if path is not None:
                self._switch(what, path)

    async def default_reference(self, path: str, details: UploadDetails | None = None) -> None:
        self._switch("reference", path)
        voices = self._service.voices
        voices.default_reference, voices.default_details = path, details or UploadDetails()

    def _switch(self, what: str, path: str) -> None:
        if path.startswith("/"):
            raise InvalidRequestError("not among the registered files")
        self._service.switched.append((what, path))
