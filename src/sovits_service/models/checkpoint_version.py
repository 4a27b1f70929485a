"""Which version a SoVITS file is: its first bytes, its tensors and its config in; the version out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from sovits_service.errors import CheckpointError
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.types import ModelVersion

_MD5_BYTES = 8192
# The two bytes that stand in place of the zip's `PK` in files that users train.
_VERSION_BY_HEADER: Mapping[bytes, ModelVersion] = MappingProxyType(
    {b"00": "v1", b"01": "v2", b"02": "v3", b"03": "v3", b"04": "v4", b"05": "v2Pro", b"06": "v2ProPlus"}
)
_LORA_HEADERS = (b"03", b"04")
# The published files begin with `PK`; the MD5 of their first 8,192 bytes names them.
_VERSION_BY_MD5: Mapping[str, ModelVersion] = MappingProxyType(
    {
        "dc3c97e17592963677a4a1681f30c653": "v1",
        "6642b37f3dbb1f76882b69937c95a5f3": "v2",
        "43797be674a37c1c83ee81081941ed0f": "v3",
        "4f26b9476d0c5033e04162c486074374": "v4",
        "c7e9fce2223f3db685cdfa1e6368728a": "v2Pro",
        "66b313e39455b57ab1b0bc0b239c9d0a": "v2ProPlus",
    }
)
_PRO_PLUS_CHANNELS = 768


def is_lora_header(header: bytes) -> bool:
    return header[:2] in _LORA_HEADERS


def detect_version(
    header: bytes, state: Mapping[str, Tensor], config: Mapping[str, Any], named: str | None = None
) -> ModelVersion:
    """Names the version of a SoVITS file.

    The tensors say which versions are possible, and are never overruled; among those the header decides, then the
    MD5 of the published files, then the name that the file gives itself, then sizes.

    Args:
        header: the first 8,192 bytes of the file.
        state: its tensors.
        config: its config.
        named: a version that its config or metadata names.

    Raises:
        CheckpointError: these are no SoVITS weights.
    """
    possible = _possible_versions(state)
    by_md5 = _VERSION_BY_MD5.get(hashlib.md5(header[:_MD5_BYTES], usedforsecurity=False).hexdigest())
    for candidate in (_VERSION_BY_HEADER.get(header[:2]), by_md5, named):
        if candidate in possible:
            return candidate
    is_plus = config.get("model", {}).get("upsample_initial_channel") == _PRO_PLUS_CHANNELS
    return "v2ProPlus" if is_plus and "v2ProPlus" in possible else possible[0]


def _possible_versions(state: Mapping[str, Tensor]) -> tuple[ModelVersion, ...]:
    if any(key.startswith("cfm.") for key in state):
        return ("v3", "v4")
    if "sv_emb.weight" in state:
        return ("v2Pro", "v2ProPlus")
    embedding = state.get("enc_p.text_embedding.weight")
    if embedding is None:
        raise CheckpointError("the file has no 'enc_p.text_embedding.weight'; it is not a SoVITS file")
    for version in ("v1", "v2"):
        if embedding.shape[0] == VERSIONS[version].n_phonemes:
            return (version,)
    raise CheckpointError(
        f"the text embedding of the SoVITS file has {embedding.shape[0]} phonemes; 322 (v1) and 732 (v2) are known"
    )
