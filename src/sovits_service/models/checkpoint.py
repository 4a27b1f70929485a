"""Reading weights files as users have them: a path in; version, config and tensors out. Nothing in a file is run.

A `.ckpt` or `.pth` is a zip with a pickle in it. It is read with torch's `weights_only` unpickler and a short list of
harmless classes; safetensors files are read too, with the config in their metadata or in a JSON file beside them.
"""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch
from torch import Tensor

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint_size import check_archive, check_tensors
from sovits_service.models.checkpoint_version import detect_version, is_lora_header
from sovits_service.types import ModelVersion

_ZIP_MAGIC = b"PK"
_HEADER_BYTES = 8192
_MAX_JSON_BYTES = 100_000_000
_MAX_CONFIG_VALUES = 100_000
# What torch and its zip reader raise at a damaged or hostile file; each becomes a CheckpointError.
_READ_ERRORS = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
)
_NAMED_GLOBAL = re.compile(r"GLOBAL ([\w.]+) was not an allowed|unsupported GLOBAL ([\w.]+)|but got <class '([\w.]+)'>")
# torch keeps the allowed classes in one set for the process, so two loads at once would take them from each other.
_UNPICKLING = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a file of trained weights holds.

    Attributes:
        state: its tensors by key, on the CPU, in the file's dtype.
        config: its configuration, plain values only.
        version: of a SoVITS file; None for a GPT file.
        lora_rank: of a LoRA file, which needs its base; else None.
    """

    state: dict[str, Tensor]
    config: Mapping[str, Any]
    version: ModelVersion | None = None
    lora_rank: int | None = None


class HParams:
    """Stands in for the config class of the original's `utils` module; its fields are in `__dict__`."""


class _PlainPath(pathlib.PurePosixPath):
    """Stands in for the path classes; a path of another operating system cannot be built here."""


_ALLOWED_CLASSES: list[Any] = [
    *((HParams, f"{module}.HParams") for module in ("utils", "GPT_SoVITS.utils")),
    *(
        (_PlainPath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
    ),
]


def read_sovits(path: Path) -> Checkpoint:
    """Read SoVITS weights of any version, a LoRA file included.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or not SoVITS weights.
    """
    content = _read(path, "SoVITS")
    state, config = _weight_and_config(content, "SoVITS")
    # The posterior encoder serves training alone; files of users lack it.
    state = {key: value for key, value in state.items() if not key.startswith("enc_q.")}
    header = _read_header(path)
    named = content.get("version", config.get("model", {}).get("version"))
    version = detect_version(header, state, config, named if isinstance(named, str) else None)
    rank = content.get("lora_rank")
    if rank is None and (is_lora_header(header) or any(".lora_A." in key for key in state)):
        rank = next((value.shape[0] for key, value in state.items() if ".lora_A." in key), None)
    return Checkpoint(state, config, version, None if rank is None else int(rank))


def read_gpt(path: Path) -> Checkpoint:
    """Read GPT weights of any version.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or not GPT weights.
    """
    state, config = _weight_and_config(_read(path, "GPT"), "GPT")
    # Lightning puts the name of its attribute before each key.
    return Checkpoint({key.removeprefix("model."): value for key, value in state.items()}, config)


def read_tensors(path: Path, what: str, is_wanted: Callable[[str], bool] | None = None) -> dict[str, Tensor]:
    """Read a file that is a state dict and nothing else, or one under a single key such as `state_dict`.

    Args:
        path: of the file.
        what: the file's role, for messages.
        is_wanted: by key; of a safetensors file the others are not read. None takes all.

    Raises:
        CheckpointError: the file is missing, damaged or unsafe.
    """
    content: Mapping[str, Any] = _read(path, what, is_wanted)
    for key in ("weight", "state_dict", "generator", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    wanted = is_wanted or (lambda _: True)
    state = {key: value for key, value in content.items() if isinstance(value, Tensor) and wanted(key)}
    if not state:
        raise CheckpointError(f"the {what} file holds no weights")
    return state


def is_safetensors(path: Path) -> bool:
    """Whether the file's content, whatever its name, is in the safetensors format."""
    header = _read_header(path, 9)
    return len(header) == 9 and header[8:9] == b"{" and int.from_bytes(header[:8], "little") < _MAX_JSON_BYTES


def _weight_and_config(content: Mapping[str, Any], what: str) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    weight, config = content.get("weight"), content.get("config")
    if not isinstance(weight, Mapping) or not isinstance(config, Mapping):
        raise CheckpointError(f"the {what} file has no 'weight' and 'config'; it is not a checkpoint of this kind")
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weight.items()):
        raise CheckpointError(f"the {what} file has something other than tensors among its weights")
    return dict(weight), config


def _read(path: Path, what: str, is_wanted: Callable[[str], bool] | None = None) -> dict[str, Any]:
    try:
        if is_safetensors(path):
            return _read_safetensors(path, what, is_wanted)
        with io.BufferedReader(_ZipUnderAnyHeader(path)) as file:
            return _unpickle(file, what)
    except FileNotFoundError as error:
        raise CheckpointError(f"the {what} file is missing") from error
    except OSError as error:
        raise CheckpointError(f"the {what} file cannot be read: {error.strerror or 'damaged'}") from error


def _read_header(path: Path, n_bytes: int = _HEADER_BYTES) -> bytes:
    with path.open("rb") as file:
        return file.read(n_bytes)


class _ZipUnderAnyHeader(io.FileIO):
    """A file whose first two bytes read `PK`: SoVITS files have their version's number there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        start = super().read(4)
        self.seek(0)
        # Only what is a zip but for these two bytes; a damaged file shall not look like one.
        self._patched = start[2:4] == b"\x03\x04"

    def readinto(self, buffer: Any) -> int | None:
        position = self.tell()
        n_read = super().readinto(buffer)
        if self._patched and n_read and position < 2:
            head = _ZIP_MAGIC[position : position + n_read]
            memoryview(buffer).cast("B")[: len(head)] = head
        return n_read


def _unpickle(file: BinaryIO, what: str) -> dict[str, Any]:
    # A file object and not a path: torch then reads storage by storage into memory, so that the peak is the weights'
    # own size, and a file that is overwritten later cannot reach into a model that is in use, as a mapping could.
    check_archive(file, what)
    try:
        with _UNPICKLING, torch.serialization.safe_globals(_ALLOWED_CLASSES):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        found = _NAMED_GLOBAL.search(str(error))
        if found:
            name = next(group for group in found.groups() if group)
            name = name if "." in name else f"builtins.{name}"
            raise CheckpointError(
                f"the {what} file was refused: it holds the class {name}, which weights do not need and which could "
                "run code when it is read"
            ) from error
        raise CheckpointError(f"the {what} file is damaged, incomplete or not a weights file") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the {what} file holds no weights")
    check_tensors(content, file, what)
    values_left = iter(range(_MAX_CONFIG_VALUES))
    try:
        return {str(key): v if _is_weight(v) else _plain(v, values_left) for key, v in content.items()}
    except (RecursionError, StopIteration):
        raise CheckpointError(f"the {what} file has a configuration that is far too large") from None


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) or (
        isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())
    )


def _plain(value: object, values_left: Iterator[int]) -> Any:
    """Turn HParams and paths in a config, at any depth, into mappings and strings.

    Raises:
        StopIteration: more values than `values_left` has; lists that name each other unfold without end.
    """
    next(values_left)
    if isinstance(value, HParams):
        return _plain(vars(value), values_left)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, values_left) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, values_left) for item in value]
    return str(value) if isinstance(value, pathlib.PurePath) else value


def _read_safetensors(path: Path, what: str, is_wanted: Callable[[str], bool] | None) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            keys, metadata = list(file.keys()), dict(file.metadata() or {})
        state = {key: _read_one(path, key) for key in keys if is_wanted is None or is_wanted(key)}
        sidecar = path.with_suffix(".json")
        if "config" not in metadata and sidecar.is_file():
            if sidecar.stat().st_size > _MAX_JSON_BYTES:
                raise CheckpointError(f"the JSON file beside the {what} file is too large to be a config")
            metadata["config"] = sidecar.read_text(encoding="utf-8")
        config = json.loads(metadata["config"]) if "config" in metadata else None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"the {what} file is damaged or incomplete") from error
    if config is None:
        return dict(state)
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        config = config["config"]  # a sidecar with more than the config in it
    return {"weight": state, "config": config} | {k: metadata[k] for k in ("version", "lora_rank") if k in metadata}


def _read_one(path: Path, key: str) -> Tensor:
    # The file is mapped; opened for each tensor, pages that are read do not add to the copies that are kept.
    with safetensors.safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(key)
        return tensor.clone()
