"""The vocoders in operators of the standard: latents or a mel in, samples out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.export.spectra import denormalized_mel
from sovits_service.models.onnx.graph import FLOAT, GraphBuilder
from sovits_service.models.sovits.bigvgan import BigVganConfig, kaiser_low_pass
from sovits_service.models.sovits.hifigan import HifiganConfig
from sovits_service.types import FloatArray

_SLOPE, _LAST_SLOPE = 0.1, 0.01
_FILTER_TAPS = 12


class Hifigan(Layers):
    """Adds HiFi-GAN to a graph.

    Args:
        prefix: of the weights, `dec.` in the files of v1 to v2ProPlus.
    """

    def __init__(self, graph: GraphBuilder, state: State, config: HifiganConfig, prefix: str = "") -> None:
        super().__init__(graph, state)
        self._config = config
        self._prefix = prefix

    def build(self) -> GraphBuilder:
        """Inputs: `latents` (1, C, frames) and `style_embedding`, or `mel` (1, n_mels, frames), normalised, alone.

        Output: `samples` (1, 1, frames * hop).
        """
        graph, config, prefix = self.graph, self._config, self._prefix
        shape: list[int | str] = [1, config.in_channels, "frames"]
        if config.gin_channels:
            x = self.conv(graph.input("latents", FLOAT, shape), f"{prefix}conv_pre", padding=3)
            style = graph.input("style_embedding", FLOAT, [1, config.gin_channels, 1])
            x = self.op("Add", x, self.conv(style, f"{prefix}cond"))
        else:
            mel = denormalized_mel(self, graph.input("mel", FLOAT, shape))
            x = self.conv(mel, f"{prefix}conv_pre", padding=3)
        kernels = len(config.resblock_kernel_sizes)
        for stage, (rate, kernel) in enumerate(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)):
            x = self.leaky_relu(x, _SLOPE)
            x = self.conv_transpose(x, f"{prefix}ups.{stage}", stride=rate, padding=(kernel - rate) // 2)
            blocks = [self._block(x, stage * kernels + index, index) for index in range(kernels)]
            x = self.op("Div", self.op("Sum", *blocks), self.number(float(kernels)))
        x = self.conv(self.leaky_relu(x, _LAST_SLOPE), f"{prefix}conv_post", padding=3)
        graph.op("Tanh", [x], "samples")
        graph.output("samples", FLOAT, [1, 1, "T_samples"])
        return graph

    def _block(self, x: str, number: int, kind: int) -> str:
        name = f"{self._prefix}resblocks.{number}"
        kernel = self._config.resblock_kernel_sizes[kind]
        is_paired = self._config.resblock == "1"
        dilations = self._config.resblock_dilation_sizes[kind]
        for index, dilation in enumerate(dilations if is_paired else dilations[:2]):
            first = f"{name}.convs1.{index}" if is_paired else f"{name}.convs.{index}"
            padding = (kernel - 1) * dilation // 2
            hidden = self.conv(self.leaky_relu(x, _SLOPE), first, padding=padding, dilation=dilation)
            if is_paired:
                hidden = self.conv(self.leaky_relu(hidden, _SLOPE), f"{name}.convs2.{index}", padding=(kernel - 1) // 2)
            x = self.op("Add", x, hidden)
        return x


class BigVgan(Layers):
    """Adds BigVGAN to a graph."""

    def __init__(self, graph: GraphBuilder, state: State, config: BigVganConfig) -> None:
        super().__init__(graph, state)
        self._config = config

    def build(self) -> GraphBuilder:
        """Input: `mel` (1, n_mels, frames), normalised. Output: `samples` (1, 1, frames * hop)."""
        graph, config = self.graph, self._config
        x = denormalized_mel(self, graph.input("mel", FLOAT, [1, config.num_mels, "frames"]))
        x = self.conv(x, "conv_pre", padding=3)
        kernels = len(config.resblock_kernel_sizes)
        for stage, (rate, kernel) in enumerate(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)):
            x = self.conv_transpose(x, f"ups.{stage}.0", stride=rate, padding=(kernel - rate) // 2)
            blocks = [self._block(x, stage * kernels + index, index) for index in range(kernels)]
            x = self.op("Div", self.op("Sum", *blocks), self.number(float(kernels)))
        x = self.conv(self._activate(x, "activation_post"), "conv_post", padding=3)
        if config.use_tanh_at_final:
            graph.op("Tanh", [x], "samples")
        else:
            graph.op("Clip", [x, self.number(-1.0), self.number(1.0)], "samples")
        graph.output("samples", FLOAT, [1, 1, "T_samples"])
        return graph

    def _block(self, x: str, number: int, kind: int) -> str:
        name, kernel = f"resblocks.{number}", self._config.resblock_kernel_sizes[kind]
        is_paired = self._config.resblock == "1"
        for index, dilation in enumerate(self._config.resblock_dilation_sizes[kind]):
            first = f"{name}.convs1.{index}" if is_paired else f"{name}.convs.{index}"
            activation = 2 * index if is_paired else index
            hidden = self._activate(x, f"{name}.activations.{activation}")
            hidden = self.conv(hidden, first, padding=(kernel - 1) * dilation // 2, dilation=dilation)
            if is_paired:
                hidden = self._activate(hidden, f"{name}.activations.{activation + 1}")
                hidden = self.conv(hidden, f"{name}.convs2.{index}", padding=(kernel - 1) // 2)
            x = self.op("Add", x, hidden)
        return x

    def _activate(self, x: str, name: str) -> str:
        """Snake at twice the rate: each channel by itself through one filter."""
        edge = _FILTER_TAPS // 2 - 1
        cut = 2 * edge + _FILTER_TAPS // 2 - 1
        taps = self.graph.weight("low pass", lambda: kaiser_low_pass().numpy())
        doubled_taps = self.graph.weight("low pass doubled", lambda: 2.0 * kaiser_low_pass().numpy())
        channels = self.transpose(self.pad(x, edge, edge, axis=2, mode="edge"), 1, 0, 2)
        doubled = self.op("ConvTranspose", channels, doubled_taps, strides=[2])
        active = self._snake(self.slice(doubled, cut, -cut, axis=2), f"{name}.act")
        active = self.op("Conv", self.pad(active, edge, edge + 1, axis=2, mode="edge"), taps, strides=[2])
        return self.transpose(active, 1, 0, 2)

    def _snake(self, x: str, name: str) -> str:
        """x + sin^2(alpha x) / beta over (C, 1, T)."""

        def scale(values: FloatArray) -> FloatArray:
            return (np.exp(values) if self._config.snake_logscale else values)[:, None, None]

        def inverse(values: FloatArray) -> FloatArray:
            return np.float32(1.0) / (scale(values) + np.float32(1e-9))

        wave = self.op("Sin", self.op("Mul", x, self.weight(f"{name}.alpha", scale, " scale")))
        divisor = f"{name}.beta" if f"{name}.beta" in self.state else f"{name}.alpha"
        share = self.weight(divisor, inverse, " inverse")
        return self.op("Add", x, self.op("Mul", share, self.op("Mul", wave, wave)))
