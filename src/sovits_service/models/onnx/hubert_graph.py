"""HuBERT as ONNX graphs: the checkpoint's weights in; graphs that take one clip's samples to its features out."""

from __future__ import annotations

from pathlib import Path

from sovits_service.models.hubert import HubertSizes
from sovits_service.models.onnx.export.hubert import Hubert
from sovits_service.models.onnx.export.layers import OPSET, State
from sovits_service.models.onnx.graph import CONTRIB, FLOAT, GraphBuilder, WeightsFile
from sovits_service.models.onnx.hubert import graph_name

WEIGHTS = "weights.bin"
_LAYERS_PER_GRAPH = 3  # 85 MB of weights, at most as much as the convolutions need for their values


def write_hubert(state: State, sizes: HubertSizes, folder: Path) -> None:
    """Write the graphs, each of which takes what the one before gives, and their weights.

    Input of the first: `samples` (1, T_samples) float32 at 16 kHz. Output of the last: `ssl_features` (1, C, T)
    float32. Between them is `hidden` (1, T, C) float32.

    Args:
        state: float32 weights under the checkpoint's keys.
    """
    shape: list[int | str] = [1, "T", sizes.hidden_size]
    firsts = range(0, sizes.num_hidden_layers, _LAYERS_PER_GRAPH)
    file = WeightsFile(folder / WEIGHTS)
    try:
        for number in range(len(firsts) + 1):
            part = _FusedHubert(GraphBuilder(file), state, sizes)
            if number == 0:
                x = part.embed()
            else:
                x = part.graph.input("hidden", FLOAT, shape)
                first = firsts[number - 1]
                for index in range(first, min(first + _LAYERS_PER_GRAPH, sizes.num_hidden_layers)):
                    x = part.layer(x, index)
            if number == len(firsts):
                part.put_out(x)
            else:
                part.graph.output(part.graph.op("Identity", [x], "next_hidden"), FLOAT, shape)
            part.graph.save(folder / graph_name(number), OPSET)
    finally:
        file.close()


class _FusedHubert(Hubert):
    """In ONNX Runtime's own operators where they spare memory: the activations of a clip take more than the weights."""

    def gelu(self, x: str) -> str:
        return self.graph.op("Gelu", [x], domain=CONTRIB)
