"""Copy a tensor to the host: the only place where the CPU waits for the device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


def to_host(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The values of a tensor, of its shape and dtype."""
    return tensor.cpu().numpy()
