"""One loaded model and all that runs on it: jobs in, chunks out, in units of work that the engine loop calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job, Sequence
from sovits_service.engine.streaming import is_chunk_ready
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import WaveDecoder, WaveStream
from sovits_service.errors import DeadlineExceededError, SovitsError, SynthesisError
from sovits_service.types import AudioChunk, FloatArray

log = structlog.get_logger(__name__)
_ADMISSIONS_PER_STEP = 4  # a prefill takes as long as several decode steps: those who run already do not wait for many


@dataclass(slots=True)
class Counters:
    """Totals of all lanes since the start, for metrics; written by the engine loop alone."""

    tokens: int = 0
    decode_steps: int = 0
    audio_s: float = 0.0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """A unit of work, and the jobs that fail with it."""

    run: Callable[[], None]
    jobs: Row[Job]


@dataclass(slots=True, eq=False)
class _Speech:
    """A sequence's stream, and the samples of its fragment that are not sent yet."""

    stream: WaveStream
    parts: list[FloatArray]


class Lane:
    """Continuous batching over the jobs of one model."""

    def __init__(
        self,
        runner: SemanticRunner,
        features: TextFeatures,
        prompts: PromptEncoder,
        decoder: WaveDecoder[Any],
        counters: Counters,
    ) -> None:
        self.counters = counters
        self.decoder = decoder
        self._runner = runner
        self._features = features
        self._prompts = prompts
        self._scheduler = Scheduler(runner.slots.count)
        self._speech: dict[Sequence, _Speech] = {}
        self._departed: list[Job] = []

    @property
    def is_idle(self) -> bool:
        return not self._scheduler.jobs

    @property
    def running_sequences(self) -> int:
        return len(self._scheduler.running)

    @property
    def waiting_jobs(self) -> int:
        return self._scheduler.waiting_jobs

    def submit(self, job: Job) -> None:
        self._scheduler.submit(job)

    def take_departed(self) -> list[Job]:
        """The jobs that have left since the last call, however they ended."""
        departed, self._departed = self._departed, []
        return departed

    def drop_abandoned(self, now_s: float) -> None:
        """Free what belongs to jobs whose reader went away or whose deadline has passed."""
        for job in self._scheduler.jobs:
            if job.is_cancelled:
                self.counters.cancelled += 1
            elif now_s > job.deadline_s:
                self.counters.expired += 1
                job.send(DeadlineExceededError("the request took longer than its deadline; send a shorter text"))
            else:
                continue
            self._remove(job)

    def step(self) -> Iterator[Work]:
        """One step: admit and prefill, one token for every running sequence, one piece of speech."""
        admitted = self._scheduler.admit(_ADMISSIONS_PER_STEP)
        if admitted:
            segments = [sequence.segment for sequence in admitted]
            yield Work(lambda: self._features.prepare(segments), [sequence.job for sequence in admitted])
        for sequence in admitted:
            if sequence.slot is not None:  # its job may have failed with an earlier segment
                yield Work(lambda sequence=sequence: self._prefill(sequence), [sequence.job])  # type: ignore[misc]
        running = [sequence for sequence in self._scheduler.running if not sequence.is_finished]
        if running:
            yield Work(lambda: self._decode(running), [sequence.job for sequence in running])
        for sequence in self._scheduler.running:
            if sequence.is_finished:
                self._scheduler.release(sequence)
        streams = self._feed_streams()
        if streams:
            batch = self.decoder.batch([self._speech[sequence].stream for sequence in streams])
            speaking = [stream.sequence for stream in batch]
            yield Work(lambda: self._speak(speaking), [sequence.job for sequence in speaking])

    def fail(self, jobs: Row[Job], error: Exception) -> None:
        """End jobs with an error; those that have ended already are left alone."""
        if not isinstance(error, SovitsError):
            log.error("engine_fault", exc_info=error)
            error = SynthesisError("the engine failed on this request; its log says why")
        for job in [job for job in self._scheduler.jobs if job in jobs]:
            for sequence in job.running.values():
                if sequence.slot is not None:
                    self._runner.clear(sequence.slot)
            self.counters.failed += 1
            self._remove(job)
            job.send(error)

    def fail_all(self, error: Exception) -> None:
        """End every job, at shutdown."""
        self.fail(self._scheduler.jobs, error)

    def _remove(self, job: Job) -> None:
        for sequence in job.running.values():
            self._speech.pop(sequence, None)
        self._scheduler.remove(job)
        self._departed.append(job)

    def _prefill(self, sequence: Sequence) -> None:
        job = sequence.job
        if job.voice_prompt is None:
            job.voice_prompt = self._prompts.encode(job.references)
        segments = [job.prompt_segment] if job.prompt_segment else []
        bert = self._features.features([*segments, sequence.segment])
        self._runner.prefill(sequence, bert, self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment))
        self._speech[sequence] = _Speech(self.decoder.open(sequence, job.voice_prompt), [])

    def _decode(self, running: Row[Sequence]) -> None:
        broken = self._runner.step(running, self._scheduler.batch_rows)
        self.counters.decode_steps += 1
        self.counters.tokens += len(running)
        if broken:
            jobs = [sequence.job for sequence in broken]
            self.fail(jobs, SynthesisError("the GPT gave a non-finite output for this request"))

    def _feed_streams(self) -> list[Sequence]:
        """Hand new tokens on; returns the sequences that have something to say, the most urgent first."""
        for sequence, speech in self._speech.items():
            stream = speech.stream
            if not stream.has_work and is_chunk_ready(sequence, stream.heard_tokens, stream.chunks):
                stream.feed(sequence.tokens, is_final=sequence.is_finished)
        waiting = [sequence for sequence, speech in self._speech.items() if speech.stream.has_work]
        return sorted(waiting, key=_urgency)

    def _speak(self, sequences: Row[Sequence]) -> None:
        for sequence, samples in zip(
            sequences, self.decoder.advance([self._speech[sequence].stream for sequence in sequences]), strict=True
        ):
            if not np.isfinite(samples).all():
                self.fail([sequence.job], SynthesisError("the decoder gave a non-finite output for this request"))
            elif sequence in self._speech:  # not of a job that failed with another of its sequences
                self.counters.audio_s += len(samples) / self._speech[sequence].stream.sample_rate_hz
                self._collect(sequence, samples)

    def _collect(self, sequence: Sequence, samples: FloatArray) -> None:
        """Send what may be heard: chunks as they come, else the fragment when it is whole."""
        speech, job = self._speech[sequence], sequence.job
        is_end = sequence.is_finished and speech.stream.is_final and not speech.stream.has_work
        if is_end:
            del self._speech[sequence]
        if job.options.streams_chunks:
            samples = np.clip(samples, -1.0, 1.0)
        else:
            speech.parts.append(samples)
            if not is_end:
                return
            samples = np.concatenate(speech.parts)
            # parity: a fragment that would clip is scaled as a whole.
            samples = samples / max(1.0, float(np.abs(samples).max(initial=0.0)))
        if is_end or len(samples):
            job.deliver(sequence.index, AudioChunk(samples, speech.stream.sample_rate_hz, is_end))
        if job.is_delivered:
            self._remove(job)
            job.send(None)


def _urgency(sequence: Sequence) -> tuple[bool, float, int]:
    """First words of streams before all else, then the oldest job, in the order of its text."""
    job = sequence.job
    is_first_word = job.options.streaming_mode > 0 and not job.has_delivered
    return not is_first_word, job.submitted_s, sequence.index
