"""The codebook: HuBERT features in, semantic tokens out, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Codebook(nn.Module):
    """Vectors of the semantic tokens. The statistics beside them are those of training."""

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(self, codebook_size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(codebook_size))
        self.register_buffer("embed", torch.zeros(codebook_size, channels))
        self.register_buffer("embed_avg", torch.zeros(codebook_size, channels))


class VectorQuantization(nn.Module):
    """One stage, under the checkpoint's name `_codebook`."""

    def __init__(self, codebook_size: int, channels: int) -> None:
        super().__init__()
        self._codebook = Codebook(codebook_size, channels)


class Stages(nn.Module):
    """The list of stages, of which there is one."""

    def __init__(self, codebook_size: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([VectorQuantization(codebook_size, channels)])


class Quantizer(nn.Module):
    """Nearest vector by Euclidean distance."""

    def __init__(self, codebook_size: int, channels: int) -> None:
        super().__init__()
        self.vq = Stages(codebook_size, channels)

    @property
    def codebook(self) -> Codebook:
        stage = self.vq.layers[0]
        assert isinstance(stage, VectorQuantization)
        return stage._codebook

    def encode(self, features: Tensor) -> Tensor:
        """(B, C, T) -> (B, T) int64 index of the nearest vector.

        In float32 whatever the weights' dtype: in half precision near neighbours swap, and a swapped token is heard.
        """
        vectors = self.codebook.embed.float()
        points = features.transpose(1, 2).float()
        # The points' own length is the same for every vector, so it can stay out of the comparison.
        return (vectors.square().sum(1) - 2.0 * points @ vectors.t()).argmin(-1)

    def decode(self, semantic_tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, C, T)."""
        return F.embedding(semantic_tokens, self.codebook.embed).transpose(1, 2)
