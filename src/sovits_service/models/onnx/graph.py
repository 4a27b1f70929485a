"""Write ONNX graphs with external weights."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from sovits_service.models.onnx.quantize import LARGEST, LARGEST_EVERYWHERE, quantize, quantize_outputs
from sovits_service.types import FloatArray

Precision = Literal["float32", "int8"]
# How a matrix is multiplied: in float32; with 8-bit weights that have a scale for each block of so many inputs; or with
# a scale for each of their outputs and each row of the other factor.
Product = Literal["float32", "rows"] | int
Array = npt.NDArray[Any]

CONTRIB = "com.microsoft"  # operators that ONNX Runtime adds to the standard's
_OPSET, _CONTRIB_OPSET = 21, 1
_IR_VERSIONS = {18: 8, 21: 10}  # the oldest file format of each opset that is written: more programs read it
_ALIGNMENT = 4096  # a page: ONNX Runtime maps weights from the file

FLOAT, UINT8, INT32, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64


def layer_name(port: str) -> str:
    """The name of an input or output without the number of its layer."""
    return re.sub(r"_\d+$", "", port)


class WeightsFile:
    """The file with the weights of one or more graphs; a matrix that two graphs use is written once.

    Args:
        path: of a file to be written, beside the graphs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._written: dict[str, TensorProto] = {}

    def close(self) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._written

    def add(self, name: str, values: Array) -> None:
        values = np.ascontiguousarray(values)
        self._file.seek(-(-self._file.tell() // _ALIGNMENT) * _ALIGNMENT)
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape)
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": self.path.name, "offset": self._file.tell(), "length": values.nbytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(values.data)
        self._written[name] = tensor

    def __getitem__(self, name: str) -> TensorProto:
        return self._written[name]


class GraphBuilder:
    """One graph; values are known by their names.

    Args:
        weights: where its weights go.
    """

    def __init__(self, weights: WeightsFile) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, TensorProto] = {}

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: Sequence[int | str]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def describe(self, texts: Mapping[str, str]) -> None:
        """Keep in the file what each input and output is; those of all layers (`keys_0`, ...) share a text (`keys`)."""
        for port in (*self._inputs, *self._outputs):
            port.doc_string = texts[layer_name(port.name)]

    def constant(self, name: str, values: Array) -> str:
        """A small tensor, kept in the graph itself."""
        self._initializers.setdefault(name, onnx.numpy_helper.from_array(values, name))
        return name

    def weight(self, name: str, make: Callable[[], Array]) -> str:
        """A tensor of the weights file; it is made only if it is not there yet."""
        if name not in self._weights:
            self._weights.add(name, make())
        self._initializers[name] = self._weights[name]
        return name

    def op(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | str | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add an operator; returns the name of its first output, made up where none is given."""
        names = [f"{operator}_{len(self._nodes)}"] if outputs is None else outputs
        names = [names] if isinstance(names, str) else list(names)
        node = helper.make_node(operator, list(inputs), names, name=f"n{len(self._nodes)}", domain=domain, **attributes)
        self._nodes.append(node)
        return names[0]

    def linear(
        self, x: str, name: str, weight: FloatArray, bias: FloatArray | None, product: Product, *, relu: bool = False
    ) -> str:
        """x (N, in) times a weight (out, in), plus a bias."""
        if product != "float32":
            multiply = self._row_product if product == "rows" else functools.partial(self._block_product, block=product)
            out = multiply(x, name, weight, bias)
            return self.op("Relu", [out]) if relu else out
        inputs = [x, self.weight(name, lambda: weight.T)]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", lambda: bias))
        if relu:
            return self.op("FusedGemm", inputs, domain=CONTRIB, activation="Relu")
        return self.op("Gemm", inputs)

    def _block_product(self, x: str, name: str, weight: FloatArray, bias: FloatArray | None, *, block: int) -> str:
        quantized = functools.cache(lambda: quantize(weight, block))
        inputs = [x, self.weight(f"{name}.steps_{block}", lambda: quantized()[0])]
        inputs.append(self.weight(f"{name}.scales_{block}", lambda: quantized()[1].reshape(-1)))
        if bias is not None:
            inputs += ["", "", self.weight(f"{name}.bias", lambda: bias)]
        n_out, n_in = weight.shape
        return self.op(
            "MatMulNBits", inputs, domain=CONTRIB, K=n_in, N=n_out, bits=8, block_size=block, accuracy_level=4
        )

    def _row_product(self, x: str, name: str, weight: FloatArray, bias: FloatArray | None) -> str:
        """Each row is rounded to its own 255 steps; what is summed are integers, so no row depends on another."""
        quantized = functools.cache(lambda: quantize_outputs(weight, LARGEST))
        step = self.constant("row_step", np.array(1 / LARGEST, np.float32))
        zero = self.constant("row_zero", np.array(LARGEST + 1, np.uint8))
        largest = self.op("ReduceMax", [self.op("Abs", [x]), self.constant("last_axis", np.array([-1]))], keepdims=1)
        largest = self.op("Max", [largest, self.constant("least", np.array(1e-30, np.float32))])  # a row of zeros
        rounded = self.op("QuantizeLinear", [self.op("Div", [x, largest]), step, zero])
        inputs = [rounded, self.weight(f"{name}.outputs", lambda: np.ascontiguousarray(quantized()[0].T)), step]
        inputs += [self.weight(f"{name}.output_scales", lambda: quantized()[1]), zero]
        out = self.op("Mul", [self.op("MatMulIntegerToFloat", inputs, domain=CONTRIB), largest])
        return out if bias is None else self.op("Add", [out, self.weight(f"{name}.bias", lambda: bias)])

    def dynamic_linear(
        self, x: str, name: str, weight: FloatArray, bias: FloatArray | None, precision: Precision
    ) -> str:
        """As `linear`, where all rows are of one text: int8 takes one scale for all of x, and one an output."""
        if precision == "float32":
            return self.linear(x, name, weight, bias, "float32")
        quantized = functools.cache(lambda: quantize_outputs(weight, LARGEST_EVERYWHERE))
        inputs = [x, self.weight(f"{name}.outputs", lambda: np.ascontiguousarray(quantized()[0].T))]
        inputs += [self.weight(f"{name}.output_scales", lambda: quantized()[1]), ""]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", lambda: bias))
        return self.op("DynamicQuantizeMatMul", inputs, domain=CONTRIB)

    def save(self, path: Path, opset: int = _OPSET) -> None:
        graph = helper.make_graph(
            self._nodes, path.stem, self._inputs, self._outputs, list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", opset)]
        if any(node.domain == CONTRIB for node in self._nodes):
            opsets.append(helper.make_opsetid(CONTRIB, _CONTRIB_OPSET))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSIONS[opset], producer_name="sovits-service"
        )
        path.write_bytes(model.SerializeToString())
