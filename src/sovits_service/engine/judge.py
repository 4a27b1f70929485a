"""Judge finished takes of a fragment: align them, look for faults, keep the best or ask for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sovits_service.engine.aligner import AlignmentSource, Utterance
from sovits_service.engine.counters import Counters
from sovits_service.engine.guard import Guard, Take, best_take
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import DecodeSequence, Job
from sovits_service.types import FaultKind

_WAVE_FAULT_COST = 4.0


class Judge:
    """Judges the takes of jobs that ask for times or for the guard.

    Args:
        prompts: knows the prompt tokens of voices.
        counters: where takes and faults are counted.
        guard: finds faults; None: it knows no punctuation marks.
        aligner: tells when phonemes are said; None: nothing does.
    """

    def __init__(
        self,
        prompts: PromptEncoder,
        counters: Counters,
        guard: Guard | None = None,
        aligner: AlignmentSource | None = None,
    ) -> None:
        self.guard = guard or Guard(())
        self.aligner = aligner
        self._prompts = prompts
        self._counters = counters

    def prepare(self, sequence: DecodeSequence, runner: SemanticRunner) -> None:
        """Keep what an alignment needs of a sequence that has been prefilled; its slot will be another's by then."""
        if sequence.job.options.needs_alignment and self.aligner is not None and self.aligner.layers:
            sequence.prefix = runner.read_prefix(sequence, self.aligner.layers)

    def examine(self, sequence: DecodeSequence) -> Take:
        """Align a finished take, and look for faults where its job asks for that. Runs in a stage."""
        job = sequence.job
        assert job.voice_prompt is not None
        assert sequence.bert is not None
        prompt_tokens = self._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment)
        utterance = Utterance(
            sequence.segment,
            sequence.bert,
            job.prompt_segment,
            prompt_tokens,
            sequence.tokens,
            job.references[0],
            sequence.prefix,
        )
        alignment = self.aligner.align(utterance) if self.aligner else None
        if not job.options.is_judged:
            return Take(tuple(sequence.tokens), alignment, (), 0.0)
        pace = self._pace(job)
        return self.guard.judge(sequence.segment, sequence.tokens, alignment, pace, has_looped=sequence.has_looped)

    def loop_start(self, sequence: DecodeSequence) -> int | None:
        """Where unfinished speech should have ended that goes in a circle; None where it may go on."""
        return self.guard.loop_start(sequence.segment, sequence.tokens, self._pace(sequence.job))

    def _pace(self, job: Job) -> float | None:
        assert job.voice_prompt is not None
        return self.guard.pace(job.prompt_segment, len(job.voice_prompt.prompt_tokens))

    def settle(self, sequence: DecodeSequence, take: Take) -> bool:
        """Add a finished take, and keep the best of all unless another is wanted; returns whether it is."""
        sequence.takes.append(take)
        options = sequence.job.options
        if options.is_judged:
            self._counters.takes += 1
            self._count(take.faults)
        if options.wants_another(sequence.takes):
            return True
        sequence.kept = best_take(sequence.takes)
        sequence.tokens = list(sequence.kept.tokens)
        sequence.bert = sequence.prefix = None
        sequence.is_settled = True
        return False

    def takes_back(self, sequence: DecodeSequence, faults: tuple[FaultKind, ...]) -> bool:
        """Note what the waves of the kept take show; returns whether another take is wanted for it."""
        take = sequence.kept
        if take is None or set(faults) <= set(take.faults):  # decoded once more, since further takes were no better
            return False
        self._count(faults)
        cost = take.cost + _WAVE_FAULT_COST * len(faults)
        sequence.kept = replace(take, faults=(*faults, *take.faults), cost=cost)
        sequence.takes[sequence.takes.index(take)] = sequence.kept
        return sequence.job.options.wants_another(sequence.takes)

    def _count(self, faults: Sequence[FaultKind]) -> None:
        for kind in faults:
            self._counters.faults[kind] += 1
