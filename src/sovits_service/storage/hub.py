"""A model version in; its published files under `pretrained_models/` out, resumed where a download was broken off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from sovits_service.errors import DownloadError
from sovits_service.types import ModelVersion

REPOSITORY = "lj1995/GPT-SoVITS"

_ENCODERS = ("chinese-roberta-wwm-ext-large/*", "chinese-hubert-base/*")
_SPEAKER = "sv/pretrained_eres2netv2w24s4ep4.ckpt"
PUBLISHED_FILES: Mapping[ModelVersion, tuple[str, ...]] = {
    "v1": (*_ENCODERS, "s1bert25hz-2kh-longer-epoch=68e-step=50232.ckpt", "s2G488k.pth"),
    "v2": (
        *_ENCODERS,
        "gsv-v2final-pretrained/s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt",
        "gsv-v2final-pretrained/s2G2333k.pth",
    ),
    "v2Pro": (*_ENCODERS, _SPEAKER, "s1v3.ckpt", "v2Pro/s2Gv2Pro.pth"),
    "v2ProPlus": (*_ENCODERS, _SPEAKER, "s1v3.ckpt", "v2Pro/s2Gv2ProPlus.pth"),
    "v3": (*_ENCODERS, "s1v3.ckpt", "s2Gv3.pth", "models--nvidia--bigvgan_v2_24khz_100band_256x/*"),
    "v4": (*_ENCODERS, "s1v3.ckpt", "gsv-v4-pretrained/s2Gv4.pth", "gsv-v4-pretrained/vocoder.pth"),
}

# The client's HTTP library changed between its major versions; its own error derives from that library's base error.
_NETWORK_ERRORS = (OSError, *HfHubHTTPError.__bases__)


def download_version(version: ModelVersion, root: Path, *, mirror: str | None = None) -> None:
    """Fetch the files that a version needs, and no others; files that are there already are kept.

    Args:
        version: the model version.
        root: the `pretrained_models` folder.
        mirror: address of another server that speaks the hub's protocol; None takes the hub or HF_ENDPOINT.

    Raises:
        DownloadError: the server cannot be reached, breaks off, or has not the files.
    """
    try:
        snapshot_download(REPOSITORY, allow_patterns=list(PUBLISHED_FILES[version]), local_dir=root, endpoint=mirror)
    except _NETWORK_ERRORS as error:
        raise DownloadError(
            f"the download of {version} was broken off ({_reason(error)}); run the same command again to go on where it "
            "stopped, or try another server with --mirror URL (for example https://hf-mirror.com)"
        ) from error
    absent = [name for name in PUBLISHED_FILES[version] if not any(_local_files(root, name))]
    if absent:
        raise DownloadError(f"the server has no {', '.join(absent)}; try another one with --mirror URL")


def _local_files(root: Path, pattern: str) -> list[Path]:
    if pattern.endswith("/*"):
        return list(root.glob(pattern))
    return [path for path in [root / pattern] if path.is_file()]


def _reason(error: BaseException) -> str:
    """The root cause in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
