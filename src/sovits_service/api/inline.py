"""References embedded in a request (`data:...;base64,...`, `https://...`): stored as uploads before they are used."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError
from starlette.requests import HTTPConnection, Request

from sovits_service.api.deps import ApiContext, context_of, owner_of
from sovits_service.api.schemas import as_path_list
from sovits_service.errors import InvalidRequestError, UploadTooLargeError

_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE | re.ASCII)
_SINGLE = ("ref_audio_path", "timbre_ref_audio_path")


async def keep_inline_references(
    request: HTTPConnection, raw: Mapping[str, Any], key: str | None = None
) -> dict[str, Any]:
    """The reference fields of a request with each `data:` and web address stored, and named as an upload is.

    Such a reference obeys all that holds for uploads: the key's scope, size, duration, the virus scanner, the quota.

    Args:
        key: one that came in another way than a header.

    Raises:
        SovitsError: as for an upload.
    """
    fields: dict[str, Any] = {}
    for name in _SINGLE:
        if is_inline(raw.get(name)):
            fields[name] = await _keep(request, raw[name], key)
    paths = _further(raw)
    if any(map(is_inline, paths)):
        if len(paths) > context_of(request).settings.max_aux_references:
            return fields  # too many: refused with the other checks, and nothing is kept
        fields["aux_ref_audio_paths"] = [await _keep(request, path, key) if is_inline(path) else path for path in paths]
    return fields


def has_inline_references(raw: Mapping[str, Any]) -> bool:
    """Whether a reference comes with the request, as a `data:` or web address."""
    return any(map(is_inline, [*map(raw.get, _SINGLE), *_further(raw)]))


def _further(raw: Mapping[str, Any]) -> list[Any]:
    """The further references, which a query or a form has as text; none where they are no list."""
    try:
        paths = as_path_list(raw.get("aux_ref_audio_paths"))
    except PydanticCustomError:  # told with the other fields
        return []
    return paths if isinstance(paths, list) else []


def is_inline(value: object) -> bool:
    """Whether a name is the clip itself, or a web address."""
    return isinstance(value, str) and value[:8].lower().startswith(("data:", "http://", "https://"))


async def _keep(request: HTTPConnection, url: str, key: str | None) -> str:
    context = context_of(request)
    client = await context.access.authorize(request, "upload", counted=False, key=key)
    with context.access.upload_slot(client):
        data = await _read(context, url)
        stored = await context.service.voices.add_reference(data, owner=owner_of(client))
    return stored.path


async def decode_inline(request: Request, url: str) -> bytes:
    """The file that a `data:` or web address stands for, whichever field names it.

    Raises:
        ForbiddenError: the request's key lacks the scope `upload`.
        SovitsError: the file cannot be had, or is too large.
    """
    context = context_of(request)
    await context.access.authorize(request, "upload", counted=False)
    return await _read(context, url)


async def _read(context: ApiContext, url: str) -> bytes:
    return await (_decode if url[:5].lower() == "data:" else _fetch)(context, url)


async def _decode(context: ApiContext, url: str) -> bytes:
    limit_bytes = context.settings.max_upload_bytes
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequestError("a reference within the request must be data:audio/...;base64,...")
    if (len(url) - head.end()) * 3 // 4 > limit_bytes + 2:
        raise UploadTooLargeError(f"the clip is too large: at most {limit_bytes:,} bytes are accepted")
    try:
        return await asyncio.to_thread(base64.b64decode, url[head.end() :], validate=True)
    except ValueError:
        raise InvalidRequestError("the reference within the request is not valid base64") from None


async def _fetch(context: ApiContext, url: str) -> bytes:
    if context.fetcher is None:
        raise InvalidRequestError(
            "references by web address are switched off (uploads.from_urls in configs/service.yaml); "
            "upload the clip with /upload_ref"
        )
    return await context.fetcher.fetch(url)
