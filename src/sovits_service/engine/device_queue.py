"""Submit work to a device and read results back: at once on a CPU, one step behind on CUDA."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

import numpy.typing as npt
import torch

from sovits_service.engine.host import to_host

T = TypeVar("T")
Array = npt.NDArray[Any]
Pool = Any  # torch's handle of the memory of graphs
# Of streams; lower goes first. What threads launch has 0.
_STEPS_FIRST, _WAVES_NEXT = -2, -1


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

    def new_pool(self) -> Pool:
        """A place for the memory of graphs that are dropped together."""
        ...

    def capture(self, step: Callable[[], torch.Tensor], pool: Pool) -> Callable[[], torch.Tensor]:
        """Run a step once, then capture it, to be replayed in this queue.

        Args:
            step: reads and writes static tensors only.

        Returns:
            A call that repeats the step with whatever the static tensors hold then, and returns the same tensor each
            time.

        Raises:
            RuntimeError: it cannot be captured. The queue goes on as before.
        """
        ...

    def capture_shared(
        self, run: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], pool: Pool
    ) -> Callable[..., torch.Tensor]:
        """Run a function once, then capture it, to be replayed by threads that work beside the queue.

        Args:
            run: makes a tensor of tensors, and changes nothing. A row of the batch depends on no other row.
            inputs: what it is captured with; they become its static tensors.

        Returns:
            The function, for inputs of the same shapes; those with fewer rows than they were captured with give as many
            rows as the first of them has. What it returns is the caller's own.

        Raises:
            RuntimeError: it cannot be captured.
        """
        ...

    def beside(self, run: Callable[[], T]) -> T:
        """Run something in another thread than the queue's, beside it; what it computed is there on return."""
        ...

    def wait(self) -> None:
        """Wait for all that was launched on the device, by whatever thread."""
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

    def new_pool(self) -> Pool:
        return None

    def capture(self, step: Callable[[], torch.Tensor], pool: Pool) -> Callable[[], torch.Tensor]:
        return step

    def capture_shared(
        self, run: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], pool: Pool
    ) -> Callable[..., torch.Tensor]:
        return run

    def beside(self, run: Callable[[], T]) -> T:
        return run()

    def wait(self) -> None:
        pass

    def free_memory(self) -> None:
        pass


class CudaApi(Protocol):
    """What `CudaQueue` uses of `torch.cuda`; tests put a device in its place that records and replays on the CPU."""

    def Stream(self, device: torch.device, priority: int) -> Any: ...

    def Event(self) -> Any: ...

    def CUDAGraph(self) -> Any: ...

    def stream(self, stream: Any) -> AbstractContextManager[Any]: ...

    def graph_pool_handle(self) -> Pool: ...

    def forget_capture(self, device: torch.device, pool: Pool) -> None: ...

    def synchronize(self, device: torch.device) -> None: ...

    def empty_cache(self) -> None: ...

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor: ...


class _TorchCuda:
    """`torch.cuda`, and memory that a device copies to and from by itself."""

    Stream, Event, CUDAGraph = torch.cuda.Stream, torch.cuda.Event, torch.cuda.CUDAGraph
    stream, graph_pool_handle = staticmethod(torch.cuda.stream), staticmethod(torch.cuda.graph_pool_handle)
    synchronize, empty_cache = staticmethod(torch.cuda.synchronize), staticmethod(torch.cuda.empty_cache)

    @staticmethod
    def forget_capture(device: torch.device, pool: Pool) -> None:
        """What `capture_end` does not come to where the capture is void.

        Without it torch takes the capture for under way for good: each `empty_cache`, as when a model is loaded,
        raises, and the pool's memory is never given back.
        """
        index = torch.cuda.current_device() if device.index is None else device.index
        with contextlib.suppress(RuntimeError):  # where it did come to it, and the graph gives the pool back
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)

    @staticmethod
    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()


class CudaQueue:
    """A stream of its own on a CUDA device. The host launches a step before it reads the tokens of the one before.

    All models on a device share a queue. torch has 32 streams of each priority, and gives them out again in turn: with
    a queue for each model that was ever loaded, a capture would soon be on a stream that another thread works on, and
    take that work into its graph. So streams to capture on have priorities that those of threads do not have.

    The current device and stream are a thread's own in torch, so each block names its stream, and with it the device.
    """

    lag, captures = 1, True

    def __init__(self, device: torch.device, api: CudaApi | None = None) -> None:
        self._device = device
        self._api = api or cast("CudaApi", _TorchCuda())
        self._stream = self._api.Stream(device, _STEPS_FIRST)
        # Two: matrix products have scratch memory for each stream that they were captured on, and a step may run while
        # waves are made. A graph's kernels keep the priority of this stream, too.
        self._steps, self._waves = self._api.Stream(device, _STEPS_FIRST), self._api.Stream(device, _WAVES_NEXT)
        self._own = threading.local()  # a stream for each thread that works beside: its memory is reused on it alone
        self._capturing = threading.RLock()  # a capture excludes others, and whatever waits for the whole device
        self._replaying = threading.Lock()
        self._replayed = self._api.Event()  # the result of the last shared replay has been copied

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

    def new_pool(self) -> Pool:
        return self._api.graph_pool_handle()

    def capture(self, step: Callable[[], torch.Tensor], pool: Pool) -> Callable[[], torch.Tensor]:
        graph, output = self._capture(step, self._steps, pool)

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay

    def capture_shared(
        self, run: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], pool: Pool
    ) -> Callable[..., torch.Tensor]:
        graph, output = self._capture(lambda: run(*inputs), self._waves, pool)
        replaying, replayed = self._replaying, self._replayed

        def call(*given: torch.Tensor) -> torch.Tensor:
            # The lock is held while the host launches; on the device the event puts threads in order. All shared graphs
            # take turns, not each by itself: their scratch memory is the same.
            with replaying:
                replayed.wait()
                try:
                    for static, value in zip(inputs, given, strict=True):
                        static[: value.shape[0]].copy_(value)
                    graph.replay()
                    return output[: given[0].shape[0]].clone()
                finally:
                    replayed.record()

        return call

    def _capture(self, step: Callable[[], torch.Tensor], stream: Any, pool: Pool) -> tuple[Any, torch.Tensor]:
        """A graph, and what it leaves its result in."""
        with self._capturing, self._api.stream(stream):
            self._api.synchronize(self._device)  # static tensors and weights come from other streams
            step()  # libraries set themselves up at their first call, which must not be captured
            self._api.synchronize(self._device)
            graph = self._api.CUDAGraph()
            # Other threads go on with their own work on the device meanwhile, allocations included.
            with self._forgotten_if_it_fails(pool):
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                output = step()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # that the capture is void: the first error says why
                    self._end(graph, pool)
                raise
            self._end(graph, pool)
        return graph, output

    def _end(self, graph: Any, pool: Pool) -> None:
        with self._forgotten_if_it_fails(pool):
            graph.capture_end()

    @contextlib.contextmanager
    def _forgotten_if_it_fails(self, pool: Pool) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._api.forget_capture(self._device, pool)
            raise

    def beside(self, run: Callable[[], T]) -> T:
        if not hasattr(self._own, "stream"):
            self._own.stream = self._api.Stream(self._device, 0)
        stream = self._own.stream
        with self._api.stream(stream):
            try:
                return run()
            finally:
                # After a failure too: what it read may be of another stream, and freed as soon as nobody holds it.
                stream.synchronize()

    def wait(self) -> None:
        with self._capturing:
            self._api.synchronize(self._device)

    def free_memory(self) -> None:
        with self._capturing:  # torch refuses it during a capture
            self._api.empty_cache()


def open_queue(device: torch.device) -> DeviceQueue:
    """The queue of a device."""
    return CudaQueue(device) if device.type == "cuda" else HostQueue(device)


def set_up_cuda() -> None:
    """Process-wide choices of torch for CUDA: float32 is float32, and attention needs no new plan for each shape."""
    torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions
    torch.backends.cuda.enable_cudnn_sdp(False)  # makes new plans for each shape on Hopper and later
