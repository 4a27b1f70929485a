"""A step of v3's and v4's flow matching in operators of the standard: a noisy mel and conditions in, a velocity out."""

from __future__ import annotations

import math

import numpy as np

from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.graph import FLOAT, GraphBuilder
from sovits_service.models.sovits.dit import DitConfig, text_positions
from sovits_service.types import FloatArray

_PREFIX = "cfm.estimator."
_TIME_CHANNELS = 256
_TIME_SCALE = 1000.0
_MAX_PERIOD = 10_000.0
_POSITION_KERNEL, _POSITION_GROUPS = 31, 16
_TEXT_KERNEL = 7
_NORM_EPSILON = 1e-6


class Dit(Layers):
    """Adds the diffusion transformer to a graph."""

    def __init__(self, graph: GraphBuilder, state: State, config: DitConfig) -> None:
        super().__init__(graph, {key.removeprefix(_PREFIX): value for key, value in state.items()})
        self._config = config

    def build(self) -> GraphBuilder:
        """Inputs: `mel` (1, n_mels, T) as drawn so far; `features` (1, text_channels, T); `prompt` (1, n_mels, T), zero
        behind the prompt; `time` and `step_size` (1,). Output: `velocity` (1, n_mels, T).
        """
        graph, config = self.graph, self._config
        mel = graph.input("mel", FLOAT, [1, config.n_mels, "T"])
        features = graph.input("features", FLOAT, [1, config.text_channels, "T"])
        prompt = graph.input("prompt", FLOAT, [1, config.n_mels, "T"])
        times = [self._embed_time(graph.input(name, FLOAT, [1]), layer) for name, layer in _TIMES]
        step = self.silu(self.op("Add", *times))
        text = self._embed_text(self.transpose(features, 0, 2, 1))
        x = self.concat(self.transpose(mel, 0, 2, 1), self.transpose(prompt, 0, 2, 1), text, axis=2)
        x = self.linear(x, "input_embed.proj")
        x = self.op("Add", x, self._position(x))
        rotation = self._rotation(self.arange(self.size(mel, 2)))
        for index in range(config.n_layers):
            x = self._block(x, step, f"transformer_blocks.{index}.", rotation)
        scale, shift = self.split(self.linear(step, "norm_out.linear"), 2, axis=1)
        x = self.linear(self._modulated(x, scale, shift), "proj_out")
        graph.op("Transpose", [x], "velocity", perm=[0, 2, 1])
        graph.output("velocity", FLOAT, [1, config.n_mels, "T"])
        return graph

    def _embed_time(self, time: str, name: str) -> str:
        """(1,) -> (1, channels)."""
        half = _TIME_CHANNELS // 2
        rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(_MAX_PERIOD) / (half - 1)))
        scaled = self.op("Mul", self.unsqueeze(time, 1), self.number(_TIME_SCALE))
        angles = self.op("Mul", scaled, self.graph.constant("rates", rates[None]))
        waves = self.concat(self.op("Sin", angles), self.op("Cos", angles), axis=1)
        return self.linear(self.silu(self.linear(waves, f"{name}.time_mlp.0")), f"{name}.time_mlp.2")

    def _embed_text(self, features: str) -> str:
        """(1, T, text_channels) through ConvNeXt V2 blocks."""
        table = self.graph.weight("text positions", lambda: text_positions(self._config.text_channels).numpy())
        last = self.op("Sub", self.size(table, 0), self.ints(1))
        places = self.op("Min", self.arange(self.size(features, 1)), last)
        x = self.op("Add", features, self.op("Gather", table, places, axis=0))
        for index in range(self._config.text_layers):
            name = f"text_embed.text_blocks.{index}."
            planes = self.transpose(x, 0, 2, 1)
            padding, channels = _TEXT_KERNEL // 2, self._config.text_channels
            hidden = self.transpose(self.conv(planes, f"{name}dwconv", padding=padding, group=channels), 0, 2, 1)
            hidden = self.gelu(self.linear(self.layer_norm(hidden, f"{name}norm", _NORM_EPSILON), f"{name}pwconv1"))
            x = self.op("Add", x, self.linear(self._response_norm(hidden, f"{name}grn."), f"{name}pwconv2"))
        return x

    def _response_norm(self, x: str, name: str) -> str:
        norms = self.op("ReduceL2", x, self.ints(1), keepdims=1)
        mean = self.op("ReduceMean", norms, self.ints(-1), keepdims=1)
        share = self.op("Div", norms, self.op("Add", mean, self.number(_NORM_EPSILON)))
        scaled = self.op("Mul", self.weight(f"{name}gamma"), self.op("Mul", x, share))
        return self.op("Add", self.op("Add", scaled, self.weight(f"{name}beta")), x)

    def _position(self, x: str) -> str:
        planes = self.transpose(x, 0, 2, 1)
        for index in (0, 2):
            name = f"input_embed.conv_pos_embed.conv1d.{index}"
            planes = self.mish(self.conv(planes, name, padding=_POSITION_KERNEL // 2, group=_POSITION_GROUPS))
        return self.transpose(planes, 0, 2, 1)

    def _rotation(self, places: str) -> tuple[str, str]:
        """(cos, sin), each (T, head_channels)."""
        rates = self.weight("rotary_embed.inv_freq", lambda values: np.repeat(values, 2)[None], " twice")
        angles = self.op("Mul", self.unsqueeze(self.to_float(places), 1), rates)
        return self.op("Cos", angles), self.op("Sin", angles)

    def _block(self, x: str, step: str, name: str, rotation: tuple[str, str]) -> str:
        parts = self.split(self.linear(step, f"{name}attn_norm.linear"), 6, axis=1)
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = parts
        attended = self._attend(self._modulated(x, scale_attn, shift_attn), f"{name}attn.", rotation)
        x = self.op("Add", x, self.op("Mul", gate_attn, attended))
        inner = self.linear(self._modulated(x, scale_ff, shift_ff), f"{name}ff.ff.0.0")
        output = self.linear(self.gelu_tanh(inner), f"{name}ff.ff.2")
        return self.op("Add", x, self.op("Mul", gate_ff, output))

    def _modulated(self, x: str, scale: str, shift: str) -> str:
        """The norm of x, scaled and shifted by the step."""
        ones = self.graph.constant("ones", np.ones(self._config.channels, np.float32))
        normed = self.op("LayerNormalization", x, ones, axis=-1, epsilon=_NORM_EPSILON)
        return self.op("Add", self.op("Mul", normed, self.op("Add", scale, self.number(1.0))), shift)

    def _attend(self, x: str, name: str, rotation: tuple[str, str]) -> str:
        query, key, value = (self.heads(self.linear(x, f"{name}to_{p}"), self._config.n_heads) for p in ("q", "k", "v"))
        query, key = self._rotate(query, rotation), self._rotate(key, rotation)
        mixed = self.join_heads(self.attend(query, key, value, self._config.head_channels**-0.5))
        return self.linear(mixed, f"{name}to_out.0")

    def _rotate(self, x: str, rotation: tuple[str, str]) -> str:
        """Turn the first head alone, as the model does."""
        cos, sin = rotation
        first = self.slice(x, 0, 1, axis=1)
        turned = self.op("MatMul", first, self.graph.weight("quarter turn", self._quarter_turn))
        rotated = self.op("Add", self.op("Mul", first, cos), self.op("Mul", turned, sin))
        if self._config.n_heads == 1:
            return rotated
        return self.concat(rotated, self.slice(x, 1, self._config.n_heads, axis=1), axis=1)

    def _quarter_turn(self) -> FloatArray:
        """(head_channels, head_channels): (a, b) -> (-b, a) for each pair."""
        size = self._config.head_channels
        turn = np.zeros((size, size), np.float32)
        turn[range(1, size, 2), range(0, size, 2)] = -1.0
        turn[range(0, size, 2), range(1, size, 2)] = 1.0
        return turn


_TIMES = (("time", "time_embed"), ("step_size", "d_embed"))
