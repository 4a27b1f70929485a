"""Device-resident state of the decode step, so that no step waits for the host."""

from __future__ import annotations

import torch

from sovits_service.engine.sampler import SamplingRows, sample
from sovits_service.models.semantic_model import SemanticSlots
from sovits_service.types import SamplingParams

MAX_NEW_TOKENS = 1500  # one minute, as in the original
MIN_NEW_TOKENS = 11  # parity: the end token is barred from the first 11 steps


class DecodeState:
    """A row for each slot. A row that is not active is computed like the others, and changes nothing.

    Attributes:
        is_active: (slots,) bool, whether the row holds a sequence that goes on.
        last_token: (slots,) int64.
        drawn: (slots,) int64, tokens so far.
        limit: (slots,) int64, of them.
        positions: (2, slots) int64 of the last token: among the semantic tokens, the prompt's included; in the slot.
        uniforms: (slots, MAX_NEW_TOKENS) float32, the random number of each token, from the sequence's own generator.
        seen: (slots, vocab) bool, tokens that the sequence holds already, the prompt's included.
    """

    def __init__(self, slots: int, vocab: int, device: torch.device) -> None:
        def column(dtype: torch.dtype, value: float = 0) -> torch.Tensor:
            return torch.full((slots,), value, dtype=dtype, device=device)

        self.is_active = column(torch.bool)
        self.last_token = column(torch.int64)
        self.drawn = column(torch.int64)
        self.limit = column(torch.int64)
        self.positions = torch.zeros((2, slots), dtype=torch.int64, device=device)
        self.uniforms = torch.zeros((slots, MAX_NEW_TOKENS), dtype=torch.float32, device=device)
        self.seen = torch.zeros((slots, vocab), dtype=torch.bool, device=device)
        self._sampling = SamplingRows(
            top_k=column(torch.int64, 1),
            top_p=column(torch.float32, 1),
            temperature=column(torch.float32, 1),
            repetition_penalty=column(torch.float32, 1),
            may_end=column(torch.bool),
        )

    def admit(
        self,
        slot: int,
        params: SamplingParams,
        uniforms: torch.Tensor,
        prompt_tokens: torch.Tensor,
        prefix_length: int,
    ) -> None:
        """Take a sequence into a slot; its first token is drawn next.

        Args:
            uniforms: (limit,) float32 in [0, 1), one for each token that it may have.
            prompt_tokens: (T_prompt,) int64.
            prefix_length: entries in the slot before the first token.
        """
        # Scalars are filled in, and rows written, without waiting for the device.
        sampling = self._sampling
        sampling.top_k[slot].fill_(params.top_k)
        sampling.top_p[slot].fill_(params.top_p)
        sampling.temperature[slot].fill_(params.temperature)
        sampling.repetition_penalty[slot].fill_(params.repetition_penalty)
        self.uniforms[slot, : uniforms.shape[0]] = uniforms
        self.seen[slot].fill_(False).index_fill_(0, prompt_tokens, True)
        self.positions[0, slot].fill_(prompt_tokens.shape[0] - 1)
        self.positions[1, slot].fill_(prefix_length - 1)
        self.drawn[slot].fill_(0)
        self.limit[slot].fill_(uniforms.shape[0])
        self.is_active[slot].fill_(True)

    def release(self, slot: int) -> None:
        """The sequence in a slot goes on no more."""
        self.is_active[slot].fill_(False)

    def advance(self, logits: torch.Tensor, rows: slice, only: torch.Tensor | None = None) -> torch.Tensor:
        """Draw a token for each row, and remember it for those that are active.

        Args:
            logits: (B, vocab), the end token last.
            only: (B,) bool, which of the active rows go on now; None: all of them.

        Returns:
            (B, 3) int64: the token, whether the sequence is over, whether all logits were finite.
        """
        is_active, drawn, seen = self.is_active[rows], self.drawn[rows], self.seen[rows]
        advances = is_active.clone() if only is None else is_active & only
        self._sampling.may_end[rows] = drawn >= MIN_NEW_TOKENS
        uniforms = self.uniforms[rows].gather(1, drawn.clamp(max=MAX_NEW_TOKENS - 1)[:, None])[:, 0]
        tokens, is_over = sample(logits, seen, self._sampling[rows], uniforms)
        is_finite = torch.isfinite(logits).all(1)
        self.last_token[rows] = torch.where(advances, tokens, self.last_token[rows])
        seen.scatter_(1, tokens[:, None], seen.gather(1, tokens[:, None]) | advances[:, None])
        drawn += advances
        self.positions[:, rows] += advances
        is_active &= (is_finite & ~is_over & (drawn < self.limit[rows])) | ~advances
        return torch.stack([tokens, is_over.long(), is_finite.long()], dim=1)


class DecodeStep:
    """One token further for the sequences in the first rows: the model, then the draw."""

    def __init__(self, slots: SemanticSlots, state: DecodeState) -> None:
        self._slots = slots
        self._state = state

    @torch.inference_mode()
    def __call__(self, rows: int, bound: int) -> torch.Tensor:
        """Return (rows, 3) int64 as `DecodeState.advance` does; `bound` is above every active row's position."""
        first = slice(0, rows)
        state = self._state
        # A row that is not active looks at nothing but itself, and leaves its mark where the next prefill begins.
        positions = state.positions[:, first] * state.is_active[first]
        logits = self._slots.decode_step(state.last_token[first], positions[0], positions[1], bound)
        return state.advance(logits, first)
