"""Small weights files that claim to be large: they are refused before they take memory or time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import read_gpt, read_tensors
from tests.security.test_decoders import MOST_BYTES, MOST_CPU_S, Measure, measuring


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    with measuring(tmp_path_factory.mktemp("weights"), "models") as measure:
        yield measure


def _saved(content: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    torch.save(content, sink)
    return sink.getvalue()


def _file(weight: dict[str, Any], config: object = None) -> dict[str, Any]:
    return {"weight": weight, "config": {} if config is None else config, "info": "a"}


def _deflated() -> bytes:
    sink = io.BytesIO()
    saved = _saved(_file({"w": torch.zeros(2**26)}))
    with zipfile.ZipFile(io.BytesIO(saved)) as source, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return sink.getvalue()


def _unfolding() -> bytes:
    nested: list[Any] = ["a"] * 10
    for _ in range(12):
        nested = [nested] * 10
    return _saved(_file({"w": torch.zeros(4)}, {"model": nested}))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "deflated": _deflated,
    "a stride of 0": lambda: _saved(_file({"w": torch.zeros(1).expand(2**28)})),
    "one storage again and again": lambda: _saved(
        _file({f"w{number}": view for number, view in enumerate([torch.zeros(2**18)] * 2000)})
    ),
    "a configuration that unfolds": _unfolding,
    "a sparse tensor": lambda: _saved(
        _file({"w": torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (2**33,), check_invariants=True)})
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_takes_no_gigabytes_and_no_minutes(measure: Measure, name: str) -> None:
    data = HOSTILE[name]()
    assert len(data) < 2 * 2**20
    taken = measure("gpt", data)
    assert taken["outcome"] == "CheckpointError", taken
    assert taken["peak_bytes"] < MOST_BYTES, taken
    assert taken["cpu_s"] < MOST_CPU_S, taken


def test_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(_deflated())
    with pytest.raises(CheckpointError, match=r"the GPT file was refused: it would expand to 256 MiB"):
        read_gpt(path)


def test_tied_weights_and_views_are_fine(tmp_path: Path) -> None:
    tied = torch.arange(2**16, dtype=torch.float32)
    path = tmp_path / "a.ckpt"
    torch.save({"weight": {"a": tied, "b": tied, "c": tied[:8].reshape(2, 4).T}}, path)
    state = read_tensors(path, "test")
    assert torch.equal(state["a"], state["b"])
    assert state["c"].shape == (4, 2)
