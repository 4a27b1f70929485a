"""BERT on ONNX Runtime: texts in, one vector per character out, each text by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from sovits_service.models.bert import Bert, BertReader, BertSizes
from sovits_service.models.onnx.gpt import GraphPrecision
from sovits_service.models.onnx.sessions import open_session

CONFIG, GRAPH = "config.json", "bert.onnx"
FORMAT = 1  # of the graph: another number, and kept ones are built again


def write_graph(model: Bert, precision: GraphPrecision, folder: Path) -> None:
    """Write the graph of a model, and its sizes, into an empty folder.

    Args:
        model: in float32 on the CPU.
    """
    from sovits_service.models.onnx.bert_graph import write_bert

    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_bert(state, model.sizes, precision, folder, GRAPH)
    (folder / CONFIG).write_text(json.dumps(asdict(model.sizes)), encoding="utf-8")


class OnnxBert:
    """As `Bert`; texts are not batched, so int8's scale for a text is its own.

    Args:
        folder: what `write_graph` has written; nothing of it is needed afterwards.
        tokenizer: of the same checkpoint.
        threads: that a text may use.

    Raises:
        SESSION_ERRORS: the graph cannot be run here.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, threads: int) -> None:
        sizes = BertSizes(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        self._reader = BertReader(tokenizer, sizes.max_position_embeddings)
        self._zeros = torch.zeros(1, sizes.hidden_size)
        self._session = open_session(folder / GRAPH, threads)

    def __call__(self, texts: Sequence[str]) -> list[Tensor]:
        """For each text (characters, width) float32."""
        return self._reader.read(texts, self._hidden, self._zeros)

    def _hidden(self, rows: list[list[int]]) -> list[Tensor]:
        return [torch.from_numpy(self._session.run(["hidden"], {"ids": np.array(row)})[0]) for row in rows]
