"""HuBERT as an ONNX graph: the checkpoint's weights in; a graph from one clip's samples to its features out."""

from __future__ import annotations

from pathlib import Path

from sovits_service.models.hubert import HubertSizes
from sovits_service.models.onnx.export.hubert import Hubert
from sovits_service.models.onnx.export.layers import OPSET, State
from sovits_service.models.onnx.graph import CONTRIB, GraphBuilder, WeightsFile


def write_hubert(state: State, sizes: HubertSizes, graph: Path, weights: Path) -> None:
    """Write the graph and its weights.

    Input: `samples` (1, T_samples) float32 at 16 kHz. Output: `ssl_features` (1, C, T) float32.

    Args:
        state: float32 weights under the checkpoint's keys.
    """
    file = WeightsFile(weights)
    try:
        builder = _FusedHubert(GraphBuilder(file), state, sizes)
        builder.features()
        builder.graph.save(graph, OPSET)
    finally:
        file.close()


class _FusedHubert(Hubert):
    """In ONNX Runtime's own operators where they spare memory: the activations of a clip take more than the weights."""

    def gelu(self, x: str) -> str:
        return self.graph.op("Gelu", [x], domain=CONTRIB)
