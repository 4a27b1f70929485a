"""Convolutions over time on tensors (B, C, 1, T), in the memory layout that the device likes best.

PyTorch turns a 1-D convolution into a 2-D one anyway. Doing it once for a whole network lets a CPU keep the channels of
a sample side by side from layer to layer; otherwise it moves them there and back at each, a quarter of HiFi-GAN's time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def to_planes(x: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T)."""
    planes = x.unsqueeze(2)
    return planes.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else planes


def from_planes(x: Tensor) -> Tensor:
    """(B, C, 1, T) -> (B, C, T)."""
    return x.squeeze(2)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply an `nn.Conv1d` or `nn.ConvTranspose1d` to (B, C, 1, T), in the dtype of its weights."""
    assert isinstance(conv, nn.Conv1d | nn.ConvTranspose1d)
    weight, padding = conv.weight.unsqueeze(2), (0, int(conv.padding[0]))
    x = x.to(weight.dtype)
    if isinstance(conv, nn.ConvTranspose1d):
        return F.conv_transpose2d(x, weight, conv.bias, (1, conv.stride[0]), padding)
    return F.conv2d(x, weight, conv.bias, (1, conv.stride[0]), padding, (1, conv.dilation[0]), conv.groups)


def mute_tail(x: Tensor, tail: int | Tensor | None) -> Tensor:
    """Set what is in the tail of the last axis to zero, in place: beyond a length, or where a mask says; None nowhere.

    A convolution sees there what it would see beyond the end: padded, a signal gives the samples that it gives alone.
    """
    if isinstance(tail, Tensor):
        return x.masked_fill_(tail, 0.0)
    if tail is not None:
        x[..., tail:] = 0.0
    return x
