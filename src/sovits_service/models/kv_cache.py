"""Keys and values of running sequences, in a fixed number of slots of a fixed length."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """What the first layers keep of a sequence's beginning: its text, then the prompt's tokens.

    Attributes:
        keys: (layers, heads, T, head_dim).
        values: (layers - 1, heads, T, head_dim): of all of them but the last.
    """

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def length(self) -> int:
        return self.keys.shape[2]


class KvCache:
    """Preallocated attention cache; a slot holds one sequence, its row in every decode batch.

    Slots and length are static shapes, so that a decode step can be captured once and replayed.

    Attributes:
        keys, values: (layers, slots, heads, capacity_tokens, head_dim) in the model's dtype.
    """

    def __init__(
        self,
        *,
        layers: int,
        slots: int,
        heads: int,
        capacity_tokens: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (layers, slots, heads, capacity_tokens, head_dim)
        self.keys = _zeros(shape, device, dtype)
        self.values = _zeros(shape, device, dtype)

    @property
    def slots(self) -> int:
        return self.keys.shape[1]

    @property
    def capacity_tokens(self) -> int:
        return self.keys.shape[3]

    def write_prefix(self, layer: int, slot: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store a prefix from position 0; keys and values are (heads, T, head_dim)."""
        length = keys.shape[1]
        self.keys[layer, slot, :, :length] = keys
        self.values[layer, slot, :, :length] = values

    def write_prefixes(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """`write_prefix` in each of the `slots`, (B,) int64; keys and values are (B, heads, T, head_dim)."""
        length = keys.shape[2]
        self.keys[layer, :, :, :length].index_copy_(0, slots, keys)
        self.values[layer, :, :, :length].index_copy_(0, slots, values)

    def read_prefix(self, slot: int, length: int, layers: int) -> CachedPrefix:
        """A copy of the first `length` entries of a slot, in the first `layers`."""
        keys, values = self.keys[:layers, slot, :, :length], self.values[: layers - 1, slot, :, :length]
        return CachedPrefix(keys.clone(), values.clone())

    def append(
        self, layer: int, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bound: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one entry for each of the first B slots and return what they hold, up to `bound` tokens.

        Args:
            positions: (B,) int64, where the entry goes in each slot.
            keys, values: (B, heads, head_dim).

        Returns:
            Views (B, heads, bound, head_dim) of keys and values.
        """
        rows = torch.arange(keys.shape[0], device=keys.device)
        layer_keys, layer_values = self.keys[layer], self.values[layer]
        layer_keys[rows, :, positions] = keys
        layer_values[rows, :, positions] = values
        batch = keys.shape[0]
        return layer_keys[:batch, :, :bound], layer_values[:batch, :, :bound]

    def clear(self, slot: int) -> None:
        """Wipe a slot. A non-finite leftover would reach its next user, since 0 * NaN is NaN under a mask."""
        self.keys[:, slot].zero_()
        self.values[:, slot].zero_()


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    # Pages that no sequence has reached cost no memory. torch.zeros would touch them all, and with huge pages, which
    # NumPy asks for, the first token of a head would bring 2 MB along.
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
