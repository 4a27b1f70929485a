"""Layers in operators of the ONNX standard: the names of values and of weights in, the name of the result out.

Opset 18, which ONNX Runtime and TensorRT have known since 2023. All graphs are of batch size 1, but for the GPT's step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sovits_service.models.onnx.graph import GraphBuilder
from sovits_service.types import FloatArray

OPSET = 18

State = Mapping[str, FloatArray]


class Layers:
    """Adds layers to a graph.

    Args:
        graph: that they are added to.
        state: float32 weights under the checkpoint's keys.
    """

    def __init__(self, graph: GraphBuilder, state: State) -> None:
        self.graph = graph
        self.state = state

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.op(operator, inputs, **attributes)

    # -- weights and constants

    def weight(self, name: str, make: Callable[[FloatArray], FloatArray] | None = None, suffix: str = "") -> str:
        """A weight of the checkpoint; `make` changes it, and `suffix` names what it makes."""
        if make is None:
            return self.graph.weight(name, lambda: self.state[name])
        return self.graph.weight(f"{name}{suffix}", lambda: make(self.state[name]))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.graph.constant(f"number {value!r}", np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """A row of int64."""
        return self.graph.constant(f"ints {values}", np.array(values, np.int64))

    def scalar(self, value: int) -> str:
        """An int64 scalar."""
        return self.graph.constant(f"scalar {value}", np.array(value, np.int64))

    # -- shapes

    def size(self, x: str, axis: int) -> str:
        """The length of an axis, (1,) int64."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def concat(self, *parts: str, axis: int) -> str:
        return self.op("Concat", *parts, axis=axis)

    def reshape(self, x: str, *shape: int | str) -> str:
        """The shape holds numbers, of which 0 copies an axis and -1 is what is left, and sizes that were computed."""
        if all(isinstance(size, int) for size in shape):
            return self.op("Reshape", x, self.ints(*(int(size) for size in shape)))
        parts = [self.ints(size) if isinstance(size, int) else size for size in shape]
        return self.op("Reshape", x, self.concat(*parts, axis=0))

    def transpose(self, x: str, *order: int) -> str:
        return self.op("Transpose", x, perm=order)

    def slice(self, x: str, start: int | str, end: int | str, axis: int, step: int = 1) -> str:
        first, last = (self.ints(place) if isinstance(place, int) else place for place in (start, end))
        return self.op("Slice", x, first, last, self.ints(axis), self.ints(step))

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Equal parts."""
        names = [f"{x} part {part} of {parts} at {axis}" for part in range(parts)]
        self.graph.op("Split", [x], names, axis=axis, num_outputs=parts)
        return names

    def arange(self, size: str) -> str:
        """0 to size - 1, int64; the size is (1,)."""
        return self.op("Range", self.scalar(0), self.op("Squeeze", size), self.scalar(1))

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self.op("Unsqueeze", x, self.ints(*axes))

    def to_float(self, x: str) -> str:
        return self.op("Cast", x, to=1)

    def pad(self, x: str, before: int, after: int, axis: int, mode: str = "constant") -> str:
        return self.op("Pad", x, self.ints(before, after), "", self.ints(axis), mode=mode)

    # -- layers

    def linear(self, x: str, name: str, joint: str = ".") -> str:
        """(..., in) -> (..., out)."""
        product = self.op("MatMul", x, self.weight(f"{name}{joint}weight", np.transpose, " transposed"))
        bias = f"{name}{joint}bias"
        return self.op("Add", product, self.weight(bias)) if bias in self.state else product

    def conv(
        self,
        x: str,
        name: str,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
        group: int = 1,
    ) -> str:
        """Over (1, C, T), or (1, C, H, W) where the weight has four axes."""
        rank = self.state[f"{name}.weight"].ndim - 2
        pads = [padding, padding] if isinstance(padding, int) else list(padding)
        pads = pads if rank == 1 else [pads[0]] * rank + [pads[1]] * rank
        inputs = [x, self.weight(f"{name}.weight")]
        if f"{name}.bias" in self.state:
            inputs.append(self.weight(f"{name}.bias"))
        attributes = {"strides": [stride] * rank, "pads": pads, "dilations": [dilation] * rank, "group": group}
        return self.op("Conv", *inputs, **attributes)

    def conv_transpose(self, x: str, name: str, *, stride: int, padding: int) -> str:
        """Over (1, C, T)."""
        inputs = [x, self.weight(f"{name}.weight")]
        if f"{name}.bias" in self.state:
            inputs.append(self.weight(f"{name}.bias"))
        return self.op("ConvTranspose", *inputs, strides=[stride], pads=[padding, padding])

    def layer_norm(self, x: str, name: str, epsilon: float, parts: Sequence[str] = ("weight", "bias")) -> str:
        """Over the last axis."""
        return self.op("LayerNormalization", x, *(self.weight(f"{name}.{p}") for p in parts), axis=-1, epsilon=epsilon)

    def leaky_relu(self, x: str, slope: float) -> str:
        return self.op("LeakyRelu", x, alpha=slope)

    def gelu(self, x: str) -> str:
        """The exact one, by the error function."""
        upper = self.op("Add", self.op("Erf", self.op("Mul", x, self.number(math.sqrt(0.5)))), self.number(1.0))
        return self.op("Mul", self.op("Mul", x, self.number(0.5)), upper)

    def gelu_tanh(self, x: str) -> str:
        """The approximation."""
        cube = self.op("Mul", self.op("Mul", x, x), x)
        inner = self.op("Add", x, self.op("Mul", cube, self.number(0.044715)))
        upper = self.op("Tanh", self.op("Mul", inner, self.number(math.sqrt(2 / math.pi))))
        return self.op("Mul", self.op("Mul", x, self.number(0.5)), self.op("Add", upper, self.number(1.0)))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def mish(self, x: str) -> str:
        return self.op("Mul", x, self.op("Tanh", self.op("Softplus", x)))

    # -- attention

    def heads(self, x: str, heads: int) -> str:
        """(1, T, C) -> (1, heads, T, C / heads)."""
        return self.transpose(self.reshape(x, 0, 0, heads, -1), 0, 2, 1, 3)

    def join_heads(self, x: str) -> str:
        """(1, heads, T, C / heads) -> (1, T, C)."""
        return self.reshape(self.transpose(x, 0, 2, 1, 3), 0, 0, -1)

    def attend(self, query: str, key: str, value: str, scale: float, bias: str | None = None) -> str:
        """All three (B, heads, T, head_dim); the bias is added to the scores."""
        scores = self.op("MatMul", self.op("Mul", query, self.number(scale)), self.transpose(key, 0, 1, 3, 2))
        if bias is not None:
            scores = self.op("Add", scores, bias)
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
