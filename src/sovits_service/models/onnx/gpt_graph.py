"""The GPT as ONNX graphs: the checkpoint's weights in; a graph that prefills and one that decodes out.

Both use operators that ONNX Runtime adds to the standard: attention over a cache that grows in place, residual and norm
in one. The 8-bit products give a row the same bits whatever the others are; the dynamic ones, which scale all rows
together, do not and are not used. The output layer stays in float32: it is small, and decides between tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sovits_service.models.gpt import BERT_WIDTH, GptConfig, sine_positions
from sovits_service.models.onnx.gpt import ATTENTION, DECODE, PREFILL, PROOF, can_quantize
from sovits_service.models.onnx.graph import CONTRIB, FLOAT, INT32, INT64, GraphBuilder, Precision, Product, WeightsFile
from sovits_service.models.onnx.quantize import BLOCK
from sovits_service.types import FloatArray

WEIGHTS = "weights.bin"
_NORM_EPSILON = 1e-5
# From this width on, that of the published models, a prefill in float32 takes as long as thirty steps, and blocks of 32
# spend much of a step on scales: both are rounded more coarsely there. Smaller models are fast enough as they are. With
# blocks of 128 a row's bits depend on the batch.
_WIDE, _WIDE_BLOCK = 512, 64

State = Mapping[str, FloatArray]


def write_gpt(state: State, config: GptConfig, precision: Precision, folder: Path, *, has_exact_products: bool) -> None:
    """Write the graphs and their weights into a folder: prefill, decode, attention, and a decode of one layer for the
    proof.

    Args:
        state: float32 weights under the checkpoint's keys.
        has_exact_products: whether the processor sums 8-bit products without rounding (`products_are_exact`).
    """
    decode, prefill = _products(config, precision, has_exact_products)
    weights = WeightsFile(folder / WEIGHTS)
    try:
        GptGraph(state, config, decode, GraphBuilder(weights)).decode().save(folder / DECODE)
        GptGraph(state, config, prefill, GraphBuilder(weights)).prefill(has_queries=True).save(folder / PREFILL)
        GptGraph(state, config, prefill, GraphBuilder(weights)).attention().save(folder / ATTENTION)
        one_layer = replace(config, layers=1)
        GptGraph(state, one_layer, decode, GraphBuilder(weights)).decode().save(folder / PROOF)
    finally:
        weights.close()


def _products(config: GptConfig, precision: Precision, has_exact_products: bool) -> tuple[Product, Product]:
    """How decoding and prefill multiply. What a prefill rounds stays in the cache for the whole sequence."""
    if precision == "float32" or not can_quantize(config):
        return "float32", "float32"
    if config.width < _WIDE:
        return BLOCK, "float32"
    block = _WIDE_BLOCK if config.width % _WIDE_BLOCK == config.feed_forward % _WIDE_BLOCK == 0 else BLOCK
    return block, "rows" if has_exact_products else block


class GptGraph:
    """The parts that the graphs share."""

    def __init__(self, state: State, config: GptConfig, product: Product, graph: GraphBuilder) -> None:
        self._state = state
        self._config = config
        self._product = product
        self._graph = graph

    def decode(self) -> GraphBuilder:
        """One token further for B rows.

        Inputs: `tokens` and `positions` (B,) int64; `lengths` (B,) int32, entries in the cache before this one;
        `bound` (1,) int32, above every length; `keys_N` and `values_N` (B, heads, capacity, head_dim), which are
        written in place where input and output are bound to the same memory. Output: `logits` (B, vocab).
        """
        graph, config = self._graph, self._config
        tokens, positions = graph.input("tokens", INT64, ["B"]), graph.input("positions", INT64, ["B"])
        lengths, bound = self._lengths()
        x = self._embed("ar_audio", tokens, positions)
        packed = graph.constant("packed", np.array([-1, 1, 3 * config.width]))
        flat = graph.constant("flat", np.array([-1, config.width]))
        shape: list[int | str] = ["B", config.heads, "capacity", config.width // config.heads]
        for index in range(config.layers):
            past = [graph.input(f"{name}_{index}", FLOAT, shape) for name in ("keys", "values")]
            present = [f"new_{name}" for name in past]
            for name in present:
                graph.output(name, FLOAT, shape)
            qkv = graph.op("Reshape", [self._project(x, index), packed])
            mixed = graph.op(
                "GroupQueryAttention",
                [qkv, "", "", *past, lengths, bound],
                [f"mixed_{index}", *present],
                domain=CONTRIB,
                num_heads=config.heads,
                kv_num_heads=config.heads,
            )
            x = self._finish(x, graph.op("Reshape", [mixed, flat]), index)
        self._predict(x)
        return graph

    def prefill(self, *, has_queries: bool = False) -> GraphBuilder:
        """Text and prompt of one sequence, T entries together.

        Inputs: `phoneme_ids` (T_text,) int64; `bert` (T_text, 1024); `prompt_tokens` (T_prompt,) int64; `mask`
        (1, 1, T, T) float32, 0 where a query (row) may look at a key and very negative elsewhere. Outputs: `logits`
        (1, vocab) of the first token; `keys_N` and `values_N` (1, heads, T, head_dim); with `has_queries` also
        `queries_N` (T, width), for who wants to know where a head looks.
        """
        graph, config = self._graph, self._config
        x, mask = self._sequence()
        shape: list[int | str] = [1, config.heads, "T", config.width // config.heads]
        for index in range(config.layers):
            parts = [f"queries_{index}", *(f"{name}_in_{index}" for name in ("k", "v"))]
            if has_queries:
                graph.output(parts[0], FLOAT, ["T", config.width])
            graph.op("Split", [self._project(x, index)], parts, axis=1, num_outputs=3)
            outputs = [f"{name}_{index}" for name in ("keys", "values")]
            for name in outputs:
                graph.output(name, FLOAT, shape)
            x = self._finish(x, self._attend(parts, mask, [f"mixed_{index}", *outputs]), index)
        last = graph.constant("last", np.array([-1]))
        self._predict(graph.op("Gather", [x, last], axis=0))
        return graph

    def attention(self) -> GraphBuilder:
        """Where tokens behind a cached prefix look: who runs it takes the output of one layer, and nothing above it.

        Inputs: `tokens` and `positions` (T,) int64; `mask` (1, 1, T, S + T) float32, as in `prefill`; `keys_N` and
        `values_N` (1, heads, S, head_dim) of the prefix. Outputs: `queries_N` (T, width).
        """
        graph, config = self._graph, self._config
        tokens, positions = graph.input("tokens", INT64, ["T"]), graph.input("positions", INT64, ["T"])
        mask = graph.input("mask", FLOAT, [1, 1, "T", "S_and_T"])
        x = self._embed("ar_audio", tokens, positions)
        shape: list[int | str] = [1, config.heads, "S", config.width // config.heads]
        for index in range(config.layers):
            alone = self._queries(x, index)  # all that is needed of the layer that is looked at
            graph.output(graph.op("Identity", [alone], f"queries_{index}"), FLOAT, ["T", config.width])
            past = [graph.input(f"{name}_{index}", FLOAT, shape) for name in ("keys", "values")]
            parts = [f"{name}_in_{index}" for name in ("q", "k", "v")]
            graph.op("Split", [self._project(x, index)], parts, axis=1, num_outputs=3)
            outputs = [f"mixed_{index}", *(f"new_{name}" for name in past)]
            x = self._finish(x, self._attend(parts, mask, outputs, past), index)
        return graph

    def _sequence(self) -> tuple[str, str]:
        """The inputs of text and tokens: the entries (T, width) of layer 0, and the mask."""
        graph = self._graph
        ids, prompt = graph.input("phoneme_ids", INT64, ["T_text"]), graph.input("prompt_tokens", INT64, ["T_prompt"])
        bert = graph.input("bert", FLOAT, ["T_text", BERT_WIDTH])
        mask = self._mask(ids, prompt)
        text = graph.op("Add", [self._embedding("ar_text", ids), self._linear(bert, "bert_proj")])
        text = graph.op("Add", [text, self._positions("ar_text", self._range(ids))])
        x = graph.op("Concat", [text, self._embed("ar_audio", prompt, self._range(prompt))], axis=0)
        return x, mask

    def _attend(
        self, parts: Sequence[str], mask: str, outputs: Sequence[str] | None = None, past: Sequence[str] = ()
    ) -> str:
        """Queries, keys and values (T, width), and those of the `past`, to the mixed values (T, width)."""
        graph, width = self._graph, self._config.width
        whole, flat = graph.constant("whole", np.array([1, -1, width])), graph.constant("flat", np.array([-1, width]))
        inputs = [*(graph.op("Reshape", [part, whole]) for part in parts), "", "", mask, *past]
        heads = self._config.heads
        mixed = graph.op("MultiHeadAttention", inputs, outputs, domain=CONTRIB, num_heads=heads)
        return graph.op("Reshape", [mixed, flat])

    def _queries(self, x: str, index: int) -> str:
        """Without keys and values."""
        name, width = f"h.layers.{index}.self_attn.in_proj", self._config.width
        weight, bias = self._state[f"{name}_weight"][:width], self._state[f"{name}_bias"][:width]
        return self._graph.linear(x, f"{name}.queries", weight, bias, self._product)

    def _lengths(self) -> tuple[str, str]:
        """The inputs `lengths` and `bound`."""
        return self._graph.input("lengths", INT32, ["B"]), self._graph.input("bound", INT32, [1])

    def _mask(self, phoneme_ids: str, prompt_tokens: str) -> str:
        """The input `mask`, which the caller makes for these two."""
        return self._graph.input("mask", FLOAT, [1, 1, "T", "T"])

    def _embed(self, part: str, ids: str, positions: str) -> str:
        return self._graph.op("Add", [self._embedding(part, ids), self._positions(part, positions)])

    def _embedding(self, part: str, ids: str) -> str:
        name = f"{part}_embedding.word_embeddings.weight"
        return self._graph.op("Gather", [self._graph.weight(name, lambda: self._state[name]), ids], axis=0)

    def _positions(self, part: str, positions: str) -> str:
        def scaled() -> FloatArray:
            table: FloatArray = sine_positions(self._config.width).numpy()
            return np.multiply(self._state[f"{part}_position.alpha"], table)

        return self._graph.op("Gather", [self._graph.weight(f"{part}_position", scaled), positions], axis=0)

    def _range(self, ids: str) -> str:
        """0, 1, 2, ... for each id."""
        graph = self._graph
        zero, one = graph.constant("zero", np.array(0)), graph.constant("one", np.array(1))
        length = graph.op("Squeeze", [graph.op("Shape", [ids])])
        return graph.op("Range", [zero, length, one])

    def _project(self, x: str, index: int) -> str:
        return self._linear(x, f"h.layers.{index}.self_attn.in_proj", joint="_")

    def _finish(self, x: str, mixed: str, index: int) -> str:
        """What follows attention: projection, residual, norm, feed-forward, residual, norm."""
        layer = f"h.layers.{index}."
        attended = self._linear(mixed, f"{layer}self_attn.out_proj", has_bias=False)
        x = self._norm(x, attended, f"{layer}norm1", f"{layer}self_attn.out_proj.bias")
        inner = self._linear(x, f"{layer}linear1", relu=True)
        output = self._linear(inner, f"{layer}linear2", has_bias=False)
        return self._norm(x, output, f"{layer}norm2", f"{layer}linear2.bias")

    def _norm(self, x: str, residual: str, name: str, bias: str) -> str:
        """The norm of x + residual + bias."""
        parts = [f"{name}.weight", f"{name}.bias", bias]
        inputs = [x, residual, *(self._graph.weight(part, partial(self._state.__getitem__, part)) for part in parts)]
        return self._graph.op("SkipLayerNormalization", inputs, domain=CONTRIB, epsilon=_NORM_EPSILON)

    def _predict(self, x: str) -> None:
        name = "ar_predict_layer"
        logits = self._graph.linear(x, name, self._state[f"{name}.weight"], None, "float32")
        self._graph.op("Identity", [logits], "logits")
        self._graph.output("logits", FLOAT, ["B", self._config.semantic_vocab])

    def _linear(self, x: str, name: str, *, has_bias: bool = True, relu: bool = False, joint: str = ".") -> str:
        bias = self._state[f"{name}{joint}bias"] if has_bias else None
        return self._graph.linear(x, name, self._state[f"{name}{joint}weight"], bias, self._product, relu=relu)
