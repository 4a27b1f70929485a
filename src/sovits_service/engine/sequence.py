"""A job (one request's segments) and its sequences. Private to the engine loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sovits_service.engine.source import Source
from sovits_service.types import AudioChunk, GuardMode, ReferenceAudio, SamplingParams, Segment, VoicePrompt

if TYPE_CHECKING:
    import torch

    from sovits_service.engine.guard import Take
    from sovits_service.models.kv_cache import CachedPrefix


# A stream that has just come goes before those whose listeners have this much to play, and after those that have less.
_FIRST_AUDIO_S = 0.25
_TAKE_STREAM = 2  # keeps the generators of further takes apart from those of tokens and of noise
# A stream whose listener has this much to play can spare the time that work in the background takes.
_AHEAD_S = 2.0


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a request asks of the engine, beside its text and voice; see SynthesisRequest."""

    sampling: SamplingParams
    seed: int
    speed: float = 1.0
    streaming_mode: int = 0
    overlap_tokens: int = 2
    min_chunk_tokens: int = 16
    cfm_steps: int = 32
    super_sampling: bool = False
    has_times: bool = False  # whether it is told when each phoneme is said
    guard: GuardMode = "off"
    max_takes: int = 1
    candidates: int = 1

    @property
    def streams_chunks(self) -> bool:
        return self.streaming_mode >= 2

    @property
    def is_judged(self) -> bool:
        """Whether takes are looked at for faults."""
        return self.guard != "off" or self.candidates > 1

    @property
    def needs_alignment(self) -> bool:
        return self.has_times or self.is_judged

    def wants_another(self, takes: Sequence[Take]) -> bool:
        """Whether a fragment that has these takes gets one more. What was streamed by chunks cannot be taken back."""
        if self.streams_chunks:
            return False
        is_faulty = all(take.faults for take in takes)
        return len(takes) < (self.max_takes if self.guard == "retry" and is_faulty else self.candidates)


@dataclass(slots=True, eq=False)
class DecodeSequence:
    """One take of a segment: its tokens so far and its place in the batch.

    Attributes:
        bert: (T_text, 1024) features of all phonemes, the prompt's first; from its preparation to its prefill, or
            until it is settled where it is aligned.
        prefix: what the GPT's first layers keep of its text and prompt, where it is to be aligned by them.
        takes: of the segment, where they are aligned or judged; this one's too when it has been.
        kept: the take whose tokens a settled one has.
        has_looped: whether it was ended since its tokens went in a circle.
        is_settled: whether its tokens are final: finished, and judged where that is asked for.
        is_prepared: whether it waits for nothing but a slot.
        prefix_length: phonemes and prompt tokens: what the cache holds before the first new token.
        launched: tokens that the device was asked for, some of which the host may not have read yet.
    """

    job: Job
    index: int
    segment: Segment
    rng: np.random.Generator
    prefix_length: int = 0
    max_new_tokens: int = 0
    launched: int = 0
    tokens: list[int] = field(default_factory=list)
    slot: int | None = None
    bert: torch.Tensor | None = None
    prefix: CachedPrefix | None = None
    is_prepared: bool = False
    is_finished: bool = False
    is_settled: bool = False
    has_looped: bool = False
    takes: list[Take] = field(default_factory=list)
    kept: Take | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One request inside the engine.

    Attributes:
        references: the reference clip, then the auxiliary ones.
        timbre: the clip whose timbre takes the place of the reference's; None where it has its own.
        source: a recording whose tokens are said, in place of new ones; None where the GPT draws them.
        prompt_segment: what the first reference says; None without a prompt.
        outbox: chunks, then an error or None for the end; filled from the engine's thread.
        voice_prompt: None until its voice is encoded.
        prompt_features: (1, channels, T) of what the reference says; v3 and v4 only.
        window: segments that may be started and not yet taken by the reader at any time.
        running: sequences that are started and not yet delivered, by index.
        held: chunks of segments whose turn has not come.
        consumed: segments that the reader has taken; written by the reader alone.
        runs_dry_s: when a listener in real time has heard all that was sent, on the clock of `time.monotonic`.
        is_background: nobody waits for it: it is worked on while no other job is waited for.
        is_cancelled: nobody reads any more; with `has_expired` since the request's deadline passed.
    """

    segments: Sequence[Segment]
    prompt_segment: Segment | None
    references: Sequence[ReferenceAudio]
    options: JobOptions
    window: int
    event_loop: asyncio.AbstractEventLoop
    is_background: bool = False
    timbre: ReferenceAudio | None = None
    source: Source | None = None
    outbox: asyncio.Queue[AudioChunk | Exception | None] = field(default_factory=asyncio.Queue)
    submitted_s: float = field(default_factory=time.monotonic)
    voice_prompt: VoicePrompt | None = None
    prompt_features: torch.Tensor | None = None
    running: dict[int, DecodeSequence] = field(default_factory=dict)
    held: dict[int, list[AudioChunk]] = field(default_factory=dict)
    next_to_start: int = 0
    next_to_deliver: int = 0
    has_delivered: bool = False
    consumed: int = 0
    is_cancelled: bool = False
    has_expired: bool = False
    runs_dry_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.runs_dry_s = self.submitted_s + _FIRST_AUDIO_S

    @property
    def has_voice(self) -> bool:
        """Whether all that is heard of clips is there: the voice, and the tokens of a recording."""
        return self.voice_prompt is not None and (self.source is None or self.source.is_read)

    @property
    def is_stream(self) -> bool:
        return self.options.streaming_mode > 0

    @property
    def urgency(self) -> tuple[bool, float]:
        """A sort key: streams before whole answers; whose listener runs dry first, and else the oldest."""
        return not self.is_stream, self.runs_dry_s if self.is_stream else self.submitted_s

    def is_awaited(self, now_s: float) -> bool:
        """Whether work for others now would be heard: not while its reader holds it back, or has enough to play."""
        has_work = bool(self.running) or self.can_start()
        return has_work and not (self.is_stream and self.has_delivered and self.runs_dry_s > now_s + _AHEAD_S)

    @property
    def is_delivered(self) -> bool:
        return self.next_to_deliver == len(self.segments)

    def can_start(self) -> bool:
        """Whether another segment may join: a stream starts with one, so that its first words do not wait."""
        window = 1 if self.options.streaming_mode and not self.has_delivered else self.window
        return self.next_to_start < len(self.segments) and self.next_to_start - self.consumed < window

    def start_next(self) -> DecodeSequence:
        """The next segment's sequence, with a generator of its own: the same draws whatever the batch holds."""
        index = self.next_to_start
        self.next_to_start += 1
        rng = np.random.default_rng([self.options.seed, index])
        sequence = self.running[index] = DecodeSequence(self, index, self.segments[index], rng)
        return sequence

    def start_again(self, sequence: DecodeSequence) -> DecodeSequence:
        """Another take of a segment, with random numbers of its own: the same whatever the batch holds."""
        rng = np.random.default_rng([self.options.seed, sequence.index, _TAKE_STREAM, len(sequence.takes)])
        again = DecodeSequence(self, sequence.index, sequence.segment, rng, bert=sequence.bert, takes=sequence.takes)
        self.running[sequence.index] = again
        return again

    def deliver(self, index: int, chunk: AudioChunk) -> None:
        """Send a chunk of a segment, in the order of the text: one that is early is held."""
        self.held.setdefault(index, []).append(chunk)
        while ready := self.held.pop(self.next_to_deliver, None):
            for item in ready:
                self._send_audio(item)
            if not ready[-1].is_fragment_end:
                break
            self.running.pop(self.next_to_deliver, None)
            self.next_to_deliver += 1

    def _send_audio(self, chunk: AudioChunk) -> None:
        now_s = time.monotonic()
        heard_s = max(self.runs_dry_s, now_s) if self.has_delivered else now_s
        self.runs_dry_s = heard_s + len(chunk.samples) / chunk.sample_rate_hz
        self.has_delivered = True
        self.send(chunk)

    def send(self, item: AudioChunk | Exception | None) -> None:
        """Hand an item to the reader; a reader whose event loop is gone has gone away."""
        try:
            self.event_loop.call_soon_threadsafe(self.outbox.put_nowait, item)
        except RuntimeError:
            self.is_cancelled = True
