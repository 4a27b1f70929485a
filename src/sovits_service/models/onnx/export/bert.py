"""BERT in operators of the standard: a text's token ids in, one vector for each token out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.bert import DROPPED_LAYERS, BertSizes
from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.graph import FLOAT, INT64, GraphBuilder


class Bert(Layers):
    """Adds BERT, up to its third-last hidden state, to a graph."""

    def __init__(self, graph: GraphBuilder, state: State, sizes: BertSizes) -> None:
        super().__init__(graph, state)
        self._sizes = sizes

    def build(self) -> GraphBuilder:
        """Input: `ids` (T,) int64. Output: `hidden` (T, width)."""
        ids = self.graph.input("ids", INT64, ["T"])
        types = self.state["embeddings.token_type_embeddings.weight"]
        rows = self.weight("embeddings.position_embeddings.weight", lambda table: table + types[0], " and type")
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), ids, axis=0)
        places = self.op("Gather", rows, self.arange(self.size(ids, 0)), axis=0)
        x = self._norm(self.op("Add", words, places), "embeddings.")
        x = self.unsqueeze(x, 0)
        for index in range(self._sizes.num_hidden_layers - DROPPED_LAYERS):
            x = self._layer(x, f"encoder.layer.{index}.")
        self.graph.op("Squeeze", [x, self.ints(0)], "hidden")
        self.graph.output("hidden", FLOAT, ["T", self._sizes.hidden_size])
        return self.graph

    def _layer(self, x: str, layer: str) -> str:
        count = self._sizes.num_attention_heads
        query, key, value = (
            self.heads(self.linear(x, f"{layer}attention.self.{part}"), count) for part in ("query", "key", "value")
        )
        scale = float(np.sqrt(count / self._sizes.hidden_size))
        mixed = self.join_heads(self.attend(query, key, value, scale))
        x = self._residual(x, mixed, f"{layer}attention.output.")
        return self._residual(x, self.gelu(self.linear(x, f"{layer}intermediate.dense")), f"{layer}output.")

    def _residual(self, x: str, branch: str, name: str) -> str:
        return self._norm(self.op("Add", self.linear(branch, f"{name}dense"), x), name)

    def _norm(self, x: str, name: str) -> str:
        return self.layer_norm(x, f"{name}LayerNorm", self._sizes.layer_norm_eps)
