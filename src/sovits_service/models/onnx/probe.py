"""Check whether this processor's 8-bit kernels give a row the same result in any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sovits_service.models.onnx.quantize import LARGEST
from sovits_service.models.onnx.sessions import open_session

GRAPH = "products.onnx"
FORMAT = 1  # of the graph: another number, and a kept one is built again
_ROWS, _INPUTS, _OUTPUTS = 6, 64, 32


def write_probe(folder: Path) -> None:
    """Write the graph of one product into an empty folder."""
    # The library that writes graphs is imported where one is built, not at every start.
    from sovits_service.models.onnx.graph import INT32, UINT8, GraphBuilder, WeightsFile

    weights = WeightsFile(folder / "weights.bin")
    try:
        graph = GraphBuilder(weights)
        x = graph.input("x", UINT8, ["N", _INPUTS])
        zero = graph.constant("zero", np.array(LARGEST + 1, np.uint8))
        graph.op("MatMulInteger", [x, graph.weight("weight", _weight), zero], "sums")
        graph.output("sums", INT32, ["N", _OUTPUTS])
        graph.save(folder / GRAPH)
    finally:
        weights.close()


def products_are_exact(folder: Path, threads: int) -> bool:
    """Whether the largest 8-bit products are summed without rounding or overflow, for one row and for several.

    AVX2 without VNNI adds two products in 16 bits, which they exceed; ONNX Runtime does not say so.

    Args:
        folder: what `write_probe` has written.

    Raises:
        SESSION_ERRORS: the graph cannot be run here.
    """
    session = open_session(folder / GRAPH, threads)
    x = np.full((_ROWS, _INPUTS), 2 * LARGEST + 1, np.uint8)
    x[1::2, ::3] = 1
    expected = (x.astype(np.int64) - (LARGEST + 1)) @ _weight().astype(np.int64)
    return all(np.array_equal(session.run(None, {"x": x[:rows]})[0], expected[:rows]) for rows in (1, 2, _ROWS))


def _weight() -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    weight = np.full((_INPUTS, _OUTPUTS), LARGEST, np.int8)
    weight[:, 1::2] = -LARGEST
    return weight
