"""Weight norm (Salimans and Kingma 2016): on for training, folded into plain weights for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

_LEGACY_TO_PARAMETRIZED = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def add_weight_norm(module: nn.Module) -> None:
    """Split the module's weight into length and direction; it saves and loads them under the checkpoint's keys."""
    parametrizations.weight_norm(module, "weight")
    module.register_state_dict_post_hook(_use_checkpoint_keys)  # type: ignore[no-untyped-call]


def remove_weight_norm(module: nn.Module) -> None:
    """Fold the two factors of the module's weight into one, in float32."""
    if parametrize.is_parametrized(module, "weight"):
        parametrize.remove_parametrizations(module, "weight")


def fold_weight_norm(state: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Replace every pair `weight_g`, `weight_v` (or its parametrised spelling) in place by the weight that they make.

    Args:
        state: a checkpoint's tensors.
        dtype: of the folded weights; the computation is in float32.
    """
    for g_name, v_name in (tuple(_LEGACY_TO_PARAMETRIZED), tuple(_LEGACY_TO_PARAMETRIZED.values())):
        for prefix in [key.removesuffix(v_name) for key in state if key.endswith(f".{v_name}")]:
            if prefix + g_name in state:
                state[f"{prefix}weight"] = _fold(state.pop(prefix + v_name), state.pop(prefix + g_name)).to(dtype)


def _fold(direction: Tensor, length: Tensor) -> Tensor:
    # The length has the full rank with 1 in every dimension but the one that was kept: dimension 0, or 2 in HuBERT.
    dim = max(range(length.dim()), key=lambda axis: length.shape[axis])
    return torch._weight_norm(direction.float(), length.float(), dim)


def _use_checkpoint_keys(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for legacy, parametrized in _LEGACY_TO_PARAMETRIZED.items():
        if f"{prefix}{parametrized}" in state:
            state[f"{prefix}{legacy}"] = state.pop(f"{prefix}{parametrized}")
