"""SoVITS up to its vocoder in operators of the standard: semantic tokens in; latents, or features of a mel, out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.onnx.export.encoder import Encoder
from sovits_service.models.onnx.export.layers import State
from sovits_service.models.onnx.graph import FLOAT, INT64, GraphBuilder
from sovits_service.models.sovits.config import SovitsConfig

NOISE_SCALE = 0.5
_SLOPE = 0.01  # of the bridge's leaky ReLU, PyTorch's default


def _inputs(graph: GraphBuilder, config: SovitsConfig) -> tuple[str, str, str]:
    tokens = graph.input("semantic_tokens", INT64, [1, "T_tokens"])
    # One text: its axis of one is put on where an operator wants it.
    phoneme_ids = graph.input("phoneme_ids", INT64, ["T_text"])
    return tokens, phoneme_ids, graph.input("style_embedding", FLOAT, [1, config.gin_channels, 1])


def build_latents(graph: GraphBuilder, state: State, config: SovitsConfig) -> GraphBuilder:
    """The prior and the flow of v1 to v2ProPlus.

    Inputs: `semantic_tokens` (1, T_tokens) int64, `phoneme_ids` (T_text,) int64, `style_embedding` (1, gin, 1),
    `noise` (1, inter, frames), whose length says how many frames there are. Output: `latents` (1, inter, frames).
    """
    layers = Encoder(graph, state, config)
    tokens, phoneme_ids, style = _inputs(graph, config)
    noise = graph.input("noise", FLOAT, [1, config.inter_channels, "frames"])
    features = layers.encode(tokens, layers.unsqueeze(phoneme_ids, 0), _condition(layers, style))
    features = layers.stretch(features, layers.size(noise, 2))
    mean, log_std = layers.split(layers.conv(features, "enc_p.proj"), 2, axis=1)
    drawn = layers.op("Mul", layers.op("Mul", noise, layers.op("Exp", log_std)), layers.number(NOISE_SCALE))
    latents = _flow(layers, layers.op("Add", mean, drawn), style)
    graph.op("Identity", [latents], "latents")
    graph.output("latents", FLOAT, [1, config.inter_channels, "frames"])
    return graph


def _condition(layers: Encoder, style: str) -> str:
    """The style in the width in which text and tokens meet."""
    if not layers.config.speaker_embedding_channels:
        return style
    return layers.transpose(layers.linear(layers.transpose(style, 0, 2, 1), "ge_to512"), 0, 2, 1)


def _flow(layers: Encoder, x: str, style: str) -> str:
    """From the prior to the latents: couplings and swaps, the last first."""
    config = layers.config
    swapped = layers.graph.constant("swapped channels", np.arange(config.inter_channels)[::-1].copy())
    for index in reversed(range(config.n_flows)):
        name = f"flow.flows.{2 * index}"
        kept, moved = layers.split(layers.op("Gather", x, swapped, axis=1), 2, axis=1)
        inner = layers.conv(kept, f"{name}.pre")
        inner = layers.wavenet(inner, style, f"{name}.enc", config.flow_kernel_size, config.flow_wavenet_layers)
        shift = layers.conv(inner, f"{name}.post")
        x = layers.concat(kept, layers.op("Sub", moved, shift), axis=1)
    return x


def build_features(
    graph: GraphBuilder, state: State, config: SovitsConfig, channels: int, bridge_kernel_size: int, bridge_layers: int
) -> GraphBuilder:
    """The encoder and the bridge of v3 and v4.

    Inputs: as `build_latents`, but for `latent_frames` and `audible_frames` (1,) int64 in place of the noise.
    Output: `features` (1, channels, T).
    """
    layers = Encoder(graph, state, config)
    tokens, phoneme_ids, style = _inputs(graph, config)
    frames = graph.input("latent_frames", INT64, [1])
    audible = graph.input("audible_frames", INT64, [1])
    x = layers.encode(tokens, layers.unsqueeze(phoneme_ids, 0), style)
    x = layers.leaky_relu(layers.conv(layers.stretch(x, frames), "bridge.0"), _SLOPE)
    x = _repeat(layers, x, frames)
    mask = layers.to_float(layers.op("Less", layers.arange(layers.size(x, 2)), audible))
    x = layers.op("Mul", layers.conv(x, "wns1.pre"), mask)
    x = layers.wavenet(x, style, "wns1.enc", bridge_kernel_size, bridge_layers, mask)
    features = layers.op("Mul", layers.conv(layers.op("Mul", x, mask), "wns1.proj"), mask)
    graph.op("Identity", [features], "features")
    graph.output("features", FLOAT, [1, channels, "T"])
    return graph


def _repeat(layers: Encoder, x: str, frames: str) -> str:
    """To the frame rate of the mel: each frame is the nearest before it."""
    spec = layers.config.spec.flow_matching
    assert spec is not None
    ratio = spec.frames_per_latent
    size = layers.op("Cast", layers.op("Mul", layers.to_float(frames), layers.number(ratio)), to=INT64)
    places = layers.op("Mul", layers.to_float(layers.arange(size)), layers.number(1.0 / ratio))
    return layers.op("Gather", x, layers.op("Cast", places, to=INT64), axis=2)
