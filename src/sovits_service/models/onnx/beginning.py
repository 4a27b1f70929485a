"""A session of the first layers of a prefill graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from sovits_service.models.onnx.sessions import open_session


def open_beginning(graph: Path, layer: int, threads: int) -> onnxruntime.InferenceSession:
    """The graph as far as the queries and keys of a layer; keys come as `k_in_N` (T, width), as queries do.

    Args:
        graph: of a prefill, with its weights beside it.
        layer: the last whose queries and keys are outputs.

    Raises:
        OSError: the file is gone.
        SESSION_ERRORS: the graph cannot be run here.
    """
    model = onnx.load(str(graph), load_external_data=False)
    # Not `keys_N`, which attention puts out once it has mixed the values as well.
    wanted = [f"{part}_{index}" for index in range(layer + 1) for part in ("queries", "k_in")]
    needed, nodes = set(wanted), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.ClearField("node")
    part.graph.node.extend(nodes)
    for field in ("initializer", "input"):
        kept = [value for value in getattr(model.graph, field) if value.name in needed]
        part.graph.ClearField(field)
        getattr(part.graph, field).extend(kept)
    part.graph.ClearField("output")
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["T", "width"]) for name in wanted]
    part.graph.output.extend(outputs)
    return open_session(part.SerializeToString(), threads, graph.parent)
