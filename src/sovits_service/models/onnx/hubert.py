"""HuBERT on ONNX Runtime: a clip's samples in, feature frames out; its weights are in memory for the clip alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from sovits_service.models.hubert import Hubert
from sovits_service.models.onnx.sessions import open_session

GRAPH, WEIGHTS = "hubert.onnx", "weights.bin"
FORMAT = 1  # of the graph: another number, and kept ones are built again


def write_graph(model: Hubert, folder: Path) -> None:
    """Write the graph of a model into an empty folder.

    Args:
        model: in float32 on the CPU.
    """
    from sovits_service.models.onnx.hubert_graph import write_hubert

    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_hubert(state, model.sizes, folder / GRAPH, folder / WEIGHTS)


class OnnxHubert:
    """As `Hubert`, a clip at a time.

    A new voice is rare beside speech, so each has a session of its own: ONNX Runtime maps the weights from their file,
    which takes a twentieth of the encoding, and all their memory is free afterwards.

    Args:
        open_folder: gives what `write_graph` has written, for as long as its context lasts.
    """

    def __init__(self, open_folder: Callable[[], AbstractContextManager[Path]]) -> None:
        self._open_folder = open_folder

    def __call__(self, samples: Tensor) -> Tensor:
        """(1, T) float32 at 16 kHz -> (1, channels, frames), on as many threads as this one has.

        Raises:
            SESSION_ERRORS: the graph cannot be run here.
        """
        with self._open_folder() as folder:
            session = open_session(folder / GRAPH, torch.get_num_threads(), packs_weights=False)
            (features,) = session.run(["ssl_features"], {"samples": samples.numpy()})
        return torch.from_numpy(features)
