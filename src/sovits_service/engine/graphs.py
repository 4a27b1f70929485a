"""Work that is always of the same few shapes, captured as CUDA graphs; plain calls on other devices.

A decode step, a prefill or a window of waves is hundreds of small kernels. Launched one by one they may take the host
longer than the device, and each launch takes the interpreter lock from the other threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import torch

from sovits_service.engine.device_queue import DeviceQueue, Pool

_log = logging.getLogger(__name__)
_SMALLEST_BOUND = 256
_PREFILL_LENGTHS = (64, 128, 192, 256, 384, 512, 768)
_LONG_PREFILL_STEP = 256
Shape = tuple[int, int]


class StepGraphs:
    """A step over static tensors, captured for all its shapes and replayed in its queue.

    Made before any sequence runs: capturing runs the step, which must change nothing that counts then.

    Args:
        step: takes two sizes, which are static; returns a static tensor for each pair.
        queue: of the device.
        shapes: all pairs that are captured; others, and all where one cannot be captured, are called as they are.
        what: name of the step, for the log.
        pool: memory of these graphs and of others that are replayed in the queue, and dropped with them.
    """

    def __init__(
        self,
        step: Callable[[int, int], torch.Tensor],
        queue: DeviceQueue,
        shapes: Iterable[Shape],
        *,
        what: str,
        pool: Pool,
    ) -> None:
        self._step = step
        self._replays = _capture_all(what, shapes, lambda *shape: queue.capture(lambda: step(*shape), pool))

    def __call__(self, *shape: int) -> torch.Tensor:
        first, second = shape
        replay = self._replays.get((first, second))
        return self._step(first, second) if replay is None else replay()


class SharedGraphs:
    """A function of tensors, captured for a few sizes of its batch and of its time axis; any thread may call it.

    Args:
        run: makes a tensor of tensors, see `DeviceQueue.capture_shared`.
        inputs: what it is captured with, for a number of rows and a length.
        queue: of the device; None captures nothing.
        rows, lengths: all pairs of them are captured.
        what: name of the function, for the log.
    """

    def __init__(
        self,
        run: Callable[..., torch.Tensor],
        inputs: Callable[[int, int], Sequence[torch.Tensor]],
        queue: DeviceQueue | None,
        *,
        rows: Iterable[int],
        lengths: Iterable[int],
        what: str,
    ) -> None:
        self._graphs: dict[Shape, Callable[..., torch.Tensor]] = {}
        if queue is not None and queue.captures:
            pool = queue.new_pool()
            shapes = [(count, length) for count in rows for length in lengths]
            self._graphs = _capture_all(what, shapes, lambda *shape: queue.capture_shared(run, inputs(*shape), pool))

    def padded(self, rows: int, length: int) -> int | None:
        """The smallest captured length that holds so many rows of this length; None where none does."""
        return min((size for count, size in self._graphs if count >= rows and size >= length), default=None)

    def __call__(self, length: int, *inputs: torch.Tensor) -> torch.Tensor:
        """The function of inputs with a captured length, and with as many rows as the first has."""
        rows = inputs[0].shape[0]
        return self._graphs[fitting((count for count, size in self._graphs if size == length), rows), length](*inputs)


def _capture_all(
    what: str, shapes: Iterable[Shape], capture: Callable[..., Callable[..., torch.Tensor]]
) -> dict[Shape, Callable[..., torch.Tensor]]:
    captured: dict[Shape, Callable[..., torch.Tensor]] = {}
    try:
        # The largest first: what it takes is enough for the others.
        for shape in sorted(shapes, key=lambda shape: shape[0] * shape[1], reverse=True):
            captured[shape] = capture(*shape)
    except RuntimeError as error:
        captured.clear()
        _log.warning("CUDA graphs are off for %s, which takes longer: %s", what, error)
    return captured


def graph_bounds(capacity_tokens: int) -> list[int]:
    """How far a captured step may look: powers of two up to the capacity."""
    bounds = [_SMALLEST_BOUND]
    while bounds[-1] < capacity_tokens:
        bounds.append(2 * bounds[-1])
    return [min(bound, capacity_tokens) for bound in bounds]


def graph_rows(rows: int, *, is_fixed: bool) -> list[int]:
    """How many rows a captured pass may span: all of them, or powers of two up to them where that is not fixed."""
    sizes = [rows] if is_fixed else [1]
    while sizes[-1] < rows:
        sizes.append(min(2 * sizes[-1], rows))
    return sizes


def prefill_lengths(capacity_tokens: int) -> list[int]:
    """What prefixes are padded to, of which the usual ones are captured."""
    longer = range(_PREFILL_LENGTHS[-1] + _LONG_PREFILL_STEP, capacity_tokens, _LONG_PREFILL_STEP)
    return [length for length in (*_PREFILL_LENGTHS, *longer) if length < capacity_tokens] + [capacity_tokens]


def captured_prefill_lengths(capacity_tokens: int) -> list[int]:
    return [length for length in prefill_lengths(capacity_tokens) if length <= _PREFILL_LENGTHS[-1]]


def fitting(sizes: Iterable[int], needed: int) -> int:
    """The smallest size that is enough."""
    return min(size for size in sizes if size >= needed)
