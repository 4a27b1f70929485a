"""Linear layers that run on oneDNN on a CPU: the same weights in, the same values out.

PyTorch's own layer calls MKL, which on AMD processors leaves half of the machine unused: for a thousand rows, a core of
a Zen 5 EPYC makes 45 billion multiplications a second with it, and 97 with oneDNN. On other devices, in other dtypes
and in training the layer is PyTorch's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MIN_ROWS = 2  # a single row waits for the weights, whoever multiplies; from two up a row gets the same in any number


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., in) float, weight (out, in), bias (out,) -> (..., out)."""
    if not _suits_onednn(x, weight):
        return F.linear(x, weight, bias)
    # For strides of any other kind oneDNN has a loop that is slower by a hundred times.
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")
    return out


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= _MIN_ROWS * x.shape[-1]
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and _has_onednn()
    )


def _has_onednn() -> bool:
    # The operator is one that PyTorch's compiler uses; it is not promised to stay.
    is_on = bool(torch._C._has_mkldnn) and bool(torch.backends.mkldnn.enabled)
    return is_on and hasattr(torch.ops.mkldnn, "_linear_pointwise")
