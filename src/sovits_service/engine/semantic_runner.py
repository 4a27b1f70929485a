"""Sequences in, their next semantic tokens out: the scheduler's integers become tensors here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence as Row

import numpy as np
import numpy.typing as npt
import torch

from sovits_service.engine.decode_graph import DecodeGraphs
from sovits_service.engine.host import to_host
from sovits_service.engine.sampler import SamplingRows, sample
from sovits_service.engine.sequence import Sequence
from sovits_service.errors import InvalidRequestError, SynthesisError
from sovits_service.models.semantic_model import SemanticModel

MAX_NEW_TOKENS = 1500  # one minute, as in the original
MIN_NEW_TOKENS = 11  # parity: the end token is barred from the first 11 steps
_BOUND_STEP = 64


class SemanticRunner:
    """Runs one GPT over the sequences in its slots.

    On CUDA every step spans all slots, so that its shapes, and with them each row's result, never depend on company.
    """

    def __init__(self, model: SemanticModel, slots: int, capacity_tokens: int, *, use_graphs: bool = True) -> None:
        self.slots = model.open_slots(slots, capacity_tokens)
        self.device = self.slots.device
        vocab = model.config.semantic_vocab
        self._is_static = self.device.type == "cuda"
        self._batch_rows = slots

        def column(dtype: torch.dtype, value: float = 0) -> torch.Tensor:
            return torch.full((slots,), value, dtype=dtype, device=self.device)

        self._last_token = column(torch.int64)
        self._positions = torch.zeros((2, slots), dtype=torch.int64, device=self.device)  # among tokens, in the slot
        self._uniforms = column(torch.float32)
        self._seen = torch.zeros((slots, vocab), dtype=torch.bool, device=self.device)
        self._sampling = SamplingRows(
            top_k=column(torch.int64, 1),
            top_p=column(torch.float32, 1),
            temperature=column(torch.float32, 1),
            repetition_penalty=column(torch.float32, 1),
            may_end=column(torch.bool),
        )
        self._decode = DecodeGraphs(self._decode_rows, self.device, is_enabled=use_graphs)

    @property
    def capacity_tokens(self) -> int:
        return self.slots.capacity_tokens

    @torch.inference_mode()
    def prefill(self, sequence: Sequence, bert: torch.Tensor, prompt_tokens: torch.Tensor) -> None:
        """Take a sequence into its slot and draw its first token.

        Args:
            bert: (T_text, 1024) features of all phonemes, the prompt's first.
            prompt_tokens: (T_prompt,) int64.

        Raises:
            InvalidRequestError: text and prompt leave no room for speech.
            SynthesisError: the model gave a non-finite output.
        """
        slot, job = sequence.slot, sequence.job
        assert slot is not None
        prompt_ids = job.prompt_segment.phoneme_ids if job.prompt_segment else ()
        phoneme_ids = torch.tensor(prompt_ids + sequence.segment.phoneme_ids, dtype=torch.int64)
        sequence.prompt_length = int(prompt_tokens.shape[0])
        sequence.prefix_length = phoneme_ids.shape[0] + sequence.prompt_length
        sequence.max_new_tokens = self._new_token_limit(sequence)
        params = job.options.sampling
        self._sampling.top_k[slot] = params.top_k
        self._sampling.top_p[slot] = params.top_p
        self._sampling.temperature[slot] = params.temperature
        self._sampling.repetition_penalty[slot] = params.repetition_penalty
        self._sampling.may_end[slot] = False
        prompt_tokens = prompt_tokens.to(self.device)
        self._seen[slot] = False
        self._seen[slot, prompt_tokens] = True
        logits = self.slots.prefill(
            phoneme_ids.to(self.device), bert.to(self.device, self.slots.dtype), prompt_tokens, slot
        )
        self._uniforms[slot] = float(sequence.rng.random(dtype=np.float32))
        row = slice(slot, slot + 1)
        drawn = self._draw(logits[None], row)
        self._take(sequence, to_host(drawn).tolist()[0])

    @torch.inference_mode()
    def step(self, sequences: Row[Sequence], rows: int) -> list[Sequence]:
        """Draw one token for each running sequence.

        Args:
            sequences: those that hold a slot; none is finished.
            rows: how many slots the batch spans.

        Returns:
            Sequences whose output was not finite: they cannot go on. All others got a token or are finished.
        """
        rows = self.slots.count if self._is_static else rows
        uniforms = np.zeros(rows, dtype=np.float32)
        positions = np.zeros((2, rows), dtype=np.int64)
        may_end = np.zeros(rows, dtype=np.bool_)
        longest = 0
        for sequence in sequences:
            assert sequence.slot is not None
            done = len(sequence.tokens)
            uniforms[sequence.slot] = sequence.rng.random(dtype=np.float32)
            positions[:, sequence.slot] = sequence.prompt_length + done - 1, sequence.prefix_length + done - 1
            may_end[sequence.slot] = done >= MIN_NEW_TOKENS
            longest = max(longest, sequence.prefix_length + done)
        self._copy(self._uniforms, uniforms)
        self._copy(self._positions, positions)
        self._copy(self._sampling.may_end, may_end)
        self._batch_rows = rows
        drawn = to_host(self._decode(self._bound(longest))).tolist()
        return [s for s in sequences if s.slot is not None and not self._accept(s, drawn[s.slot])]

    def clear(self, slot: int) -> None:
        """Wipe a slot after a failure, so that nothing non-finite stays for its next user."""
        self.slots.clear(slot)

    def _decode_rows(self, bound: int) -> torch.Tensor:
        rows = slice(0, self._batch_rows)
        logits = self.slots.decode_step(
            self._last_token[rows], self._positions[0, rows], self._positions[1, rows], bound
        )
        return self._draw(logits, rows)

    def _draw(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Sample and remember; returns (B, 3) int64: token, whether it is over, whether all was finite."""
        tokens, is_over = sample(logits, self._seen[rows], self._sampling[rows], self._uniforms[rows])
        self._last_token[rows] = tokens
        self._seen[rows] |= torch.nn.functional.one_hot(tokens, self._seen.shape[1]).bool()
        return torch.stack([tokens, is_over.long(), torch.isfinite(logits).all(1).long()], dim=1)

    def _take(self, sequence: Sequence, drawn: list[int]) -> None:
        if not self._accept(sequence, drawn):
            raise SynthesisError("the GPT gave a non-finite output for this request")

    @staticmethod
    def _accept(sequence: Sequence, drawn: list[int]) -> bool:
        token, is_over, is_finite = drawn
        if not is_finite:
            return False
        if is_over:
            sequence.is_finished = True
        else:
            sequence.tokens.append(token)
            sequence.is_finished = len(sequence.tokens) >= sequence.max_new_tokens
        return True

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
        """How much of the slots a step looks at: a few sizes only on CUDA, where each is a graph."""
        bound = _BOUND_STEP * -(-longest // _BOUND_STEP)
        if self._is_static:
            bound = max(256, 1 << (longest - 1).bit_length())
        return min(bound, self.capacity_tokens)

    def _copy(self, target: torch.Tensor, values: npt.NDArray[np.generic]) -> None:
        target[..., : values.shape[-1]].copy_(torch.from_numpy(values))
