"""The one place where the CPU waits for the device: a tensor in, an array out."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


def to_host(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The values of a tensor, of its shape and dtype."""
    return tensor.cpu().numpy()
