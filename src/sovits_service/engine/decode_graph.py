"""The decode step as CUDA graphs where there is CUDA, as a plain call elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch

log = structlog.get_logger(__name__)


class DecodeGraphs:
    """Captures a step once for each bound and replays it: a decode step is hundreds of small kernels.

    The step must read and write static tensors only, and return the same static tensor each time.

    Args:
        step: the step; its argument is the bound, a static shape.
        device: graphs are used on CUDA alone.
        is_enabled: off runs the step as it is on CUDA too.
    """

    def __init__(self, step: Callable[[int], torch.Tensor], device: torch.device, *, is_enabled: bool = True) -> None:
        self._step = step
        self._device = device
        self._is_enabled = is_enabled and device.type == "cuda"
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    @property
    def is_enabled(self) -> bool:
        return self._is_enabled

    def __call__(self, bound: int) -> torch.Tensor:
        if not self._is_enabled:
            return self._step(bound)
        if bound not in self._graphs:
            try:
                self._graphs[bound] = self._capture(bound)
            except RuntimeError as error:
                self._is_enabled = False
                self._graphs.clear()
                log.warning("cuda_graphs_off", reason=error.__class__.__name__)
                return self._step(bound)
        graph, output = self._graphs[bound]
        graph.replay()
        return output

    def _capture(self, bound: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        # A warm-up on a side stream, as capture demands: libraries set themselves up at their first call.
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._step(bound)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads go on with their own work on the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = self._step(bound)
        return graph, output
