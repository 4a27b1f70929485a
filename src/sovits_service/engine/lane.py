"""One loaded model with its running sequences; `Lane.step` is the engine's main path."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Row
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from sovits_service.engine.aligner import AlignmentSource, Utterance
from sovits_service.engine.alignment import Alignment
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job, Sequence
from sovits_service.engine.stage import Stage, StageSet, Task
from sovits_service.engine.streaming import next_feed
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import WaveDecoder, WaveStream
from sovits_service.errors import OverloadedError, SovitsError, SynthesisError
from sovits_service.types import AudioChunk, FloatArray, PhonemeTimes, VoicePrompt

T = TypeVar("T")
log = logging.getLogger(__name__)
_PREFILLS_PER_STEP = 4


@dataclass(slots=True)
class Counters:
    """Totals of all lanes since the start, for metrics; written by the engine loop alone."""

    tokens: int = 0
    decode_steps: int = 0
    audio_s: float = 0.0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0
    prompts_known: int = 0
    prompts_encoded: int = 0
    prompt_encode_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Speech:
    """The waves of a sequence in the making.

    Attributes:
        parts: samples of its fragment that are not sent yet.
        fed_tokens: how many tokens the stream was given.
        is_busy: a stage works on the stream, which is not to be touched meanwhile.
    """

    stream: WaveStream
    parts: list[FloatArray] = field(default_factory=list)
    fed_tokens: int = 0
    is_busy: bool = False

    @property
    def is_waiting(self) -> bool:
        return not self.is_busy and self.stream.has_work


class Lane:
    """Continuous batching over the jobs of one model.

    Args:
        runner: with the slots of this lane alone.
        aligner: tells when phonemes are said; None: nothing does.
        is_background: the jobs are such that nobody waits for; the engine steps it while no other lane is waited for,
            and between two steps it stands still, whatever is running in it.
    """

    def __init__(
        self,
        runner: SemanticRunner,
        features: TextFeatures,
        prompts: PromptEncoder,
        decoder: WaveDecoder[Any],
        counters: Counters,
        *,
        is_background: bool = False,
        aligner: AlignmentSource | None = None,
    ) -> None:
        self._aligner = aligner
        self.counters = counters
        self.is_background = is_background
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
    def slots(self) -> int:
        return self._runner.slots.count

    @property
    def running_sequences(self) -> int:
        return len(self._scheduler.running)

    @property
    def waiting_jobs(self) -> int:
        return self._scheduler.waiting_jobs

    def is_awaited(self, now_s: float) -> bool:
        """Whether somebody waits for what runs here."""
        return any(job.is_awaited(now_s) for job in self._scheduler.jobs)

    def submit(self, job: Job) -> None:
        self._scheduler.submit(job)

    def take_departed(self) -> list[Job]:
        """The jobs that have left since the last call, however they ended."""
        departed, self._departed = self._departed, []
        return departed

    def step(self, stages: StageSet) -> bool:
        """One step, of which prefill and decoding run here, and the rest beside it in stages.

        An exception fails the jobs of the unit of work that raised it, and no others.

        Returns:
            Whether anything ran here: then there may be more to do at once.
        """
        self._drop_abandoned()
        self._encode_voices(stages.voices)
        self._prepare_texts(stages.texts)
        has_prefilled = self._prefill()
        has_decoded = not self._would_delay_first_chunk(stages) and self._decode()
        self._feed_streams()
        self._vocode(stages.streams, are_streams=True)
        self._vocode(stages.answers, are_streams=False)
        return has_prefilled or has_decoded

    def fail(self, jobs: Row[Job], error: Exception) -> None:
        """End jobs with an error; those that have ended already are left alone."""
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            log.warning("out_of_memory", exc_info=error)
            traceback.clear_frames(error.__traceback__)  # they hold what was computed so far
            self._runner.queue.free_memory()
            error = OverloadedError("there is no memory left for this request; try again", retry_after_s=5.0)
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
        """End every job with an error and start over, whatever state an exception left; returns how many jobs."""
        jobs = self._scheduler.jobs
        self._scheduler = Scheduler(self._runner.slots.count)
        self._speech.clear()
        self._departed += jobs
        for job in jobs:
            job.send(error)
        for slot in range(self._runner.slots.count):
            self._runner.clear(slot)
        return len(jobs)

    def _submit(self, stage: Stage, jobs: Row[Job], run: Callable[[], T], finish: Callable[[T], None]) -> None:
        """A unit of work in a stage: what goes wrong in it, or in taking its result, ends these jobs."""

        def guarded(result: T) -> None:
            with self._failing(jobs):
                finish(result)

        stage.submit(Task(self, lambda: self._runner.queue.beside(run), guarded, lambda error: self.fail(jobs, error)))

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

    def _remove(self, job: Job) -> None:
        for sequence in job.running.values():
            self._speech.pop(sequence, None)
            if sequence.slot is not None:
                self._runner.release(sequence.slot)
        self._scheduler.remove(job)
        self._departed.append(job)

    def _encode_voices(self, stage: Stage) -> None:
        """Give known voices to the jobs that name them, and encode the most urgent new one.

        Or read a stretch of the most urgent recording: others' voices do not wait for the whole of it.
        """
        waiting = [job for job in self._scheduler.jobs if job.voice_prompt is None]
        for job in waiting:
            job.voice_prompt = self._prompts.known(job.references, job.timbre)
            self.counters.prompts_known += job.voice_prompt is not None
        unread = [job for job in self._scheduler.jobs if not job.has_voice]
        if not unread or stage.is_busy:
            return
        job = min(unread, key=lambda job: job.urgency)
        source = job.source
        if job.voice_prompt is not None and source is not None:
            self._submit(stage, [job], lambda: self._prompts.read(source), source.take)
            return
        started_s = time.monotonic()

        def finish(prompt: VoicePrompt) -> None:
            job.voice_prompt = prompt
            self.counters.prompts_encoded += 1
            self.counters.prompt_encode_s += time.monotonic() - started_s

        self._submit(stage, [job], lambda: self._prompts.encode(job.references, job.timbre), finish)

    def _prepare_texts(self, stage: Stage) -> None:
        """Compute the text features of the next segment, and open its stream."""
        if stage.is_busy or self._is_backed_up:
            return
        sequence = self._scheduler.begin()
        if sequence is None:
            return

        def finish(prepared: tuple[torch.Tensor | None, WaveStream]) -> None:
            if self._scheduler.holds(sequence):
                sequence.bert, stream = prepared
                if sequence.job.source is not None:
                    sequence.tokens += sequence.job.source.tokens
                    sequence.is_finished = True
                    self._scheduler.pass_by(sequence)
                else:
                    sequence.is_prepared = True
                self._speech[sequence] = _Speech(stream)

        self._submit(stage, [sequence.job], lambda: self._prepare(sequence), finish)

    def _prepare(self, sequence: Sequence) -> tuple[torch.Tensor | None, WaveStream]:
        job = sequence.job
        assert job.voice_prompt is not None
        bert = None
        if job.source is None:
            segments = [job.prompt_segment] if job.prompt_segment else []
            bert = self._features.features([*segments, sequence.segment])
        return bert, self.decoder.open(sequence, job.voice_prompt)

    @property
    def _is_backed_up(self) -> bool:
        """Whether so much speech waits for its waves that no more should be begun."""
        return len(self._speech) >= 2 * self._runner.slots.count

    def _prefill(self) -> bool:
        """Take prepared segments into free slots; returns whether there were any."""
        # A pass takes as long as several steps, and those who run already wait for it, however many share it.
        limit = self._runner.prefill_rows if self._scheduler.running else _PREFILLS_PER_STEP
        sequences = self._scheduler.admit(limit)
        admitted = []
        for sequence in sequences:
            if sequence.slot is not None:  # its job may have failed with an earlier segment
                with self._failing([sequence.job]):
                    job, bert = sequence.job, sequence.bert
                    assert job.voice_prompt is not None
                    assert bert is not None
                    prompt_tokens = self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment)
                    admitted.append(self._runner.admit(sequence, bert, prompt_tokens))
                    if not job.options.has_times:
                        sequence.bert = None
        for batch in self._runner.batches(admitted):
            live = [item for item in batch if item.sequence.slot is not None]
            if live:
                with self._failing([item.sequence.job for item in live]):
                    self._runner.prefill(live)
        return bool(sequences)

    def _would_delay_first_chunk(self, stages: StageSet) -> bool:
        """Whether further tokens would take the only core from waves that a listener waits in silence for."""
        if stages.cores > 1 or not stages.streams.is_busy:
            return False
        busy = [sequence.job for sequence, speech in self._speech.items() if speech.is_busy]
        return any(job.is_stream and not job.has_delivered for job in busy)

    def _decode(self) -> bool:
        """Draw a token for every running sequence; returns whether there were any."""
        running = [sequence for sequence in self._scheduler.running if not sequence.is_finished]
        if running:
            with self._failing([sequence.job for sequence in running]):
                drawn = self._runner.step(running, self._scheduler.batch_rows)
                self.counters.decode_steps += 1
                self.counters.tokens += drawn.tokens
                if drawn.broken:
                    jobs = [sequence.job for sequence in drawn.broken]
                    self.fail(jobs, SynthesisError("the GPT gave a non-finite output for this request"))
        for sequence in self._scheduler.running:
            if sequence.is_finished:
                self._scheduler.release(sequence)
        return bool(running)

    def _feed_streams(self) -> None:
        """Hand new tokens on, a chunk at a time."""
        for sequence, speech in self._speech.items():
            stream = speech.stream
            if speech.is_busy or stream.has_work:
                continue
            feed = next_feed(sequence, stream.heard_tokens, stream.chunks, speech.fed_tokens)
            if feed is not None:
                speech.fed_tokens = feed.tokens
                stream.feed(sequence.tokens[: feed.tokens], is_final=feed.is_final)

    def _vocode(self, stage: Stage, *, are_streams: bool) -> None:
        """Make the most urgent waves that wait, of streams or of whole answers, where the stage is free."""
        if stage.is_busy:
            return
        waiting = [s for s, speech in self._speech.items() if speech.is_waiting and s.job.is_stream == are_streams]
        if not waiting:
            return
        waiting.sort(key=_urgency)
        streams = self.decoder.batch([self._speech[sequence].stream for sequence in waiting])
        if not streams:
            return
        sequences = [stream.sequence for stream in streams]
        for sequence in sequences:
            self._speech[sequence].is_busy = True
        jobs = [sequence.job for sequence in sequences]
        self._submit(stage, jobs, lambda: self._advance(streams), lambda pieces: self._take_waves(sequences, pieces))

    def _advance(self, streams: Row[WaveStream]) -> list[FloatArray]:
        """Align what is finished, which needs no waves, and make the next waves. Runs in a stage."""
        for stream in streams:
            if stream.is_final and stream.sequence.bert is not None:
                stream.sequence.alignment = self._align(stream.sequence)
                stream.sequence.bert = None
        return self.decoder.advance(streams)

    def _align(self, sequence: Sequence) -> Alignment | None:
        job, bert = sequence.job, sequence.bert
        if self._aligner is None or bert is None or job.voice_prompt is None:
            return None
        prompt_tokens = self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment)
        reference = job.references[0]
        return self._aligner.align(
            Utterance(sequence.segment, bert, job.prompt_segment, prompt_tokens, sequence.tokens, reference)
        )

    def _take_waves(self, sequences: Row[Sequence], pieces: Row[FloatArray]) -> None:
        for sequence, samples in zip(sequences, pieces, strict=True):
            speech = self._speech.get(sequence)
            if speech is None:  # its job has ended, perhaps with another of its sequences
                continue
            speech.is_busy = False
            if not np.isfinite(samples).all():
                self.fail([sequence.job], SynthesisError("the decoder gave a non-finite output for this request"))
            else:
                self.counters.audio_s += len(samples) / speech.stream.sample_rate_hz
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
            times = _times(sequence) if is_end else None
            chunk = AudioChunk(samples, speech.stream.sample_rate_hz, is_end, is_last, times, sequence.index)
            job.deliver(sequence.index, chunk)
        if job.is_delivered:
            self._remove(job)
            job.send(None)


def _times(sequence: Sequence) -> PhonemeTimes | None:
    alignment = sequence.alignment
    if alignment is None:
        return None
    confidence = tuple(round(float(value), 3) for value in alignment.phoneme_confidence)
    starts, ends = tuple(alignment.starts.tolist()), tuple(alignment.ends.tolist())
    return PhonemeTimes(starts, ends, confidence, len(sequence.tokens))


def _urgency(sequence: Sequence) -> tuple[bool, float, int]:
    """The most urgent job first, in the order of its text."""
    return *sequence.job.urgency, sequence.index
