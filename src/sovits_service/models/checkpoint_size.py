"""A weights file and what was read from it in; a refusal of one that unfolds into far more than it holds out."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sovits_service.errors import CheckpointError

# Weights do not compress, and torch stores them as they are; a little is left for names and small configurations.
_MOST_TIMES, _SLACK_BYTES = 2, 2**20


def check_archive(file: BinaryIO, what: str) -> None:
    """Add up what the members of a zip claim to hold, before one of them is unpacked; no zip is not our business.

    Raises:
        CheckpointError: far more than the file's own length.
    """
    file_bytes = file.seek(0, 2)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            claimed_bytes = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        claimed_bytes = 0
    file.seek(0)
    _require(claimed_bytes, file_bytes, what)


def check_tensors(content: object, file: BinaryIO, what: str) -> None:
    """Add up the tensors that were read.

    Raises:
        CheckpointError: one is no plain tensor; or they are far more together than the file is long, since they share
            their numbers or repeat them (a stride of 0).
    """
    total_bytes = 0
    for tensor in _tensors(content):
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"the {what} file holds a tensor of a kind that weights are not stored in")
        total_bytes += tensor.numel() * tensor.element_size()
    _require(total_bytes, file.seek(0, 2), what)


def _tensors(content: object) -> Iterator[Tensor]:
    """Those at the top, and in a state dict one below."""
    values: list[Any] = list(content.values()) if isinstance(content, Mapping) else []
    inner = itertools.chain.from_iterable(value.values() for value in values if isinstance(value, Mapping))
    return (value for value in itertools.chain(values, inner) if isinstance(value, Tensor))


def _require(claimed_bytes: int, file_bytes: int, what: str) -> None:
    if claimed_bytes > _MOST_TIMES * file_bytes + _SLACK_BYTES:
        claimed = f"{claimed_bytes / 2**20:,.0f} MiB"
        raise CheckpointError(f"the {what} file was refused: it would expand to {claimed}, far more than its size")
