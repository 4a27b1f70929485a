"""Run the GPT for the scheduler's sequences; the only place where slots become tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sovits_service.engine.decode_graph import DecodeGraphs, fitting, graph_bounds, graph_rows
from sovits_service.engine.decode_state import MAX_NEW_TOKENS, MIN_NEW_TOKENS, DecodeState, DecodeStep
from sovits_service.engine.device_queue import DeviceQueue, open_queue
from sovits_service.engine.sequence import Sequence
from sovits_service.errors import InvalidRequestError
from sovits_service.models.semantic_model import SemanticModel

_BOUND_STEP = 64


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What the host has learnt of steps.

    Attributes:
        tokens: how many the running sequences got.
        broken: sequences whose output was not finite: they cannot go on.
    """

    tokens: int
    broken: list[Sequence]


@dataclass(frozen=True, slots=True, eq=False)
class _Launch:
    """A step whose tokens the host has not read.

    Attributes:
        rows: its sequences, each with its row in what is read.
        read: waits for (B, 3) int64: token, whether it is over, whether all was finite.
        inputs: kept until then, since the device may still read them.
    """

    rows: Row[tuple[Sequence, int]]
    read: Callable[[], npt.NDArray[Any]]
    inputs: Row[torch.Tensor] = ()


class SemanticRunner:
    """Runs one GPT over the sequences in its slots.

    Args:
        queue: of the model's device; None opens one.
        is_deterministic: where steps are captured, each spans all slots, so that its shapes, and with them each row's
            result, do not depend on how many sequences run; else the next power of two, which costs less.
        use_graphs: off runs the step as it is where it could be captured, too.
    """

    def __init__(
        self,
        model: SemanticModel,
        slots: int,
        capacity_tokens: int,
        *,
        queue: DeviceQueue | None = None,
        is_deterministic: bool = True,
        use_graphs: bool = True,
    ) -> None:
        self.slots = model.open_slots(slots, capacity_tokens)
        self.device = self.slots.device
        self.queue = queue or open_queue(self.device)
        self._bounds = graph_bounds(capacity_tokens) if self.queue.captures else []
        self._row_sizes = graph_rows(slots, is_fixed=is_deterministic) if self.queue.captures else []
        self._launches: deque[_Launch] = deque()
        with self.queue.launching():
            self._state = DecodeState(slots, model.config.semantic_vocab, self.device)
            step = DecodeStep(self.slots, self._state)
            shapes = [(rows, bound) for rows in self._row_sizes for bound in self._bounds] if use_graphs else []
            self._decode = DecodeGraphs(step, self.queue, shapes)

    @property
    def capacity_tokens(self) -> int:
        return self.slots.capacity_tokens

    @torch.inference_mode()
    def prefill(self, sequence: Sequence, bert: torch.Tensor, prompt_tokens: torch.Tensor) -> None:
        """Take a sequence into its slot; its first token comes with the next steps'.

        Args:
            bert: (T_text, 1024) features of all phonemes, the prompt's first.
            prompt_tokens: (T_prompt,) int64.

        Raises:
            InvalidRequestError: text and prompt leave no room for speech.
        """
        slot, job = sequence.slot, sequence.job
        assert slot is not None
        prompt_ids = job.prompt_segment.phoneme_ids if job.prompt_segment else ()
        phoneme_ids = np.array(prompt_ids + sequence.segment.phoneme_ids, dtype=np.int64)
        sequence.prefix_length = len(phoneme_ids) + prompt_tokens.shape[0]
        sequence.max_new_tokens = self._new_token_limit(sequence)
        uniforms = sequence.rng.random(sequence.max_new_tokens, dtype=np.float32)
        with self.queue.launching():
            prompt_tokens = prompt_tokens.to(self.device)
            bert = bert.to(self.device, self.slots.dtype)
            ids, numbers = self.queue.upload(phoneme_ids), self.queue.upload(uniforms)
            self._state.admit(slot, job.options.sampling, numbers, prompt_tokens, sequence.prefix_length)
            logits = self.slots.prefill(ids, bert, prompt_tokens, slot)
            drawn = self._state.advance(logits[None], slice(slot, slot + 1))
            self._launches.append(_Launch([(sequence, 0)], self.queue.fetch(drawn), (bert, prompt_tokens)))
        sequence.launched = 1

    @torch.inference_mode()
    def step(self, sequences: Row[Sequence], rows: int) -> Drawn:
        """Launch a step for the running sequences, and read the tokens of those launched before.

        Args:
            sequences: those that hold a slot; none is finished.
            rows: how many slots they span.
        """
        unfinished = [sequence for sequence in sequences if sequence.launched < sequence.max_new_tokens]
        if unfinished:
            rows = fitting(self._row_sizes, rows) if self._row_sizes else rows
            longest = max(sequence.prefix_length + sequence.launched for sequence in unfinished)
            with self.queue.launching():
                read = self.queue.fetch(self._decode(rows, self._bound(longest)))
            self._launches.append(_Launch([(s, s.slot) for s in unfinished if s.slot is not None], read))
            for sequence in unfinished:
                sequence.launched += 1
        return self._collect(self.queue.lag if unfinished else 0)

    def release(self, slot: int) -> None:
        """The sequence in a slot is not wanted any more."""
        with self.queue.launching():
            self._state.release(slot)

    def clear(self, slot: int) -> None:
        """Wipe a slot after a failure, so that nothing non-finite stays for its next user."""
        with self.queue.launching():
            self._state.release(slot)
            self.slots.clear(slot)

    def _collect(self, ahead: int) -> Drawn:
        """Read the tokens of all launches but the newest `ahead`."""
        tokens, broken = 0, list[Sequence]()
        while len(self._launches) > ahead:
            launch = self._launches.popleft()
            drawn = launch.read().tolist()
            for sequence, row in launch.rows:
                # One that has ended, or lost its slot, was launched before the host knew.
                if sequence.slot is None or sequence.is_finished or sequence in broken:
                    continue
                token, is_over, is_finite = drawn[row]
                if not is_finite:
                    broken.append(sequence)
                    continue
                tokens += 1
                if not is_over:
                    sequence.tokens.append(token)
                sequence.is_finished = bool(is_over) or len(sequence.tokens) >= sequence.max_new_tokens
        return Drawn(tokens, broken)

    def _new_token_limit(self, sequence: Sequence) -> int:
        room = self.capacity_tokens - sequence.prefix_length
        if room < MIN_NEW_TOKENS:
            raise InvalidRequestError(
                "a fragment of the text is too long to be spoken in one go; "
                "choose another text_split_method (cut5 splits at every punctuation mark) or add punctuation"
            )
        asked = sequence.job.options.sampling.max_new_tokens
        return min(room, MAX_NEW_TOKENS, asked or MAX_NEW_TOKENS)

    def _bound(self, longest: int) -> int:
        """How much of the slots a step looks at: a few sizes only where each is a graph."""
        if self._bounds:
            return fitting(self._bounds, longest)
        return min(_BOUND_STEP * -(-longest // _BOUND_STEP), self.capacity_tokens)
