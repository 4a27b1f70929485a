"""LoRA files (Hu et al. 2022) of v3 and v4: the base and the low-rank factors in, full weights out."""

from __future__ import annotations

import torch

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import Checkpoint
from sovits_service.models.sovits.spec import VERSIONS

_WRAPPER = "cfm.base_model.model."  # what peft puts around the module that it adapts
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def merge_lora(base: Checkpoint | None, lora: Checkpoint, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Add each low-rank product to its weight, and take over what the file has whole.

    Alpha equals the rank, so the product is added as it is. The sum is made in float32.

    Args:
        base: the full weights that the file was trained on; its tensors are taken.
        lora: the LoRA file; its tensors are taken.
        dtype: of the merged weights.

    Raises:
        CheckpointError: the base is missing, of another version or a LoRA file itself, or the factors do not fit it.
    """
    spec = VERSIONS[lora.version].flow_matching if lora.version else None
    if spec is None:
        raise CheckpointError(f"LoRA files of {lora.version} are not known")
    if base is None:
        raise CheckpointError(f"this LoRA file needs the {lora.version} base weights, {spec.lora_base}; download them")
    if base.version != lora.version or base.lora_rank is not None:
        raise CheckpointError(f"this LoRA file needs full {lora.version} weights as its base, {spec.lora_base}")
    state = base.state
    for key in sorted(lora.state):
        if key.endswith(_UP):
            continue
        value = lora.state.pop(key)
        if not key.endswith(_DOWN):
            state[_base_key(key)] = value
            continue
        target = _base_key(key.removesuffix(_DOWN)) + ".weight"
        up = lora.state.pop(key.removesuffix(_DOWN) + _UP, None)
        if up is None or target not in state:
            raise CheckpointError(f"the LoRA file's {key!r} has no counterpart")
        product = up.float() @ value.float()
        if product.shape != state[target].shape:
            raise CheckpointError(f"the LoRA file's {key!r} has another shape than the base weights")
        state[target] = (state[target].float() + product).to(dtype)
    if lora.state:
        raise CheckpointError(f"the LoRA file's {next(iter(lora.state))!r} has no counterpart")
    return Checkpoint(state, base.config, base.version)


def _base_key(key: str) -> str:
    if key.startswith(_WRAPPER):
        key = "cfm." + key.removeprefix(_WRAPPER)
    return key.replace(".base_layer.", ".")
