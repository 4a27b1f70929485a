"""What the models take from a reference clip, in operators of the standard: samples in; style, speaker and mel out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.export.spectra import filter_bank, linear_spectrum, normalized_mel
from sovits_service.models.onnx.graph import FLOAT, GraphBuilder
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.spec import SPEAKER_EMBEDDING_CHANNELS, MelSpec
from sovits_service.types import FloatArray

SPEAKER_RATE_HZ = 16_000
_STYLE_HEADS = 2
_BATCH_NORM_EPSILON = 1e-5
_MAX_ACTIVATION = 20.0


def build_mel(graph: GraphBuilder, mel: MelSpec, filters: FloatArray) -> GraphBuilder:
    """Input: `samples` (1, T_samples) at the mel's rate. Output: `ref_mel` (1, n_mels, T), normalised."""
    layers = Layers(graph, {})
    samples = graph.input("samples", FLOAT, [1, "T_samples"])
    out = normalized_mel(layers, samples, filters, mel.fft_samples, mel.hop_samples)
    graph.op("Identity", [out], "ref_mel")
    graph.output("ref_mel", FLOAT, [1, mel.n_mels, "T"])
    return graph


class Style(Layers):
    """Adds the style encoder to a graph."""

    def __init__(self, graph: GraphBuilder, state: State, config: SovitsConfig) -> None:
        super().__init__(graph, state)
        self._config = config

    def build(self) -> GraphBuilder:
        """Inputs: `samples` (1, T_samples); for v2Pro and v2ProPlus `speaker_embedding` (1, 20480).

        Output: `style_embedding` (1, gin_channels, 1).
        """
        graph, config = self.graph, self._config
        samples = self._limit_peak(graph.input("samples", FLOAT, [1, "T_samples"]))
        spectrum = linear_spectrum(self, samples, config.filter_length, config.hop_length, config.ref_spec_bins)
        style = self._encode(spectrum)
        if config.speaker_embedding_channels:
            speaker = graph.input("speaker_embedding", FLOAT, [1, config.speaker_embedding_channels])
            lean = self.unsqueeze(self.linear(speaker, "sv_emb"), 2)
            slope = self.weight("prelu.weight", lambda slopes: slopes[:, None], " by channel")
            style = self.op("PRelu", self.op("Add", style, lean), slope)
        graph.op("Identity", [style], "style_embedding")
        graph.output("style_embedding", FLOAT, [1, config.gin_channels, 1])
        return graph

    def _limit_peak(self, samples: str) -> str:
        peak = self.op("ReduceMax", self.op("Abs", samples), keepdims=0)
        return self.op("Div", samples, self.op("Clip", peak, self.number(1.0), self.number(2.0)))

    def _encode(self, spectrum: str) -> str:
        x = self.transpose(spectrum, 0, 2, 1)
        for index in (0, 3):
            x = self.mish(self.linear(x, f"ref_enc.spectral.{index}.fc"))
        x = self.transpose(x, 0, 2, 1)
        padding = (self._config.ref_kernel_size - 1) // 2
        for index in (0, 1):
            values, gates = self.split(self.conv(x, f"ref_enc.temporal.{index}.conv1.conv", padding=padding), 2, axis=1)
            x = self.op("Add", x, self.op("Mul", values, self.op("Sigmoid", gates)))
        x = self.transpose(x, 0, 2, 1)
        query, key, value = (
            self.heads(self.linear(x, f"ref_enc.slf_attn.w_{part}s"), _STYLE_HEADS) for part in ("q", "k", "v")
        )
        scale = float(self._config.ref_hidden_channels**-0.5)
        mixed = self.join_heads(self.attend(query, key, value, scale))
        x = self.linear(self.op("Add", self.linear(mixed, "ref_enc.slf_attn.fc"), x), "ref_enc.fc.fc")
        return self.transpose(self.op("ReduceMean", x, self.ints(1), keepdims=1), 0, 2, 1)


class Speaker(Layers):
    """Adds ERes2NetV2 of the published sizes to a graph, its batch norms folded into its convolutions.

    Args:
        filters: Kaldi's mel filters.
    """

    def __init__(self, graph: GraphBuilder, state: State, filters: FloatArray) -> None:
        super().__init__(graph, dict(state))
        self._filters = filters
        for name in [name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")]:
            self._fold(name)

    def build(self) -> GraphBuilder:
        """Input: `samples` (1, T_samples) at 16 kHz. Output: `speaker_embedding` (1, 20480)."""
        graph = self.graph
        samples = graph.input("samples", FLOAT, [1, "T_samples"])
        bands = filter_bank(self, samples, self._filters, SPEAKER_RATE_HZ)
        x = self.op("Relu", self.conv(self.unsqueeze(self.transpose(bands, 0, 2, 1), 1), "conv1", padding=1))
        third = x
        for stage in (1, 2, 3):
            third = self._stage(third, stage)
        shortened = self.conv(third, "layer3_ds", stride=2, padding=1)
        x = self._fuse(self._stage(third, 4), shortened, "fuse34.")
        flat = self.reshape(x, 1, SPEAKER_EMBEDDING_CHANNELS, -1)
        graph.op("ReduceMean", [flat, self.ints(2)], "speaker_embedding", keepdims=0)
        graph.output("speaker_embedding", FLOAT, [1, SPEAKER_EMBEDDING_CHANNELS])
        return graph

    def _fold(self, norm: str) -> None:
        """Let the convolution before a norm do the norm's work."""
        state: dict[str, FloatArray] = self.state  # type: ignore[assignment]
        conv = _conv_before(norm)
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + np.float32(_BATCH_NORM_EPSILON))
        bias = state.get(f"{conv}.bias", np.zeros_like(scale))
        state[f"{conv}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        state[f"{conv}.bias"] = (bias - state[f"{norm}.running_mean"]) * scale + state[f"{norm}.bias"]

    def _stage(self, x: str, stage: int) -> str:
        count = len({name.split(".")[1] for name in self.state if name.startswith(f"layer{stage}.")})
        for index in range(count):
            x = self._block(x, f"layer{stage}.{index}.", stride=2 if stage > 1 and index == 0 else 1)
        return x

    def _block(self, x: str, name: str, stride: int) -> str:
        scale = sum(key.startswith(f"{name}convs.") and key.endswith(".weight") for key in self.state)
        groups = self.split(self._clip(self.conv(x, f"{name}conv1", stride=stride)), scale, axis=1)
        outputs: list[str] = []
        for index, group in enumerate(groups):
            if outputs and f"{name}fuse_models.0.local_att.0.weight" in self.state:
                group = self._fuse(outputs[-1], group, f"{name}fuse_models.{index - 1}.")
            elif outputs:
                group = self.op("Add", outputs[-1], group)
            outputs.append(self._clip(self.conv(group, f"{name}convs.{index}", padding=1)))
        whole = self.conv(self.concat(*outputs, axis=1), f"{name}conv3")
        short = x
        if f"{name}shortcut.0.weight" in self.state:
            short = self.conv(x, f"{name}shortcut.0", stride=stride)
        return self._clip(self.op("Add", whole, short))

    def _fuse(self, x: str, y: str, name: str) -> str:
        inner = self.silu(self.conv(self.concat(x, y, axis=1), f"{name}local_att.0"))
        lean = self.op("Tanh", self.conv(inner, f"{name}local_att.3"))
        one = self.number(1.0)
        left = self.op("Mul", x, self.op("Add", one, lean))
        return self.op("Add", left, self.op("Mul", y, self.op("Sub", one, lean)))

    def _clip(self, x: str) -> str:
        return self.op("Clip", x, self.number(0.0), self.number(_MAX_ACTIVATION))


def _conv_before(norm: str) -> str:
    """The name of the convolution whose output a batch norm takes."""
    head, _, last = norm.rpartition(".")
    if last.startswith("bn"):  # bn1 after conv1
        return f"{head}.conv{last[2:]}" if head else f"conv{last[2:]}"
    if head.endswith("bns"):  # bns.0 after convs.0
        return f"{head.removesuffix('bns')}convs.{last}"
    return f"{head}.{int(last) - 1}"  # in a row of layers
