"""One loaded model with its running sequences; `ModelWorker.step` is the engine's main path."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from sovits_service.engine.counters import Counters
from sovits_service.engine.guard import Take
from sovits_service.engine.judge import Judge
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import DecodeSequence, Job
from sovits_service.engine.speech import Speech
from sovits_service.engine.stage import Stage, StageSet, Task
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import WaveDecoder, WaveStream
from sovits_service.errors import OverloadedError, SovitsError, SynthesisError
from sovits_service.types import FloatArray, VoicePrompt

T = TypeVar("T")
log = logging.getLogger(__name__)
_FEW_CORES = 2  # where waves of a first chunk take all of them: half of them would take nearly twice as long
_PREFILLS_PER_STEP = 4
_ANSWER_SLOTS = 4  # on a CPU, where more rows hardly give more tokens per second, and waves take most of the time
_LOOP_CHECK_TOKENS = 8


class ModelWorker:
    """Continuous batching over the jobs of one model.

    Args:
        runner: with the slots of this worker alone.
        judge: of takes; None: one that aligns nothing and knows no punctuation marks.
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
        judge: Judge | None = None,
    ) -> None:
        self.counters = counters
        self.is_background = is_background
        self.decoder = decoder
        self.judge = judge or Judge(prompts, counters)
        self._runner = runner
        self._features = features
        self._prompts = prompts
        self._is_on_cpu = runner.device.type == "cpu"
        self._scheduler = self._new_scheduler()
        self._speech: dict[DecodeSequence, Speech] = {}
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
        for speech in self._speech.values():
            speech.feed()
        self._judge_or_vocode(stages.streams, are_streams=True)
        self._judge_or_vocode(stages.answers, are_streams=False)
        if self._is_on_cpu and stages.cores > 1 and not self._scheduler.running:
            self._judge_or_vocode(stages.more_answers, are_streams=False)
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
        self._scheduler = self._new_scheduler()
        self._speech.clear()
        self._departed += jobs
        for job in jobs:
            job.send(error)
        for slot in range(self._runner.slots.count):
            self._runner.clear(slot)
        return len(jobs)

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(self._runner.slots.count, _ANSWER_SLOTS if self._is_on_cpu else None)

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
                self._speech[sequence] = Speech(stream)

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
        # A pass takes as long as several steps, and those who run already wait for it, however many share it. A step
        # of the background has one pass, for the sake of a request that comes meanwhile.
        is_short = self.is_background or self._scheduler.running
        limit = self._runner.prefill_rows if is_short else _PREFILLS_PER_STEP
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
                    for item in live:
                        self.judge.prepare(item.sequence, self._runner)
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
        """End sequences whose tokens go in a circle, where they should have ended, or behind what is fed already."""
        for sequence in self._scheduler.running:
            is_due = sequence.job.options.is_judged and len(sequence.tokens) % _LOOP_CHECK_TOKENS == 0
            if not is_due or sequence.is_finished or sequence.slot is None:
                continue
            again = self.judge.loop_start(sequence)
            if again is not None:
                sequence.has_looped = sequence.is_finished = True
                del sequence.tokens[max(again, self._speech[sequence].fed_tokens) :]
                self._runner.release(sequence.slot)

    def _judge_or_vocode(self, stage: Stage, *, are_streams: bool) -> None:
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
                if self.judge.settle(sequence, take):
                    self._start_again(sequence)

        self._submit(stage, [sequence.job], lambda: self.judge.examine(sequence), finish)

    def _start_again(self, sequence: DecodeSequence) -> None:
        """Begin another take of a segment."""
        del self._speech[sequence]
        self._scheduler.begin_again(sequence.job.start_again(sequence))

    def _vocode(self, stage: Stage, waiting: Sequence[DecodeSequence]) -> None:
        """Make the most urgent waves that wait."""
        streams = self.decoder.batch([self._speech[sequence].stream for sequence in waiting])
        if not streams:
            return
        batch = [self._speech[stream.sequence] for stream in streams]
        for speech in batch:
            speech.is_busy = True

        def run() -> list[FloatArray]:
            pieces = self.decoder.advance(streams)
            for speech, samples in zip(batch, pieces, strict=True):
                speech.examine(samples)
            return pieces

        sequences = [speech.sequence for speech in batch]
        jobs = [sequence.job for sequence in sequences]
        self._submit(stage, jobs, run, lambda pieces: self._take_waves(sequences, pieces))

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
        """Send what may be heard, unless its waves are so faulty that the segment is spoken again."""
        speech, job = self._speech[sequence], sequence.job
        if speech.is_whole:
            if speech.wave_faults and self.judge.takes_back(sequence, speech.wave_faults):
                self._start_again(sequence)
                return
            del self._speech[sequence]
        chunk = speech.take(samples)
        if chunk is not None:
            job.deliver(sequence.index, chunk)
        if job.is_delivered:
            self._remove(job)
            job.send(None)


def _urgency(sequence: DecodeSequence) -> tuple[bool, float, int]:
    """The most urgent job first, in the order of its text."""
    return *sequence.job.urgency, sequence.index
