"""Run the GPT for the scheduler's sequences; the only place where slots become tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sovits_service.engine.decode_state import MAX_NEW_TOKENS, MIN_NEW_TOKENS, DecodeState, DecodeStep
from sovits_service.engine.device_queue import DeviceQueue, Pool, open_queue
from sovits_service.engine.graphs import (
    StepGraphs,
    captured_prefill_lengths,
    fitting,
    graph_bounds,
    graph_rows,
    prefill_lengths,
)
from sovits_service.engine.prefill import PrefillStep
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.errors import InvalidRequestError
from sovits_service.models.gpt import BERT_WIDTH, GptConfig, Prefix, TorchSlots
from sovits_service.models.kv_cache import CachedPrefix
from sovits_service.models.semantic_model import SemanticModel

_BOUND_STEP = 64
_PREFILL_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """A sequence that has its slot, and is to be prefilled."""

    sequence: DecodeSequence
    prefix: Prefix

    @property
    def slot(self) -> int:
        assert self.sequence.slot is not None
        return self.sequence.slot


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What the host has learnt of steps.

    Attributes:
        tokens: how many the running sequences got.
        broken: sequences whose output was not finite: they cannot go on.
    """

    tokens: int
    broken: list[DecodeSequence]


@dataclass(frozen=True, slots=True, eq=False)
class _Launch:
    """A step whose tokens the host has not read.

    Attributes:
        rows: its sequences, each with its row in what is read.
        read: waits for (B, 3) int64: token, whether it is over, whether all was finite.
        inputs: kept until then, since the device may still read them.
    """

    rows: Sequence[tuple[DecodeSequence, int]]
    read: Callable[[], npt.NDArray[Any]]
    inputs: Sequence[torch.Tensor] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Passes:
    """Prefills of several sequences.

    Attributes:
        sizes, lengths: rows and entries that a pass may have.
    """

    step: PrefillStep
    graphs: StepGraphs
    sizes: Sequence[int]
    lengths: Sequence[int]

    def length(self, item: Admitted) -> int:
        """What the prefix is padded to."""
        return fitting(self.lengths, item.prefix.length)

    def run(self, batch: Sequence[Admitted], queue: DeviceQueue) -> torch.Tensor:
        """(slots, 3) int64 as `DecodeState.advance` returns it."""
        rows, length = fitting(self.sizes, len(batch)), max(map(self.length, batch))
        self.step.load([item.prefix for item in batch], [item.slot for item in batch], rows, queue)
        return self.graphs(rows, length)


def captured_bytes(config: GptConfig, capacity_tokens: int) -> int:
    """What the graphs of a runner on CUDA take at most beside its slots, all numbers counted as float32.

    They share their memory, so that is what the largest prefill holds at a time: three masks, inputs and outputs of a
    layer with its queries, keys and values, and its feed-forward part twice; and the features that it reads.
    """
    length = captured_prefill_lengths(capacity_tokens)[-1]
    of_entry = 10 * config.width + 2 * config.feed_forward
    return 4 * _PREFILL_ROWS * (length * (of_entry + 3 * length) + capacity_tokens * (BERT_WIDTH + 4))


class SemanticRunner:
    """Runs one GPT over the sequences in its slots.

    Args:
        queue: of the model's device; None opens one.
        is_deterministic: where steps are captured, each spans all slots, and each prefill `prefill_rows`, so that their
            shapes, and with them each row's result, do not depend on how many sequences run; else both span the next
            power of two, which costs less.
        use_graphs: off runs steps and prefills as they are where they could be captured, too.
        prefill_rows: sequences that are prefilled in one pass at most; None takes 4 on CUDA, and 1 on a CPU, where a
            row of a padded pass differs in its last bits from the row alone, and takes longer.

    Attributes:
        prefill_rows: as above.
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
        prefill_rows: int | None = None,
    ) -> None:
        self.queue = queue or open_queue(model.device)
        with self.queue.launching():  # zeros are written before anything else is
            self.slots = model.open_slots(slots, capacity_tokens)
            self._state = DecodeState(slots, model.config.semantic_vocab, self.slots.device)
        self.device = self.slots.device
        captures = self.queue.captures
        self._bounds = graph_bounds(capacity_tokens) if captures else []
        self._row_sizes = graph_rows(slots, is_fixed=is_deterministic) if captures else []
        self._is_deterministic = is_deterministic
        # A CPU multiplies a single row by other means than several (`models/linear.py`), with other last bits.
        needs_two = is_deterministic and isinstance(self.slots, TorchSlots) and self.device.type == "cpu"
        self._least_rows = min(2, slots) if needs_two else 1
        self.prefill_rows = prefill_rows or (_PREFILL_ROWS if captures else 1)
        self._launches: deque[_Launch] = deque()
        pool = self.queue.new_pool()
        step = DecodeStep(self.slots, self._state)
        shapes = [(rows, bound) for rows in self._row_sizes for bound in self._bounds] if use_graphs else []
        self._decode = StepGraphs(step, self.queue, shapes, what="decoding", pool=pool)
        self._passes = self._open_passes(pool, use_graphs=captures and use_graphs)

    @property
    def capacity_tokens(self) -> int:
        return self.slots.capacity_tokens

    def _open_passes(self, pool: Pool, *, use_graphs: bool) -> _Passes | None:
        """None where each sequence is prefilled by itself."""
        if self.prefill_rows == 1 or not isinstance(self.slots, TorchSlots):
            return None
        with self.queue.launching():
            step = PrefillStep(self.slots, self._state, self.prefill_rows)
        sizes = graph_rows(self.prefill_rows, is_fixed=self._is_deterministic)
        captured = captured_prefill_lengths(self.capacity_tokens) if use_graphs else []
        shapes = [(rows, length) for rows in sizes for length in captured]
        graphs = StepGraphs(step, self.queue, shapes, what="prefills", pool=pool)
        return _Passes(step, graphs, sizes, prefill_lengths(self.capacity_tokens))

    @torch.inference_mode()
    def admit(self, sequence: DecodeSequence, bert: torch.Tensor, prompt_tokens: torch.Tensor) -> Admitted:
        """Take a sequence into its slot; it is prefilled before the next step.

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
            prefix = Prefix(self.queue.upload(phoneme_ids), bert.to(self.device, self.slots.dtype), prompt_tokens)
            numbers = self.queue.upload(uniforms)
            self._state.admit(slot, job.options.sampling, numbers, prompt_tokens, sequence.prefix_length)
        return Admitted(sequence, prefix)

    def batches(self, admitted: Sequence[Admitted]) -> list[list[Admitted]]:
        """What of them is prefilled in one pass."""
        if self._passes is None:
            return [[item] for item in admitted]
        batches: dict[int, list[Admitted]] = {}
        for item in admitted:
            # A pass of fixed shape is of one length: what else is in it makes no difference to a sequence.
            batches.setdefault(self._passes.length(item) if self._is_deterministic else 0, []).append(item)
        return [
            batch[start : start + self.prefill_rows]
            for batch in batches.values()
            for start in range(0, len(batch), self.prefill_rows)
        ]

    @torch.inference_mode()
    def prefill(self, batch: Sequence[Admitted]) -> None:
        """Run the prefixes of sequences that `batches` put together; the first tokens come with the next steps'."""
        inputs = [tensor for item in batch for tensor in item.prefix]
        with self.queue.launching():
            if self._passes is not None:
                rows, drawn = [item.slot for item in batch], self._passes.run(batch, self.queue)
            else:
                (item,) = batch
                logits = self.slots.prefill(*item.prefix, item.slot)
                rows, drawn = [0], self._state.advance(logits[None], slice(item.slot, item.slot + 1))
            sequences = [item.sequence for item in batch]
            self._launches.append(_Launch(list(zip(sequences, rows, strict=True)), self.queue.fetch(drawn), inputs))
        for sequence in sequences:
            sequence.launched = 1

    @torch.inference_mode()
    def read_prefix(self, sequence: DecodeSequence, layers: int) -> CachedPrefix:
        """What the first layers keep of a running sequence's text and prompt."""
        assert sequence.slot is not None
        with self.queue.launching():
            return self.slots.cache.read_prefix(sequence.slot, sequence.prefix_length, layers)

    @torch.inference_mode()
    def step(self, sequences: Sequence[DecodeSequence], rows: int) -> Drawn:
        """Launch a step for the running sequences, and read the tokens of those launched before.

        Args:
            sequences: those that hold a slot; none is finished.
            rows: how many slots they span.
        """
        rows = max(rows, self._least_rows)
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
        tokens, broken = 0, list[DecodeSequence]()
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

    def _new_token_limit(self, sequence: DecodeSequence) -> int:
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
