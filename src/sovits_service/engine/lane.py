"""One loaded model and all that runs on it: jobs in, chunks out; `Lane.step` is the engine's main path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job, Sequence
from sovits_service.engine.streaming import next_feed
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import WaveDecoder, WaveStream
from sovits_service.errors import SovitsError, SynthesisError
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


@dataclass(slots=True, eq=False)
class _Speech:
    """A sequence's stream, the samples of its fragment that are not sent yet, and how many tokens it was fed."""

    stream: WaveStream
    parts: list[FloatArray]
    fed_tokens: int = 0


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

    def step(self) -> bool:
        """One step: admit, prefill, decode a token for every running sequence, vocode one piece of speech.

        An exception fails the jobs of the unit of work that raised it, and no others.

        Returns:
            Whether there was anything to do.
        """
        self._drop_abandoned()
        admitted = self._admit()
        for sequence in admitted:
            if sequence.slot is not None:  # its job may have failed with an earlier segment
                with self._failing([sequence.job]):
                    self._prefill(sequence)
        running = [sequence for sequence in self._scheduler.running if not sequence.is_finished]
        if running:
            with self._failing([sequence.job for sequence in running]):
                self._decode(running)
        self._release_finished()
        speaking = self._feed_streams()
        if speaking:
            with self._failing([sequence.job for sequence in speaking]):
                self._vocode(speaking)
        return bool(admitted or running or speaking)

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

    def reset(self, error: Exception) -> int:
        """End every job with an error and begin anew, whatever state an exception left; returns how many jobs."""
        jobs = self._scheduler.jobs
        self._scheduler = Scheduler(self._runner.slots.count)
        self._speech.clear()
        self._departed += jobs
        for job in jobs:
            job.send(error)
        for slot in range(self._runner.slots.count):
            self._runner.clear(slot)
        return len(jobs)

    @contextlib.contextmanager
    def _failing(self, jobs: Row[Job]) -> Iterator[None]:
        """A unit of work: what goes wrong in it ends these jobs, and the step goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the loop's edge: whatever it was, the others go on
            self.fail(jobs, error)

    def _drop_abandoned(self) -> None:
        """Free what belongs to jobs whose reader went away or waits no longer."""
        for job in self._scheduler.jobs:
            if job.is_cancelled:
                self.counters.expired += job.has_expired
                self.counters.cancelled += not job.has_expired
                self._remove(job)

    def _admit(self) -> list[Sequence]:
        """Give free slots to waiting segments, and compute the text features of all of them in one batch."""
        admitted = self._scheduler.admit(_ADMISSIONS_PER_STEP)
        if admitted:
            with self._failing([sequence.job for sequence in admitted]):
                self._features.prepare([sequence.segment for sequence in admitted])
        return admitted

    def _release_finished(self) -> None:
        for sequence in self._scheduler.running:
            if sequence.is_finished:
                self._scheduler.release(sequence)

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
        """Hand new tokens on; returns the sequences to vocode together now, the most urgent first."""
        for sequence, speech in self._speech.items():
            if not speech.stream.has_work:
                self._feed(sequence, speech)
        waiting = [sequence for sequence, speech in self._speech.items() if speech.stream.has_work]
        if not waiting:
            return []
        waiting.sort(key=_urgency)
        batch = self.decoder.batch([self._speech[sequence].stream for sequence in waiting])
        return [stream.sequence for stream in batch]

    def _feed(self, sequence: Sequence, speech: _Speech) -> None:
        stream = speech.stream
        feed = next_feed(sequence, stream.heard_tokens, stream.chunks, speech.fed_tokens)
        if feed is not None:
            speech.fed_tokens = feed.tokens
            stream.feed(sequence.tokens[: feed.tokens], is_final=feed.is_final)

    def _vocode(self, sequences: Row[Sequence]) -> None:
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
            is_last = is_end and sequence.index == len(job.segments) - 1
            job.deliver(sequence.index, AudioChunk(samples, speech.stream.sample_rate_hz, is_end, is_last))
        if job.is_delivered:
            self._remove(job)
            job.send(None)


def _urgency(sequence: Sequence) -> tuple[bool, float, int]:
    """Streams before whole answers: whose listener runs dry first; then the oldest job, in the order of its text."""
    job = sequence.job
    is_stream = job.options.streaming_mode > 0
    return not is_stream, job.runs_dry_s if is_stream else job.submitted_s, sequence.index
