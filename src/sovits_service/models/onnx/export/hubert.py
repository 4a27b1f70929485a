"""HuBERT and the codebook in operators of the standard: a clip's samples in, its semantic tokens out."""

from __future__ import annotations

import numpy as np

from sovits_service.models.hubert import TAIL_SILENCE_SAMPLES, HubertSizes
from sovits_service.models.onnx.export.layers import Layers, State
from sovits_service.models.onnx.graph import FLOAT, INT64, GraphBuilder

_GROUP_NORM_EPSILON = 1e-5


class Hubert(Layers):
    """Adds HuBERT to a graph.

    Args:
        state: HuBERT's weights, and beside them `ssl_proj` and the codebook of the SoVITS, under its keys.
        ssl_stride: features per token.
    """

    def __init__(self, graph: GraphBuilder, state: State, sizes: HubertSizes, ssl_stride: int = 1) -> None:
        super().__init__(graph, state)
        self._sizes = sizes
        self._stride = ssl_stride

    def build(self) -> GraphBuilder:
        """Input: `samples` (1, T_samples) at 16 kHz.

        Outputs: `ssl_features` (1, C, T), `prompt_tokens` (1, T_prompt) int64.
        """
        self._quantize(self.features())
        return self.graph

    def features(self) -> str:
        """`samples` (1, T_samples) at 16 kHz in, `ssl_features` (1, C, T) out, without the codebook."""
        x = self.embed()
        for index in range(self._sizes.num_hidden_layers):
            x = self.layer(x, index)
        return self.put_out(x)

    def embed(self) -> str:
        """`samples` (1, T_samples) at 16 kHz in; what the first layer takes, (1, T, C)."""
        graph, sizes = self.graph, self._sizes
        samples = graph.input("samples", FLOAT, [1, "T_samples"])
        x = self.unsqueeze(self.pad(samples, 0, TAIL_SILENCE_SAMPLES, 1), 1)
        for index in range(len(sizes.conv_dim)):
            x = self._conv_layer(x, index)
        x = self.transpose(x, 0, 2, 1)
        if sizes.feat_proj_layer_norm:
            x = self.layer_norm(x, "feature_projection.layer_norm", sizes.layer_norm_eps)
        x = self.linear(x, "feature_projection.projection")
        return self.layer_norm(self.op("Add", x, self._positions(x)), "encoder.layer_norm", sizes.layer_norm_eps)

    def put_out(self, x: str) -> str:
        """`ssl_features` (1, C, T) of the last layer's (1, T, C)."""
        features = self.graph.op("Transpose", [x], "ssl_features", perm=[0, 2, 1])
        self.graph.output(features, FLOAT, [1, self._sizes.hidden_size, "T"])
        return features

    def _conv_layer(self, x: str, index: int) -> str:
        name = f"feature_extractor.conv_layers.{index}."
        x = self.conv(x, f"{name}conv", stride=self._sizes.conv_stride[index])
        if index == 0:  # as many groups as channels, which is an instance norm
            norm = [self.weight(f"{name}layer_norm.{part}") for part in ("weight", "bias")]
            x = self.op("InstanceNormalization", x, *norm, epsilon=_GROUP_NORM_EPSILON)
        return self.gelu(x)

    def _positions(self, x: str) -> str:
        kernel = self._sizes.num_conv_pos_embeddings
        after = (kernel - 1) // 2  # an even kernel would give one frame more
        groups = self._sizes.num_conv_pos_embedding_groups
        planes = self.transpose(x, 0, 2, 1)
        convolved = self.conv(planes, "encoder.pos_conv_embed.conv", padding=(kernel // 2, after), group=groups)
        return self.transpose(self.gelu(convolved), 0, 2, 1)

    def layer(self, x: str, index: int) -> str:
        """(1, T, C) in and out."""
        sizes, name = self._sizes, f"encoder.layers.{index}."
        heads, width = sizes.num_attention_heads, sizes.hidden_size
        query, key, value = (
            self.heads(self.linear(x, f"{name}attention.{part}_proj"), heads) for part in ("q", "k", "v")
        )
        mixed = self.join_heads(self.attend(query, key, value, float(np.sqrt(heads / width))))
        attended = self.op("Add", x, self.linear(mixed, f"{name}attention.out_proj"))
        x = self.layer_norm(attended, f"{name}layer_norm", sizes.layer_norm_eps)
        inner = self.gelu(self.linear(x, f"{name}feed_forward.intermediate_dense"))
        output = self.linear(inner, f"{name}feed_forward.output_dense")
        return self.layer_norm(self.op("Add", x, output), f"{name}final_layer_norm", sizes.layer_norm_eps)

    def _quantize(self, features: str) -> None:
        """The nearest vector of the codebook, by Euclidean distance."""
        key = "quantizer.vq.layers.0._codebook.embed"
        points = self.transpose(self.conv(features, "ssl_proj", stride=self._stride), 0, 2, 1)
        lengths = self.weight(key, lambda vectors: np.square(vectors).sum(1), " lengths")
        products = self.op("MatMul", points, self.weight(key, np.transpose, " transposed"))
        distances = self.op("Sub", lengths, self.op("Mul", products, self.number(2.0)))
        self.graph.op("ArgMin", [distances], "prompt_tokens", axis=-1, keepdims=0)
        self.graph.output("prompt_tokens", INT64, [1, "T_prompt"])
