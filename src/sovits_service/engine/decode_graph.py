"""The decode step as CUDA graphs, one for each shape; a plain call on other devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch

from sovits_service.engine.device_queue import DeviceQueue

_log = logging.getLogger(__name__)
_SMALLEST_BOUND = 256


class DecodeGraphs:
    """Captures a step for all its shapes at once and replays it: a decode step is hundreds of small kernels.

    Made before any sequence runs: capturing runs the step, which must change nothing that counts then.

    Args:
        step: takes how many rows it spans and how far it looks, which are static; returns a static tensor for each.
        queue: of the device.
        shapes: all pairs that will be asked for; empty for a step that is called as it is.
    """

    def __init__(
        self, step: Callable[[int, int], torch.Tensor], queue: DeviceQueue, shapes: Iterable[tuple[int, int]]
    ) -> None:
        self._step = step
        self._replays: dict[tuple[int, int], Callable[[], torch.Tensor]] = {}
        try:
            for rows, bound in shapes:
                self._replays[rows, bound] = queue.capture(lambda rows=rows, bound=bound: step(rows, bound))  # type: ignore[misc]
        except RuntimeError as error:
            self._replays.clear()
            _log.warning("CUDA graphs are off, decoding will be slower: %s", error)

    def __call__(self, rows: int, bound: int) -> torch.Tensor:
        replay = self._replays.get((rows, bound))
        return self._step(rows, bound) if replay is None else replay()


def graph_bounds(capacity_tokens: int) -> list[int]:
    """How far a captured step may look: powers of two up to the capacity."""
    bounds = [_SMALLEST_BOUND]
    while bounds[-1] < capacity_tokens:
        bounds.append(2 * bounds[-1])
    return [min(bound, capacity_tokens) for bound in bounds]


def graph_rows(slots: int, *, is_fixed: bool) -> list[int]:
    """How many rows a captured step may span: all slots, or powers of two up to them where that is not fixed."""
    rows = [slots] if is_fixed else [1]
    while rows[-1] < slots:
        rows.append(min(2 * rows[-1], slots))
    return rows


def fitting(sizes: Iterable[int], needed: int) -> int:
    """The smallest size that is enough."""
    return min(size for size in sizes if size >= needed)
