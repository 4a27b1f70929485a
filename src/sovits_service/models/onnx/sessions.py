"""Open ONNX Runtime sessions with the options that the service needs."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _errors

CPU = "CPUExecutionProvider"
# What ONNX Runtime raises where a graph cannot be run; its classes have no base of their own.
SESSION_ERRORS: tuple[type[Exception], ...] = (
    _errors.EPFail,
    _errors.Fail,
    _errors.InvalidArgument,
    _errors.InvalidGraph,
    _errors.InvalidProtobuf,
    _errors.NoSuchFile,
    _errors.NotImplemented,
    _errors.RuntimeException,
)


def open_session(
    graph: Path | bytes, threads: int, weights_folder: Path | None = None, *, packs_weights: bool = True
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        graph: a file, or what it holds.
        weights_folder: of a graph that is no file.
        packs_weights: off leaves the weights as they are in their file, which is mapped: a product of few rows takes
            longer then, one of hundreds does not.

    Raises:
        SESSION_ERRORS: the graph cannot be run here.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Both keep memory for each length that came: the arena what the longest took, the pattern one plan a length.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Threads that wait in a loop take the cores that torch decodes waves on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights_folder))
    if not packs_weights:
        options.add_session_config_entry("session.disable_prepacking", "1")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=[CPU])
