"""`torch.cuda` for a machine without a GPU: streams that do their work at once, graphs that record it and replay it.

A capture runs each operator to learn its outputs, then puts back what was written: on a GPU nothing runs in a capture.
A replay runs the recorded operators on the recorded tensors, so what was not in the capture (a shape, a number of the
host) stays as it was, as on a GPU. A capture that failed is under way for torch until it is told to forget it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Any] = []
        self.is_void = False
        self._before: dict[Any, Any] = {}  # storages that were there before the capture, as they were
        self._made: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.is_void = True
            raise RuntimeError("operation not permitted when stream is capturing")
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        for tensor in written:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._made and storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = (storage, storage.clone())
        output = func(*args, **(kwargs or {}))
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        given = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        results = [value.untyped_storage().data_ptr() for value in outputs if isinstance(value, torch.Tensor)]
        self._made |= {place for place in results if place not in given}
        is_view = not written and any(place in given for place in results)
        if not is_view:
            self.calls.append((func, args, kwargs or {}, [] if written else outputs))
        return output

    def put_back(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


class Graph:
    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._recorder: Any = None
        self._pool: Any = None

    def capture_begin(self, *, pool: Any, capture_error_mode: Any) -> None:
        assert pool in self._cuda.pools
        assert capture_error_mode == "thread_local", "another thread's allocation would void the capture"
        assert self._cuda.current_stream != "default", "a capture needs a stream of its own"
        assert not self._cuda.underway, "another capture is under way"
        self._cuda.captures += 1
        self._cuda.underway.append(pool)
        self._cuda.captured_on.append(self._cuda.current_stream)
        self._pool = pool
        if self._cuda.fail_captures:
            raise RuntimeError("CUDA error: operation not permitted")
        self._recorder = Recorder()
        self._recorder.__enter__()

    def capture_end(self) -> None:
        self._recorder.__exit__(None, None, None)
        self._recorder.put_back()
        if self._recorder.is_void:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self._cuda.underway.remove(self._pool)

    def replay(self) -> None:
        assert self._cuda.current_stream != "default"
        self._cuda.log.append("replay")
        for func, args, kwargs, outputs in self._recorder.calls:
            result = func(*args, **kwargs)
            for old, new in zip(outputs, result if isinstance(result, (tuple, list)) else [result], strict=False):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


class Stream:
    def __init__(self, cuda: Any, device: torch.device, priority: int) -> None:
        self.cuda, self.device, self.priority = cuda, device, priority

    def synchronize(self) -> None:
        self.cuda.log.append("wait for stream")


class Event:
    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._is_recorded = False

    def record(self, stream: Any = None) -> None:
        assert stream is None or self._cuda.current_stream is stream
        self._is_recorded = True
        self._cuda.log.append("done" if stream is None else "copied")

    def wait(self) -> None:
        self._cuda.log.append("in turn")

    def synchronize(self) -> None:
        assert self._is_recorded
        self._cuda.log.append("read")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operators that the host asks for, those within a replay left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self._shapes: list[list[tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        self._shapes.append([tuple(value.shape) for value in args if isinstance(value, torch.Tensor)])
        return func(*args, **(kwargs or {}))

    def read_rows(self) -> set[int]:
        """Rows of what was copied to the host: (B, 3) of each step."""
        shapes = [shapes[0] for name, shapes in zip(self.names, self._shapes, strict=True) if name == "aten::copy_"]
        return {shape[0] for shape in shapes if shape[1:] == (3,)}


class RecordedCuda:
    """Stands for `torch.cuda` in a `CudaQueue`.

    Attributes:
        log: what was asked of the device, in order: replay, copied, read, wait for stream; and for a shared graph in
            turn, replay, done.
        streams: that were made.
        current_stream: of this thread; "default" outside of all blocks.
        underway: pools of captures that have not ended for torch.
        captured_on: the stream of each capture.
    """

    def __init__(self, *, fail_captures: bool = False) -> None:
        self.fail_captures = fail_captures
        self.log: list[Any] = []
        self.streams: list[Any] = []
        self.captures = 0
        self._threads = threading.local()
        self.pools: list[Any] = []
        self.underway: list[Any] = []
        self.captured_on: list[Any] = []

    @property
    def current_stream(self) -> Any:
        return getattr(self._threads, "stream", "default")

    def Stream(self, device: torch.device, priority: int) -> Any:
        self.streams.append(Stream(self, device, priority))
        return self.streams[-1]

    def Event(self) -> Any:
        return Event(self)

    def CUDAGraph(self) -> Any:
        return Graph(self)

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[Any]:
        before, self._threads.stream = self.current_stream, stream
        try:
            yield
        finally:
            self._threads.stream = before

    def graph_pool_handle(self) -> Any:
        self.pools.append(object())
        return self.pools[-1]

    def forget_capture(self, device: torch.device, pool: Any) -> None:
        if pool in self.underway:
            self.underway.remove(pool)

    def synchronize(self, device: torch.device) -> None:
        assert not self.underway
        self.log.append("wait for device")

    def empty_cache(self) -> None:
        assert not self.underway, "captures_underway.empty() INTERNAL ASSERT FAILED"
        self.log.append("empty cache")

    @staticmethod
    def pinned(tensor: torch.Tensor) -> Any:
        return tensor.clone()
