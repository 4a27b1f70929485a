"""A session of the first layers of an attention graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from sovits_service.models.onnx.sessions import open_session


def open_beginning(graph: Path, layer: int, threads: int) -> onnxruntime.InferenceSession:
    """The graph as far as `queries_N` of a layer, which are its output.

    Args:
        graph: with its weights beside it.

    Raises:
        OSError: the file is gone.
        SESSION_ERRORS: the graph cannot be run here.
    """
    model = onnx.load(str(graph), load_external_data=False)
    wanted = f"queries_{layer}"
    needed, nodes = {wanted}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    kept = {field: [v for v in getattr(model.graph, field) if v.name in needed] for field in ("initializer", "input")}
    kept |= {"node": nodes, "output": [value for value in model.graph.output if value.name == wanted]}
    for field, values in kept.items():
        copied = [type(value).FromString(value.SerializeToString()) for value in values]
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(copied)
    return open_session(model.SerializeToString(), threads, graph.parent)
