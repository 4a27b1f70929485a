"""Submit work to a device and read results back: at once on a CPU, one step behind on CUDA."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

import numpy.typing as npt
import torch

from sovits_service.engine.host import to_host

T = TypeVar("T")
Array = npt.NDArray[Any]


class DeviceQueue(Protocol):
    """Work for a device, done in the order of its launches.

    Attributes:
        lag: how many launches the host may be ahead of the results that it has read.
        captures: whether a step can be captured once and replayed.
    """

    lag: int
    captures: bool

    def launching(self) -> AbstractContextManager[None]:
        """What is launched in this block goes into the queue."""
        ...

    def upload(self, values: Array) -> torch.Tensor:
        """A host array on the device, without waiting for it."""
        ...

    def fetch(self, tensor: torch.Tensor) -> Callable[[], Array]:
        """Begin to read a tensor back; the call that is returned waits for its values."""
        ...

    def capture(self, step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """Run a step once, then capture it.

        Args:
            step: reads and writes static tensors only.

        Returns:
            A call that repeats the step with whatever the static tensors hold then, and returns the same tensor each
            time.

        Raises:
            RuntimeError: it cannot be captured. The queue goes on as before.
        """
        ...

    def beside(self, run: Callable[[], T]) -> T:
        """Run something in another thread than the queue's, beside it; what it computed is there on return."""
        ...

    def free_memory(self) -> None:
        """Give back what is kept for later allocations."""
        ...


class HostQueue:
    """The queue of a CPU: work is done when it is launched."""

    lag, captures = 0, False

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @contextlib.contextmanager
    def launching(self) -> Iterator[None]:
        yield

    def upload(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    def fetch(self, tensor: torch.Tensor) -> Callable[[], Array]:
        values = to_host(tensor)
        return lambda: values

    def capture(self, step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        return step

    def beside(self, run: Callable[[], T]) -> T:
        return run()

    def free_memory(self) -> None:
        pass


class CudaApi(Protocol):
    """What `CudaQueue` uses of `torch.cuda`; tests put a device in its place that records and replays on the CPU."""

    def Stream(self, device: torch.device) -> Any: ...

    def Event(self) -> Any: ...

    def CUDAGraph(self) -> Any: ...

    def stream(self, stream: Any) -> AbstractContextManager[Any]: ...

    def graph_pool_handle(self) -> Any: ...

    def empty_cache(self) -> None: ...

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor: ...


class _TorchCuda:
    """`torch.cuda`, and memory that a device copies to and from by itself."""

    Stream, Event, CUDAGraph = torch.cuda.Stream, torch.cuda.Event, torch.cuda.CUDAGraph
    stream, graph_pool_handle = staticmethod(torch.cuda.stream), staticmethod(torch.cuda.graph_pool_handle)
    empty_cache = staticmethod(torch.cuda.empty_cache)

    @staticmethod
    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()


class CudaQueue:
    """A stream of its own on a CUDA device. The host launches a step before it reads the tokens of the one before.

    The current device and stream are a thread's own in torch, so each block names its stream, and with it the device.
    """

    lag, captures = 1, True

    def __init__(self, device: torch.device, api: CudaApi | None = None) -> None:
        self._device = device
        self._api = api or cast("CudaApi", _TorchCuda())
        self._stream = self._api.Stream(device)
        self._pool = self._api.graph_pool_handle()
        self._own = threading.local()  # a stream for each thread that works beside: its memory is reused on it alone

    def launching(self) -> AbstractContextManager[None]:
        return self._api.stream(self._stream)

    def upload(self, values: Array) -> torch.Tensor:
        # Pinned memory is kept by torch until the copy is done.
        return self._api.pinned(torch.from_numpy(values)).to(self._device, non_blocking=True)

    def fetch(self, tensor: torch.Tensor) -> Callable[[], Array]:
        host = self._api.pinned(torch.empty(tensor.shape, dtype=tensor.dtype))
        host.copy_(tensor, non_blocking=True)
        copied = self._api.Event()
        copied.record(self._stream)

        def values() -> Array:
            copied.synchronize()
            return host.numpy()

        return values

    def capture(self, step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        with self.launching():
            step()  # libraries set themselves up at their first call, which must not be captured
            self._stream.synchronize()
            graph = self._api.CUDAGraph()
            # Other threads go on with their own work on the device meanwhile, allocations included.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                output = step()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # that the capture is void: the first error says why
                    graph.capture_end()
                raise
            graph.capture_end()

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay

    def beside(self, run: Callable[[], T]) -> T:
        if not hasattr(self._own, "stream"):
            self._own.stream = self._api.Stream(self._device)
        stream = self._own.stream
        with self._api.stream(stream):
            result = run()
            stream.synchronize()
        return result

    def free_memory(self) -> None:
        self._api.empty_cache()


def open_queue(device: torch.device) -> DeviceQueue:
    """The queue of a device."""
    return CudaQueue(device) if device.type == "cuda" else HostQueue(device)


def set_up_cuda() -> None:
    """Process-wide choices of torch for CUDA: float32 is float32, and attention needs no new plan for each shape."""
    torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions
    torch.backends.cuda.enable_cudnn_sdp(False)  # makes new plans for each shape on Hopper and later
