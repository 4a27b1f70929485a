"""BERT as an ONNX graph: the checkpoint's weights in; a graph from one text's token ids to hidden states out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from sovits_service.models.bert import DROPPED_LAYERS, BertSizes
from sovits_service.models.onnx.graph import CONTRIB, FLOAT, INT64, GraphBuilder, Precision, WeightsFile
from sovits_service.types import FloatArray

WEIGHTS = "weights.bin"


def write_bert(
    state: Mapping[str, FloatArray], sizes: BertSizes, precision: Precision, folder: Path, name: str
) -> None:
    """Write the graph and its weights into a folder.

    Input: `ids` (T,) int64. Output: `hidden` (T, width) float32, the third-last hidden state.

    Args:
        state: float32 weights under the checkpoint's keys.
        name: of the graph's file.
    """
    weights = WeightsFile(folder / WEIGHTS)
    try:
        BertGraph(state, sizes, precision, GraphBuilder(weights)).build().save(folder / name)
    finally:
        weights.close()


class BertGraph:
    def __init__(
        self, state: Mapping[str, FloatArray], sizes: BertSizes, precision: Precision, graph: GraphBuilder
    ) -> None:
        self._state = state
        self._sizes = sizes
        self._precision = precision
        self._graph = graph

    def build(self) -> GraphBuilder:
        graph = self._graph
        x = self._embed(graph.input("ids", INT64, ["T"]))
        for index in range(self._sizes.num_hidden_layers - DROPPED_LAYERS):
            x = self._layer(x, f"encoder.layer.{index}.")
        graph.op("Identity", [x], "hidden")
        graph.output("hidden", FLOAT, ["T", self._sizes.hidden_size])
        return graph

    def _embed(self, ids: str) -> str:
        graph, state = self._graph, self._state
        types, positions = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
        rows = graph.weight("positions", lambda: state[positions] + state[types][0])
        zero, one = graph.constant("zero", np.array(0)), graph.constant("one", np.array(1))
        length = graph.op("Squeeze", [graph.op("Shape", [ids])])
        position = graph.op("Gather", [rows, graph.op("Range", [zero, length, one])], axis=0)
        word = graph.op("Gather", [self._weight("embeddings.word_embeddings.weight"), ids], axis=0)
        norm = [self._weight(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
        summed = graph.op("Add", [word, position])
        return graph.op("LayerNormalization", [summed, *norm], epsilon=self._sizes.layer_norm_eps, axis=-1)

    def _layer(self, x: str, layer: str) -> str:
        graph, width = self._graph, self._sizes.hidden_size
        parts = [f"{layer}attention.self.{part}" for part in ("query", "key", "value")]
        joint = np.concatenate([self._state[f"{part}.weight"] for part in parts])
        bias = np.concatenate([self._state[f"{part}.bias"] for part in parts])
        qkv = graph.dynamic_linear(x, f"{layer}qkv", joint, bias, self._precision)
        split = [f"{part}_out" for part in parts]
        graph.op("Split", [qkv], split, axis=1, num_outputs=3)
        whole = graph.constant("whole", np.array([1, -1, width]))
        mixed = graph.op(
            "MultiHeadAttention",
            [graph.op("Reshape", [part, whole]) for part in split],
            domain=CONTRIB,
            num_heads=self._sizes.num_attention_heads,
        )
        mixed = graph.op("Reshape", [mixed, graph.constant("flat", np.array([-1, width]))])
        x = self._residual(x, mixed, f"{layer}attention.output.")
        inner = self._product(x, f"{layer}intermediate.dense")
        inner = graph.op("BiasGelu", [inner, self._weight(f"{layer}intermediate.dense.bias")], domain=CONTRIB)
        return self._residual(x, inner, f"{layer}output.")

    def _residual(self, x: str, branch: str, name: str) -> str:
        """The norm of x and a projection of its branch."""
        product = self._product(branch, f"{name}dense")
        norm = [self._weight(f"{name}{part}") for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
        epsilon = self._sizes.layer_norm_eps
        return self._graph.op("SkipLayerNormalization", [x, product, *norm], domain=CONTRIB, epsilon=epsilon)

    def _product(self, x: str, name: str) -> str:
        return self._graph.dynamic_linear(x, name, self._state[f"{name}.weight"], None, self._precision)

    def _weight(self, name: str) -> str:
        return self._graph.weight(name, partial(self._state.__getitem__, name))
