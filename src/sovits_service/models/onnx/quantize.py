"""8-bit weights: float32 matrices in; bytes and their scales out, a scale for each block of inputs or each output."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sovits_service.types import FloatArray

BLOCK = 32
LARGEST = 127
# AVX2 without VNNI adds two products in 16 bits, which seven bits of a weight do not exceed.
LARGEST_EVERYWHERE = 64
_ZERO = 128  # what the operator takes for zero where it is given no zero points


def quantize(weight: FloatArray, block: int = BLOCK) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Round each block of inputs of an output to 256 steps around zero, as `MatMulNBits` takes them.

    Args:
        weight: (out, in) float32; `in` is a multiple of `block`.
        block: 32 or a larger power of two.

    Returns:
        (out, in / block, block) uint8, of which 128 is zero, and the width of a step (out, in / block) float32.
    """
    blocks = weight.reshape(weight.shape[0], -1, block)
    # The largest magnitude becomes -128, whichever its sign: the whole range is used, and it is kept exactly.
    extremes = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    scales = extremes / np.float32(-_ZERO)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    steps = np.clip(np.rint(blocks * inverse) + _ZERO, 0, 255).astype(np.uint8)
    return steps, scales[:, :, 0].astype(np.float32)


def quantize_outputs(weight: FloatArray, largest: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Round the weights of each output to steps of equal width on both sides of zero.

    Args:
        weight: (out, in) float32.
        largest: how many steps there are on each side.

    Returns:
        (out, in) int8, and the width of a step (out,) float32.
    """
    scales = np.abs(weight).max(axis=1) / np.float32(largest)
    scales = np.where(scales == 0, np.float32(1), scales).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales
