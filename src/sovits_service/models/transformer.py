"""The post-norm encoder layer that HuBERT and BERT share, for inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from sovits_service.errors import CheckpointError


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention over projected inputs.

    Args:
        query: (B, T, width), as `key` and `value`.
        bias: added to the scores, broadcast over (B, heads, T, T); None attends to everything.

    Returns:
        (B, T, width).
    """

    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)

    attended: Tensor = F.scaled_dot_product_attention(split(query), split(key), split(value), attn_mask=bias)
    return attended.transpose(1, 2).flatten(2)


def require_config(config: Mapping[str, Any], what: str, supported: Mapping[str, Any]) -> None:
    """Refuse a folder whose `config.json` asks for a variant that is not implemented.

    Args:
        supported: for each key its only supported value, which also is what a config without the key means.

    Raises:
        CheckpointError: a value differs.
    """
    for key, value in supported.items():
        if config.get(key, value) != value:
            raise CheckpointError(
                f"the {what} folder's config.json has {key} {config[key]!r}; only {value!r} is supported"
            )
