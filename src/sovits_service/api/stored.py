"""Conditional and range requests for stored files (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

_FROM_TO = re.compile(r"\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*")
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


class _UnsatisfiableError(Exception):
    """A range that begins behind the end."""


def asks_for_part(request: Request) -> bool:
    """Whether a player asks for less than the whole, as Safari's first request does (`bytes=0-1`)."""
    match = _ONE_RANGE.fullmatch(_range(request))
    return match is not None and match.groups() not in (("0", ""), ("", ""))


def file_response(
    request: Request, data: bytes, etag: str, *, media_type: str, headers: Mapping[str, str], is_kept: bool
) -> Response:
    """The answer with a file.

    Args:
        etag: a strong entity tag, with its quotes.
        is_kept: whether the next request gets the same bytes. Ranges of others are not given out: a player would join
            parts of different speech.
    """
    known = {**headers, "ETag": etag}
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=known)
    if not is_kept:
        return Response(data, media_type=media_type, headers=known)
    known["Accept-Ranges"] = "bytes"
    try:
        part = _asked_part(request, len(data), etag)
    except _UnsatisfiableError:
        return Response(status_code=416, headers={**known, "Content-Range": f"bytes */{len(data)}"})
    if part is None:
        return Response(data, media_type=media_type, headers=known)
    known["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    return Response(data[part.start : part.stop], 206, media_type=media_type, headers=known)


class StoredFile(FileResponse):
    """A file on the disk, whole or in ranges; headers that cannot be read are answered with the whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.stat_result is None:
            self.stat_result = await asyncio.to_thread(os.stat, self.path)
            self.set_stat_headers(self.stat_result)
        headers = Headers(scope=scope)
        if _matches(headers.get("if-none-match", ""), self.headers["etag"]):
            known = {name: self.headers[name] for name in ("etag", "last-modified")}
            await Response(status_code=304, headers=known)(scope, receive, send)
            return
        if scope["method"] != "GET" or not _is_range(headers.get("range", "")):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        await super().__call__(scope, receive, send)


def _is_range(header: str) -> bool:
    """Whether it names bytes, from a first to a last that is none before it."""
    unit, _, ranges = header.partition("=")
    found = [_FROM_TO.fullmatch(part) for part in ranges.split(",")]
    return unit.strip().lower() == "bytes" and all(
        match is not None and any(match.groups()) and int(match[1] or 0) <= int(match[2] or 10**18) for match in found
    )


def _range(request: Request) -> str:
    return request.headers.get("range", "") if request.method == "GET" else ""


def _asked_part(request: Request, size_bytes: int, etag: str) -> range | None:
    """The bytes that are asked for; None for all of them.

    Several ranges at once, other units and what cannot be read are answered with the whole, as the RFC allows.
    """
    match = _ONE_RANGE.fullmatch(_range(request))
    if match is None or request.headers.get("if-range", etag).strip() != etag:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start = int(first)
        stop = min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise _UnsatisfiableError
    return range(start, stop)


def _matches(if_none_match: str, etag: str) -> bool:
    offered = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in offered or offered == ["*"]
