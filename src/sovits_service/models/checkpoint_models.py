"""From weights files to models: a path, a device and a dtype in; a module ready for inference out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import Checkpoint, read_gpt, read_sovits, read_tensors
from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.sovits.weight_norm import fold_weight_norm
from sovits_service.models.speaker import ERes2NetV2

Module = TypeVar("Module", bound=nn.Module)


def load_gpt(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> TextToSemantic:
    """Loads a GPT file. Raises CheckpointError as `read_gpt` does, and where a tensor is missing or too many."""
    checkpoint = read_gpt(path)
    try:
        config = GptConfig.from_checkpoint(checkpoint.config, checkpoint.state)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError("the GPT file lacks the tensors or config from which its sizes are read") from error
    with torch.device("meta"):
        model = TextToSemantic(config)
    return fill(model, checkpoint.state, "GPT", device, dtype)


def load_vits(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Vits:
    """Loads a SoVITS file of v1 to v2ProPlus. Raises CheckpointError as `read_sovits` does, and for a v3 or v4 file."""
    return build_vits(read_sovits(path), device=device, dtype=dtype)


def build_vits(
    checkpoint: Checkpoint, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Vits:
    """Builds the model of a checkpoint that has been read, and takes its tensors, so that they are not held twice."""
    if checkpoint.version is None:
        raise CheckpointError("the file is not a SoVITS file")
    config = SovitsConfig.from_checkpoint(checkpoint.config, checkpoint.state, checkpoint.version)
    if config.spec.flow_matching is not None:
        raise CheckpointError(f"a {checkpoint.version} file needs the flow-matching decoder")
    fold_weight_norm(checkpoint.state, dtype)
    with torch.device("meta"):
        model = Vits(config, weight_norm=False)
    return fill(model, checkpoint.state, "SoVITS", device, dtype)


def load_speaker(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> ERes2NetV2:
    """Loads the speaker verification file of v2Pro and v2ProPlus."""
    state = read_tensors(path, "speaker verification")
    with torch.device("meta"):
        model = ERes2NetV2()
    return fill(model, state, "speaker verification", device, dtype, unused=("seg_1.",))


def fill(
    model: Module,
    state: dict[str, Tensor],
    what: str,
    device: torch.device | str,
    dtype: torch.dtype,
    unused: Iterable[str] = (),
) -> Module:
    """Gives a model its weights, strictly, tensor by tensor.

    Args:
        model: built on the meta device.
        state: the weights; emptied on the way, so that each tensor is held once.
        what: the file's role, for messages.
        device: where the weights go.
        dtype: of the floating-point weights.
        unused: prefixes of keys that the file has and the model does not need.

    Returns:
        The model, in inference mode.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    for key in [key for key in state if key.startswith(tuple(unused))]:
        del state[key]
    expected = model.state_dict()
    _require_none(sorted(expected.keys() - state.keys()), f"the {what} file lacks")
    _require_none(sorted(state.keys() - expected.keys()), f"the {what} file has unexpected weights:")
    for key, wanted in expected.items():
        if state[key].shape != wanted.shape:
            raise CheckpointError(
                f"the {what} file has {key!r} in the shape {tuple(state[key].shape)}; {tuple(wanted.shape)} is needed"
            )
    placed: dict[str, Tensor] = {}
    for key, wanted in expected.items():
        value = state.pop(key)
        placed[key] = value.to(device, dtype if wanted.is_floating_point() else wanted.dtype)
    model.load_state_dict(placed, strict=True, assign=True)
    return model.requires_grad_(False).eval().to(device)


def _require_none(keys: list[str], sentence: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        raise CheckpointError(f"{sentence} {keys[0]!r}{more}")
