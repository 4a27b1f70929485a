"""One loaded model with its running sequences; `ModelWorker.step` is the engine's main path."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch

from sovits_service.engine.aligner import AlignmentSource, Utterance
from sovits_service.engine.alignment import Alignment
from sovits_service.engine.guard import Guard, Take, best_take, loop_start, wave_faults
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import DecodeSequence, Job
from sovits_service.engine.stage import Stage, StageSet, Task
from sovits_service.engine.streaming import next_feed
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import WaveDecoder, WaveStream
from sovits_service.errors import OverloadedError, SovitsError, SynthesisError
from sovits_service.types import FAULT_KINDS, AudioChunk, FaultKind, FloatArray, PhonemeTimes, VoicePrompt

T = TypeVar("T")
log = logging.getLogger(__name__)
_FEW_CORES = 2  # where waves of a first chunk take all of them: half of them would take nearly twice as long
_PREFILLS_PER_STEP = 4
_LOOP_CHECK_TOKENS = 8
_WAVE_FAULT_COST = 4.0


@dataclass(slots=True)
class Counters:
    """Totals of all workers since the start, for metrics; written by the engine loop alone."""

    tokens: int = 0
    decode_steps: int = 0
    audio_s: float = 0.0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0
    prompts_known: int = 0
    prompts_encoded: int = 0
    prompt_encode_s: float = 0.0
    takes: int = 0
    faults: dict[FaultKind, int] = field(default_factory=lambda: dict.fromkeys(FAULT_KINDS, 0))


@dataclass(slots=True, eq=False)
class _Speech:
    """The waves of a sequence in the making.

    Attributes:
        parts: samples of its fragment that are not sent yet.
        fed_tokens: how many tokens the stream was given.
        is_busy: a stage works on the stream or its sequence, which are not to be touched meanwhile.
        wave_faults: what its whole waveform shows, where that is looked at.
    """

    stream: WaveStream
    parts: list[FloatArray] = field(default_factory=list)
    fed_tokens: int = 0
    is_busy: bool = False
    wave_faults: tuple[FaultKind, ...] = ()

    @property
    def is_waiting(self) -> bool:
        return not self.is_busy and self.stream.has_work


class ModelWorker:
    """Continuous batching over the jobs of one model.

    Args:
        runner: with the slots of this worker alone.
        aligner: tells when phonemes are said; None: nothing does.
        guard: judges takes, of jobs that ask for it.
        is_background: the jobs are such that nobody waits for; the engine steps it while no other worker is waited for,
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
        guard: Guard | None = None,
    ) -> None:
        self._aligner = aligner
        self._guard = guard or Guard(())
        self.counters = counters
        self.is_background = is_background
        self.decoder = decoder
        self._runner = runner
        self._features = features
        self._prompts = prompts
        self._scheduler = Scheduler(runner.slots.count)
        self._speech: dict[DecodeSequence, _Speech] = {}
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

    def decodes(self, cores: int) -> bool:
        """Whether the next step draws tokens: not while few cores make waves that a listener waits in silence for."""
        if not self._scheduler.running or cores > _FEW_CORES:
            return bool(self._scheduler.running)
        busy = [sequence.job for sequence, speech in self._speech.items() if speech.is_busy]
        return not any(job.is_stream and not job.has_delivered for job in busy)

    def is_awaited(self, now_s: float) -> bool:
        """Whether somebody waits for what runs here."""
        return any(job.is_awaited(now_s) for job in self._scheduler.jobs)

    def submit(self, job: Job) -> None:
        self._scheduler.submit(job)

    def pop_finished_jobs(self) -> list[Job]:
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
        has_decoded = self.decodes(stages.cores) and self._decode()
        self._feed_streams()
        self._finish_speech(stages.streams, are_streams=True)
        self._finish_speech(stages.answers, are_streams=False)
        return has_prefilled or has_decoded

    def fail(self, jobs: Sequence[Job], error: Exception) -> None:
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

    def _submit(self, stage: Stage, jobs: Sequence[Job], run: Callable[[], T], finish: Callable[[T], None]) -> None:
        """A unit of work in a stage: what goes wrong in it, or in taking its result, ends these jobs."""

        def guarded(result: T) -> None:
            with self._failing(jobs):
                finish(result)

        stage.submit(Task(self, lambda: self._runner.queue.beside(run), guarded, lambda error: self.fail(jobs, error)))

    @contextlib.contextmanager
    def _failing(self, jobs: Sequence[Job]) -> Iterator[None]:
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
                    sequence.is_finished = sequence.is_settled = True
                    self._scheduler.pass_by(sequence)
                else:
                    sequence.is_prepared = True
                self._speech[sequence] = _Speech(stream)

        self._submit(stage, [sequence.job], lambda: self._prepare(sequence), finish)

    def _prepare(self, sequence: DecodeSequence) -> tuple[torch.Tensor | None, WaveStream]:
        job = sequence.job
        assert job.voice_prompt is not None
        bert = sequence.bert  # of an earlier take
        if job.source is None and bert is None:
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
                    if not job.options.needs_alignment:
                        sequence.bert = None
        for batch in self._runner.batches(admitted):
            live = [item for item in batch if item.sequence.slot is not None]
            if live:
                with self._failing([item.sequence.job for item in live]):
                    self._runner.prefill(live)
        return bool(sequences)

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
        self._end_loops()
        for sequence in self._scheduler.running:
            if sequence.is_finished:
                self._scheduler.release(sequence)
                sequence.is_settled = not sequence.job.options.needs_alignment
        return bool(running)

    def _end_loops(self) -> None:
        """End sequences whose tokens repeat in a circle, at the second round, or behind what is fed already."""
        for sequence in self._scheduler.running:
            is_due = sequence.job.options.is_judged and len(sequence.tokens) % _LOOP_CHECK_TOKENS == 0
            if not is_due or sequence.is_finished or sequence.slot is None:
                continue
            again = loop_start(sequence.tokens)
            if again is not None:
                sequence.has_looped = sequence.is_finished = True
                del sequence.tokens[max(again, self._speech[sequence].fed_tokens) :]
                self._runner.release(sequence.slot)

    def _feed_streams(self) -> None:
        """Hand new tokens on, a chunk at a time."""
        for sequence, speech in self._speech.items():
            stream = speech.stream
            if speech.is_busy or stream.has_work:
                continue
            feed = next_feed(sequence, stream.emitted_tokens, stream.chunks, speech.fed_tokens)
            if feed is not None:
                speech.fed_tokens = feed.tokens
                stream.feed(sequence.tokens[: feed.tokens], is_final=feed.is_final)

    def _finish_speech(self, stage: Stage, *, are_streams: bool) -> None:
        """Judge or make waves of what is most urgent, of streams or of whole answers, where the stage is free."""
        if stage.is_busy:
            return
        unjudged = [s for s in self._speech if s.is_finished and not s.is_settled and not self._speech[s].is_busy]
        waiting = [s for s, speech in self._speech.items() if speech.is_waiting or s in unjudged]
        waiting = sorted((s for s in waiting if s.job.is_stream == are_streams), key=_urgency)
        if waiting and waiting[0] in unjudged:
            self._judge(stage, waiting[0])
        elif waiting:
            self._vocode(stage, [sequence for sequence in waiting if sequence not in unjudged])

    def _judge(self, stage: Stage, sequence: DecodeSequence) -> None:
        """Align a finished take and look for faults, before its waves are made."""
        self._speech[sequence].is_busy = True

        def finish(take: Take) -> None:
            if sequence in self._speech:
                self._speech[sequence].is_busy = False
                self._settle(sequence, take)

        self._submit(stage, [sequence.job], lambda: self._find_faults(sequence), finish)

    def _find_faults(self, sequence: DecodeSequence) -> Take:
        """Runs in a stage."""
        job = sequence.job
        assert job.voice_prompt is not None
        alignment = self._align(sequence)
        if not job.options.is_judged:
            return Take(tuple(sequence.tokens), alignment, (), 0.0)
        prompt_tokens = self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment)
        pace = self._guard.pace(job.prompt_segment, len(prompt_tokens))
        return self._guard.judge(sequence.segment, sequence.tokens, alignment, pace, has_looped=sequence.has_looped)

    def _settle(self, sequence: DecodeSequence, take: Take) -> None:
        """Keep the best take there is, or begin another."""
        sequence.takes.append(take)
        if sequence.job.options.is_judged:
            self.counters.takes += 1
            self._count_faults(take.faults)
        if not self._start_again(sequence):
            sequence.kept = best_take(sequence.takes)
            sequence.tokens = list(sequence.kept.tokens)
            sequence.bert = None
            sequence.is_settled = True

    def _start_again(self, sequence: DecodeSequence) -> bool:
        """Begin another take of a segment, where its job wants one."""
        job = sequence.job
        if not job.options.wants_another(sequence.takes):
            return False
        del self._speech[sequence]
        self._scheduler.begin_again(job.start_again(sequence))
        return True

    def _count_faults(self, faults: Sequence[FaultKind]) -> None:
        for kind in faults:
            self.counters.faults[kind] += 1

    def _vocode(self, stage: Stage, waiting: Sequence[DecodeSequence]) -> None:
        """Make the most urgent waves that wait."""
        streams = self.decoder.batch([self._speech[sequence].stream for sequence in waiting])
        if not streams:
            return
        sequences = [stream.sequence for stream in streams]
        for sequence in sequences:
            self._speech[sequence].is_busy = True
        jobs = [sequence.job for sequence in sequences]
        self._submit(stage, jobs, lambda: self._advance(streams), lambda pieces: self._take_waves(sequences, pieces))

    def _advance(self, streams: Sequence[WaveStream]) -> list[FloatArray]:
        """Make the next waves, and look for faults in those that are whole. Runs in a stage."""
        pieces = self.decoder.advance(streams)
        for stream, samples in zip(streams, pieces, strict=True):
            options, speech = stream.sequence.job.options, self._speech.get(stream.sequence)
            is_whole = (
                stream.is_final and not stream.has_work and not options.streams_chunks
            )  # chunks are sent, not kept
            if speech and options.is_judged and is_whole:
                speech.wave_faults = wave_faults(np.concatenate([*speech.parts, samples]), stream.sample_rate_hz)
        return pieces

    def _align(self, sequence: DecodeSequence) -> Alignment | None:
        job, bert = sequence.job, sequence.bert
        if self._aligner is None or bert is None or job.voice_prompt is None:
            return None
        prompt_tokens = self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment)
        reference = job.references[0]
        return self._aligner.align(
            Utterance(sequence.segment, bert, job.prompt_segment, prompt_tokens, sequence.tokens, reference)
        )

    def _take_waves(self, sequences: Sequence[DecodeSequence], pieces: Sequence[FloatArray]) -> None:
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

    def _collect(self, sequence: DecodeSequence, samples: FloatArray) -> None:
        """Send what may be heard: chunks as they come, else the fragment when it is whole."""
        speech, job = self._speech[sequence], sequence.job
        is_end = speech.stream.is_final and not speech.stream.has_work
        if is_end:
            if speech.wave_faults and self._takes_back(sequence, speech.wave_faults):
                return
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
            chunk = AudioChunk(samples, speech.stream.sample_rate_hz, is_end, is_last, fragment=sequence.index)
            if is_end:
                faults = sequence.kept.faults if sequence.kept else ()
                takes = len(sequence.takes) if job.options.is_judged else 0
                chunk = replace(chunk, times=_times(sequence), takes=takes, faults=faults)
            job.deliver(sequence.index, chunk)
        if job.is_delivered:
            self._remove(job)
            job.send(None)

    def _takes_back(self, sequence: DecodeSequence, faults: tuple[FaultKind, ...]) -> bool:
        """Note what the waves of the kept take show; returns whether another take is begun for it."""
        take = sequence.kept
        if take is None or set(faults) <= set(take.faults):  # decoded once more, since further takes were no better
            return False
        self._count_faults(faults)
        cost = take.cost + _WAVE_FAULT_COST * len(faults)
        sequence.kept = replace(take, faults=(*faults, *take.faults), cost=cost)
        sequence.takes[sequence.takes.index(take)] = sequence.kept
        return self._start_again(sequence)


def _times(sequence: DecodeSequence) -> PhonemeTimes | None:
    alignment = sequence.kept.alignment if sequence.kept else None
    if alignment is None:
        return None
    confidence = tuple(round(float(value), 3) for value in alignment.phoneme_confidence)
    starts, ends = tuple(alignment.starts.tolist()), tuple(alignment.ends.tolist())
    return PhonemeTimes(starts, ends, confidence, len(sequence.tokens))


def _urgency(sequence: DecodeSequence) -> tuple[bool, float, int]:
    """The most urgent job first, in the order of its text."""
    return *sequence.job.urgency, sequence.index
