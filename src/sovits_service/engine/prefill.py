"""Prefixes of several sequences in one pass, whose tensors are static so that it can be captured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sovits_service.engine.decode_state import DecodeState
from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.models.gpt import Prefix, PrefixBatch, TorchSlots


class PrefillStep:
    """One pass over the prefixes that were loaded, then the draw of their first tokens.

    The draw spans all slots, as that of a decode step: its shapes are the same for any batch.
    """

    def __init__(self, slots: TorchSlots, state: DecodeState, rows: int) -> None:
        self._slots = slots
        self._state = state
        self._batch = PrefixBatch.empty(rows, slots.capacity_tokens, slots.device, slots.dtype)

    @torch.inference_mode()
    def load(self, prefixes: Sequence[Prefix], slots: Sequence[int], rows: int, queue: DeviceQueue) -> None:
        """Put prefixes, each for its slot, into the first rows. Rows behind them, up to `rows`, repeat the first."""
        spare = rows - len(prefixes)
        lengths = [(prefix.phoneme_ids.shape[0], prefix.length) for prefix in prefixes] + [(0, 1)] * spare
        sources = [*range(len(prefixes))] + [0] * spare
        numbers = [*zip(*lengths, strict=True), [*slots] + [slots[0]] * spare, sources]
        self._batch.corner(rows, 0).numbers.copy_(queue.upload(np.array(numbers, dtype=np.int64)))
        for row, prefix in enumerate(prefixes):
            self._batch.fill(row, prefix)

    @torch.inference_mode()
    def __call__(self, rows: int, length: int) -> torch.Tensor:
        """Returns (slots, 3) int64 as `DecodeState.advance` does."""
        batch, count = self._batch.corner(rows, length), self._slots.count
        logits = self._slots.prefill_batch(batch)
        spread = logits.new_zeros(count, logits.shape[1]).index_copy_(0, batch.slots, logits)
        is_new = torch.zeros(count, dtype=torch.bool, device=logits.device).index_fill_(0, batch.slots, True)
        return self._state.advance(spread, slice(0, count), only=is_new)
