"""Download published weights: verified, resumable."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from tqdm import tqdm

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

_ATTEMPTS = 5  # in a row without a single new byte
_READ_BYTES = 1 << 20
# The hub client's HTTP library changed between its major versions; its error derives from that library's base error.
_NETWORK_ERRORS: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    OSError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)


def download_version(
    version: ModelVersion, root: Path, *, mirror: str | None = None, retry_wait_s: float = 2.0
) -> list[Path]:
    """Fetch the files that a version needs, and no others.

    A file of the right size is kept. Others grow as `<name>.<blob>.part` beside their place, so that the next call goes
    on where one was broken off, and get their name when their checksum is right.

    Args:
        version: the model version.
        root: the `pretrained_models` folder.
        mirror: address of another server that speaks the hub's protocol; None takes the hub or HF_ENDPOINT.
        retry_wait_s: first pause after a broken connection; it doubles.

    Returns:
        The files that were fetched now.

    Raises:
        DownloadError: the server cannot be reached, breaks off, has not the files, or sends other bytes.
    """
    endpoint = mirror.rstrip("/") if mirror else None
    try:
        files = _needed_files(version, endpoint)
        absent = [file for file in files if not _is_complete(root / file.path, file)]
        with httpx.Client(follow_redirects=True, timeout=30.0) as client:
            for file in absent:
                _fetch(client, file, root / file.path, retry_wait_s)
    except _NETWORK_ERRORS as error:
        raise DownloadError(
            f"the download of {version} was interrupted ({_reason(error)}); run the same command again to resume it, "
            "or try another server with --mirror URL"
        ) from error
    return [root / file.path for file in absent]


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    """A file as the hub lists it; `sha256` is known of large files, `blob_id` (of git) of all."""

    path: str
    url: str
    size: int
    blob_id: str
    sha256: str | None


def _needed_files(version: ModelVersion, endpoint: str | None) -> list[_RemoteFile]:
    info = HfApi(endpoint=endpoint, token=False).model_info(REPOSITORY, files_metadata=True, timeout=30.0)
    needed: list[_RemoteFile] = []
    for pattern in PUBLISHED_FILES[version]:
        found = [item for item in info.siblings or [] if fnmatch.fnmatchcase(item.rfilename, pattern)]
        if not found:
            raise DownloadError(f"the server has no {pattern}; try another one with --mirror URL")
        for item in found:
            if item.size is None or item.blob_id is None:
                raise DownloadError("the server does not report sizes and checksums; try another one with --mirror URL")
            url = hf_hub_url(REPOSITORY, item.rfilename, revision=info.sha, endpoint=endpoint)
            sha256 = item.lfs.sha256 if item.lfs else None
            needed.append(_RemoteFile(item.rfilename, url, item.size, item.blob_id, sha256))
    return needed


def _is_complete(path: Path, file: _RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _fetch(client: httpx.Client, file: _RemoteFile, target: Path, retry_wait_s: float) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{file.blob_id[:12]}.part")
    failures = 0
    with _bar(target.name, file.size) as progress:
        while True:
            before = part.stat().st_size if part.exists() else 0
            progress.n = before
            progress.refresh()
            try:
                _append(client, file.url, part, progress)
                break
            except httpx.TransportError:
                failures = failures + 1 if part.exists() and part.stat().st_size == before else 1
                if failures == _ATTEMPTS:
                    raise
                time.sleep(retry_wait_s * 2 ** (failures - 1))
    if part.stat().st_size != file.size or not _has_checksum(part, file):
        part.unlink()
        raise DownloadError(f"the server sent a damaged {file.path}; run the same command again to download it again")
    os.replace(part, target)


def _bar(name: str, size: int) -> tqdm[NoReturn]:
    return tqdm(desc=name, total=size, unit="B", unit_scale=True)


def _append(client: httpx.Client, url: str, part: Path, progress: tqdm[NoReturn]) -> None:
    """Append what is missing to `part`; a server without ranges starts over."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # complete already; the checksum decides
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if not resumed:
            progress.n = 0
        with part.open("ab" if resumed else "wb") as sink:
            for data in response.iter_bytes(_READ_BYTES):
                sink.write(data)
                progress.update(len(data))


def _has_checksum(path: Path, file: _RemoteFile) -> bool:
    """Large files carry a SHA-256; small ones the id of their git blob."""
    if file.sha256 is not None:
        digest, expected = hashlib.sha256(), file.sha256
    else:
        digest, expected = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False), file.blob_id
    with path.open("rb") as source:
        while block := source.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest() == expected


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
