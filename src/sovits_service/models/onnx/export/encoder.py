"""The prior encoder of SoVITS in operators of the standard: semantic tokens, phonemes and a style in, features out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.graph import GraphBuilder
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.types import FloatArray

_MRTE_HEADS = 4
_NORM_EPSILON = 1e-5


class Encoder(Layers):
    """Adds `enc_p` to a graph."""

    def __init__(self, graph: GraphBuilder, state: State, config: SovitsConfig) -> None:
        super().__init__(graph, state)
        self.config = config
        self._bands: dict[str, tuple[str, str]] = {}

    def encode(self, tokens: str, phoneme_ids: str, style: str) -> str:
        """(1, T_tokens), (1, T_text) and (1, mrte_channels, 1) -> (1, hidden, T), at speed 1."""
        half, whole = self.config.n_layers // 2, self.config.n_layers
        x = self._stack(self.conv(self._quantized(tokens), "enc_p.ssl_proj"), "enc_p.encoder_ssl", half)
        text = self.op("Gather", self.weight("enc_p.text_embedding.weight"), phoneme_ids, axis=0)
        text = self._stack(self.transpose(text, 0, 2, 1), "enc_p.encoder_text", whole)
        return self._stack(self._mrte(x, text, style), "enc_p.encoder2", half)

    def stretch(self, x: str, frames: str) -> str:
        """(1, C, T) -> (1, C, frames), linearly; equal numbers change nothing. The count is (1,) int64."""
        size = self.size(x, 2)
        scale = self.op("Div", self.to_float(size), self.to_float(frames))
        centres = self.op("Add", self.to_float(self.arange(frames)), self.number(0.5))
        places = self.op("Sub", self.op("Mul", centres, scale), self.number(0.5))
        places = self.op("Max", places, self.number(0.0))
        first = self.op("Cast", places, to=7)  # rounds down: there is nothing below zero
        following = self.op("Min", self.op("Add", first, self.ints(1)), self.op("Sub", size, self.ints(1)))
        share = self.op("Sub", places, self.to_float(first))
        left, right = (self.op("Gather", x, index, axis=2) for index in (first, following))
        return self.op("Add", left, self.op("Mul", self.op("Sub", right, left), share))

    def wavenet(self, x: str, style: str, name: str, kernel_size: int, layers: int, mask: str | None = None) -> str:
        """Gated convolutions with residual and skip paths: (1, C, T), (1, gin, 1) and a mask (T,) -> (1, C, T)."""
        conditions = self.split(self.conv(style, f"{name}.cond_layer"), layers, axis=1)
        skip = ""
        for index, condition in enumerate(conditions):
            inner = self.conv(x, f"{name}.in_layers.{index}", padding=(kernel_size - 1) // 2)
            filters, gates = self.split(self.op("Add", inner, condition), 2, axis=1)
            gated = self.op("Mul", self.op("Tanh", filters), self.op("Sigmoid", gates))
            out = self.conv(gated, f"{name}.res_skip_layers.{index}")
            if index < layers - 1:
                residual, out = self.split(out, 2, axis=1)
                x = self.op("Add", x, residual)
                x = x if mask is None else self.op("Mul", x, mask)
            skip = self.op("Add", skip, out) if skip else out
        return skip

    def _quantized(self, tokens: str) -> str:
        """Codebook vectors, each for as many frames as a token lasts: (1, C, T)."""
        stride, channels = self.config.ssl_stride, self.config.ssl_channels
        vectors = self.op("Gather", self.weight("quantizer.vq.layers.0._codebook.embed"), tokens, axis=0)
        repeated = self.op("Tile", self.unsqueeze(vectors, 2), self.ints(1, 1, stride, 1))
        return self.transpose(self.reshape(repeated, 1, -1, channels), 0, 2, 1)

    def _mrte(self, x: str, text: str, style: str) -> str:
        content, phonemes = self.conv(x, "enc_p.mrte.c_pre"), self.conv(text, "enc_p.mrte.text_pre")
        name, channels = "enc_p.mrte.cross_attention", self.config.mrte_channels
        query, key, value = self._project(name, _MRTE_HEADS, content, phonemes)
        mixed = self.attend(query, key, value, (channels // _MRTE_HEADS) ** -0.5)
        attended = self.conv(self._unproject(mixed), f"{name}.conv_o")
        joint = self.op("Add", self.op("Add", attended, content), style)
        return self.conv(joint, "enc_p.mrte.c_post")

    def _project(self, name: str, heads: int, x: str, context: str) -> list[str]:
        """Queries of x, keys and values of the context, each (1, heads, T, head_dim)."""
        pairs = (("q", x), ("k", context), ("v", context))
        projected = (self.conv(source, f"{name}.conv_{part}") for part, source in pairs)
        return [self.heads(self.transpose(part, 0, 2, 1), heads) for part in projected]

    def _unproject(self, mixed: str) -> str:
        """(1, heads, T, head_dim) -> (1, C, T)."""
        return self.transpose(self.join_heads(mixed), 0, 2, 1)

    def _stack(self, x: str, name: str, layers: int) -> str:
        """A post-norm transformer over (1, C, T)."""
        bands = self._band_places(self.size(x, 2))
        kernel = self.config.kernel_size
        padding = ((kernel - 1) // 2, kernel // 2)
        for index in range(layers):
            attended = self._attend_relative(x, f"{name}.attn_layers.{index}", bands)
            x = self._norm(self.op("Add", x, attended), f"{name}.norm_layers_1.{index}")
            layer = f"{name}.ffn_layers.{index}"
            inner = self.op("Relu", self.conv(x, f"{layer}.conv_1", padding=padding))
            output = self.conv(inner, f"{layer}.conv_2", padding=padding)
            x = self._norm(self.op("Add", x, output), f"{name}.norm_layers_2.{index}")
        return x

    def _norm(self, x: str, name: str) -> str:
        rows = self.transpose(x, 0, 2, 1)
        return self.transpose(self.layer_norm(rows, name, _NORM_EPSILON, ("gamma", "beta")), 0, 2, 1)

    def _attend_relative(self, x: str, name: str, bands: tuple[str, str]) -> str:
        """Self-attention with relative positions within a window."""
        to_square, to_band = bands
        heads = self.config.n_heads
        scale = (self.config.hidden_channels // heads) ** -0.5
        query, key, value = self._project(name, heads, x, x)
        query = self.op("Mul", query, self.number(scale))
        # A vector of zeros at each end stands for everything beyond the window.
        keys = self.weight(f"{name}.emb_rel_k", lambda rows: _between_zeros(rows[0]).T, " between zeros")
        near = self.op("GatherElements", self.op("MatMul", query, keys), to_square, axis=3)
        scores = self.op("Add", self.op("MatMul", query, self.transpose(key, 0, 1, 3, 2)), near)
        weights = self.op("Softmax", scores, axis=-1)
        band = self.op("GatherElements", self.pad(weights, 1, 1, axis=3), to_band, axis=3)
        values = self.weight(f"{name}.emb_rel_v", lambda rows: rows[0], " rows")
        mixed = self.op("Add", self.op("MatMul", weights, value), self.op("MatMul", band, values))
        return self.conv(self._unproject(mixed), f"{name}.conv_o")

    def _between(self, x: str, lowest: str, highest: str) -> str:
        """Whole numbers within bounds; `Clip` is for these not everywhere."""
        return self.op("Max", self.op("Min", x, highest), lowest)

    def _band_places(self, size: str) -> tuple[str, str]:
        """Where the scores at each distance are: (1, heads, T, T) in a band, and (1, heads, T, 2w + 1) in a square."""
        window, heads = self.config.attention_window, self.config.n_heads
        places = self.arange(size)
        rows = self.unsqueeze(places, 1)
        distance = self.op("Sub", places, rows)
        inside = self._between(distance, self.scalar(-window - 1), self.scalar(window + 1))
        columns = self.op("Add", inside, self.scalar(window + 1))
        shape = self.concat(self.ints(1, heads), size, size, axis=0)
        to_square = self.op("Expand", columns, shape)
        offsets = self.ints(*range(1 - window, window + 2))  # the square has a column of zeros before it
        beyond = self.op("Add", self.op("Squeeze", size), self.scalar(1))
        columns = self._between(self.op("Add", rows, offsets), self.scalar(0), beyond)
        shape = self.concat(self.ints(1, heads), size, self.ints(2 * window + 1), axis=0)
        return to_square, self.op("Expand", columns, shape)


def _between_zeros(rows: FloatArray) -> FloatArray:
    """(N, C) -> (N + 2, C)."""
    return np.pad(rows, ((1, 1), (0, 0)))
