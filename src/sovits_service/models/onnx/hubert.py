"""HuBERT on ONNX Runtime: a clip's samples in, feature frames out; its weights are in memory for the clip alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from sovits_service.models.hubert import Hubert
from sovits_service.models.onnx.sessions import open_session

FORMAT = 2  # of the graphs: another number, and kept ones are built again


def graph_name(number: int) -> str:
    """The file of one of the graphs, counted from 0, which run one after the other."""
    return f"hubert_{number}.onnx"


def write_graphs(model: Hubert, folder: Path) -> None:
    """Write the graphs of a model into an empty folder.

    Args:
        model: in float32 on the CPU.
    """
    from sovits_service.models.onnx.hubert_graph import write_hubert

    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_hubert(state, model.sizes, folder)


def open_graphs(folder: Path, threads: int) -> Iterator[onnxruntime.InferenceSession]:
    """The graphs that `write_graphs` has written, in order; each is opened when the one before is done.

    Raises:
        SESSION_ERRORS: a graph cannot be run here.
    """
    for path in itertools.takewhile(Path.exists, (folder / graph_name(number) for number in itertools.count())):
        yield open_session(path, threads, packs_weights=False)


class OnnxHubert:
    """As `Hubert`, a clip at a time.

    A new voice is rare beside speech, so each has sessions of its own: ONNX Runtime maps the weights from their file,
    which takes a twentieth of the encoding, and all their memory is free afterwards. They are in memory a few layers at
    a time.

    Args:
        open_folder: gives what `write_graphs` has written, for as long as its context lasts.
    """

    def __init__(self, open_folder: Callable[[], AbstractContextManager[Path]]) -> None:
        self._open_folder = open_folder

    def __call__(self, samples: Tensor) -> Tensor:
        """(1, T) float32 at 16 kHz -> (1, channels, frames), on as many threads as this one has.

        Raises:
            SESSION_ERRORS: a graph cannot be run here.
        """
        values = samples.numpy()
        with self._open_folder() as folder:
            for session in open_graphs(folder, torch.get_num_threads()):
                (values,) = session.run(None, {session.get_inputs()[0].name: values})
        return torch.from_numpy(values)
