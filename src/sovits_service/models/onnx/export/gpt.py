"""The GPT in operators of the standard: the checkpoint's weights in; a graph that prefills and one that decodes out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.gpt import BERT_WIDTH, GptConfig, sine_positions
from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.gpt_graph import GptGraph
from sovits_service.models.onnx.graph import FLOAT, INT32, INT64, GraphBuilder
from sovits_service.types import FloatArray

_HIDDEN = -1e30  # added to the score of a key that a query may not look at
_NORM_EPSILON = 1e-5


class Gpt(Layers):
    """Adds the GPT to a graph; the inputs and outputs are those of the fused one."""

    def __init__(self, graph: GraphBuilder, state: State, config: GptConfig) -> None:
        super().__init__(graph, state)
        self._config = config
        self._scale = (config.width // config.heads) ** -0.5

    def step(self) -> GraphBuilder:
        """One token further for B rows.

        Inputs: `tokens`, `positions` and `lengths` (B,) int64; `keys_N` and `values_N` (B, heads, capacity, head_dim),
        which are written in place where input and output are the same memory. Output: `logits` (B, vocab).
        """
        graph, config = self.graph, self._config
        tokens, positions, lengths = (graph.input(name, INT64, ["B"]) for name in ("tokens", "positions", "lengths"))
        shape: list[int | str] = ["B", config.heads, "capacity", config.width // config.heads]
        x = self.op("Add", self._embedding("ar_audio", tokens), self._position("ar_audio", positions))
        places = self._places(lengths)
        bound = self.op("Add", self.longest(lengths), self.ints(1))
        is_later = self.op("Greater", self.arange(bound), self.unsqueeze(lengths, 1))
        hidden = self.op("Where", is_later, self.number(_HIDDEN), self.number(0.0))
        bias = self.unsqueeze(hidden, 1, 2)
        for index in range(config.layers):
            query, key, value = self.split(self._project(x, index), 3, axis=1)
            kept = []
            for name, new in ((f"keys_{index}", key), (f"values_{index}", value)):
                graph.input(name, FLOAT, shape)
                graph.output(f"new_{name}", FLOAT, shape)
                by_head = self.reshape(new, 0, config.heads, -1)
                graph.op("ScatterND", [name, places, by_head], f"new_{name}")
                kept.append(self.slice(f"new_{name}", 0, bound, axis=2))
            keys, values = kept
            mixed = self.attend(self.reshape(query, 0, config.heads, 1, -1), keys, values, self._scale, bias)
            x = self._finish(x, self.reshape(mixed, 0, config.width), index)
        self._predict(x, "B")
        return graph

    def prefill(self) -> GraphBuilder:
        """Text and prompt of one sequence, T entries together.

        Inputs: `phoneme_ids` (T_text,) int64; `bert` (T_text, 1024); `prompt_tokens` (T_prompt,) int64. Outputs:
        `logits` (1, vocab) of the first token; `keys_N` and `values_N` (1, heads, T, head_dim).
        """
        graph, config = self.graph, self._config
        ids, prompt = graph.input("phoneme_ids", INT64, ["T_text"]), graph.input("prompt_tokens", INT64, ["T_prompt"])
        bert = graph.input("bert", FLOAT, ["T_text", BERT_WIDTH])
        text_size, prompt_size = self.size(ids, 0), self.size(prompt, 0)
        text = self.op("Add", self._embedding("ar_text", ids), self.linear(bert, "bert_proj"))
        text = self.op("Add", text, self._position("ar_text", self.arange(text_size)))
        spoken = self._embedding("ar_audio", prompt)
        spoken = self.op("Add", spoken, self._position("ar_audio", self.arange(prompt_size)))
        x = self.unsqueeze(self.concat(text, spoken, axis=0), 0)
        bias = self.mask(text_size, prompt_size)
        shape: list[int | str] = [1, config.heads, "T", config.width // config.heads]
        for index in range(config.layers):
            query, key, value = (
                self.heads(part, config.heads) for part in self.split(self._project(x, index), 3, axis=2)
            )
            for name, entries in ((f"keys_{index}", key), (f"values_{index}", value)):
                graph.op("Identity", [entries], name)
                graph.output(name, FLOAT, shape)
            mixed = self.join_heads(self.attend(query, key, value, self._scale, bias))
            x = self._finish(x, mixed, index)
        self._predict(self.op("Gather", x, self.scalar(-1), axis=1), 1)
        return graph

    def longest(self, lengths: str) -> str:
        """The largest of whole numbers, (1,) int64; by way of float32, which not every runtime can do without."""
        return self.op("Cast", self.op("ReduceMax", self.to_float(lengths), self.ints(0), keepdims=1), to=INT64)

    def mask(self, text_size: str, prompt_size: str) -> str:
        """(T, T) to be added to scores: text sees text, tokens see text and earlier tokens."""
        places = self.arange(self.op("Add", text_size, prompt_size))
        last_seen = self.op("Max", places, self.op("Sub", text_size, self.ints(1)))
        is_hidden = self.op("Greater", places, self.unsqueeze(last_seen, 1))
        return self.op("Where", is_hidden, self.number(_HIDDEN), self.number(0.0))

    def _places(self, lengths: str) -> str:
        """(B, heads, 3): where in (B, heads, capacity) the new entry of each row and head goes."""
        rows = self.unsqueeze(self.arange(self.size(lengths, 0)), 1, 2)
        heads = self.graph.constant("heads", np.arange(self._config.heads).reshape(1, -1, 1))
        ends = self.unsqueeze(lengths, 1, 2)
        shape = self.concat(self.size(lengths, 0), self.ints(self._config.heads, 1), axis=0)
        return self.concat(*(self.op("Expand", part, shape) for part in (rows, heads, ends)), axis=2)

    def _embedding(self, part: str, ids: str) -> str:
        return self.op("Gather", self.weight(f"{part}_embedding.word_embeddings.weight"), ids, axis=0)

    def _position(self, part: str, positions: str) -> str:
        def scaled(alpha: FloatArray) -> FloatArray:
            table: FloatArray = sine_positions(self._config.width).numpy()
            return np.multiply(alpha, table)

        table = self.weight(f"{part}_position.alpha", scaled, " times positions")
        return self.op("Gather", table, positions, axis=0)

    def _project(self, x: str, index: int) -> str:
        return self.linear(x, f"h.layers.{index}.self_attn.in_proj", joint="_")

    def _finish(self, x: str, mixed: str, index: int) -> str:
        """What follows attention: projection, residual, norm, feed-forward, residual, norm."""
        layer = f"h.layers.{index}."
        attended = self.linear(mixed, f"{layer}self_attn.out_proj")
        x = self.layer_norm(self.op("Add", x, attended), f"{layer}norm1", _NORM_EPSILON)
        inner = self.linear(self.op("Relu", self.linear(x, f"{layer}linear1")), f"{layer}linear2")
        return self.layer_norm(self.op("Add", x, inner), f"{layer}norm2", _NORM_EPSILON)

    def _predict(self, x: str, rows: int | str) -> None:
        self.graph.op("Identity", [self.linear(x, "ar_predict_layer")], "logits")
        self.graph.output("logits", FLOAT, [rows, self._config.semantic_vocab])


class FusedGpt(GptGraph):
    """The engine's graph with the inputs of the one in operators of the standard: it makes mask and bound by itself."""

    def __init__(self, graph: GraphBuilder, state: State, config: GptConfig) -> None:
        super().__init__(state, config, "float32", graph)
        self._layers = Gpt(graph, state, config)

    def _lengths(self) -> tuple[str, str]:
        layers = self._layers
        lengths = layers.op("Cast", layers.graph.input("lengths", INT64, ["B"]), to=INT32)
        bound = layers.op("Add", layers.longest(lengths), layers.ints(1))
        return lengths, layers.op("Cast", bound, to=INT32)

    def _mask(self, phoneme_ids: str, prompt_tokens: str) -> str:
        layers = self._layers
        mask = layers.mask(layers.size(phoneme_ids, 0), layers.size(prompt_tokens, 0))
        return layers.unsqueeze(mask, 0, 1)
