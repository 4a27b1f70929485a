"""A folder of exported graphs in, its README out: every input and output, as it stands in the files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import TensorProto

from sovits_service.models.onnx.export.ports import GRAPHS
from sovits_service.models.onnx.graph import CONTRIB, layer_name

_INTRODUCTION = """# {title}

Written by `sovits-service export`. {operators}
The weights of a graph are in the `.weights` file of its name, those of both graphs of the GPT in `gpt.weights`; keep
them in one folder with it. What a column calls T or frames may have any length.

- `config.json`: sizes and rates that a program needs.
- `symbols.json`: the id of each phoneme.
"""
_OTHER_FILES = {
    "tokenizer.json": "BERT's tokenizer, for the `tokenizers` library.",
    "voices": "the voices that were exported along: the reference's phonemes, tokens, style and mel.",
}
_TYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64", TensorProto.INT32: "int32"}


def describe_folder(folder: Path, title: str) -> str:
    """The README, in Markdown."""
    models = {name: onnx.load(folder / name, load_external_data=False) for name in GRAPHS if (folder / name).exists()}
    versions = {entry.domain: entry.version for model in models.values() for entry in model.opset_import}
    operators = f"All operators are of the ONNX standard, opset {versions['']}."
    if CONTRIB in versions:
        operators = f"Operators are of the ONNX standard, opset {versions['']}, and ONNX Runtime's own ({CONTRIB})."
    introduction = _INTRODUCTION.format(title=title, operators=operators)
    others = (f"- `{name}`: {text}\n" for name, text in _OTHER_FILES.items() if (folder / name).exists())
    sections = (_section(name, model.graph) for name, model in models.items())
    return "\n".join((introduction + "".join(others), *sections))


def _section(name: str, graph: onnx.GraphProto) -> str:
    lines = [f"## {name}", "", GRAPHS[name], "", "| | name | type | shape | what it is |", "|---|---|---|---|---|"]
    for kind, ports in (("in", graph.input), ("out", graph.output)):
        lines += (f"| {kind} | {row}" for row in _rows(ports))
    return "\n".join([*lines, ""])


def _rows(ports: Iterable[onnx.ValueInfoProto]) -> list[str]:
    """A row each; one for all layers of what every layer has."""
    ports = list(ports)
    layers: dict[str, int] = {}
    for port in ports:
        layers[layer_name(port.name)] = layers.get(layer_name(port.name), -1) + 1
    rows = {}
    for port in ports:
        base = layer_name(port.name)
        name = f"`{port.name}`" if base == port.name else f"`{base}_0` ... `{base}_{layers[base]}`"
        tensor = port.type.tensor_type
        shape = ", ".join(axis.dim_param or str(axis.dim_value) for axis in tensor.shape.dim)
        shape += "," if len(tensor.shape.dim) == 1 else ""
        rows[base] = f"{name} | {_TYPES[tensor.elem_type]} | ({shape}) | {port.doc_string} |"
    return list(rows.values())
