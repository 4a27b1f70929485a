"""Parse request bodies: JSON, whatever its content type says, and forms."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from sovits_service.errors import InvalidRequestError

_MAX_FIELDS = 100
_JSON_ADVICE = "send a JSON object with the header Content-Type: application/json, or a form"


async def parse_fields(body: bytes, headers: Headers) -> dict[str, Any]:
    """The fields of a request; those of a form are text, and a list where one comes more than once.

    What looks like a JSON object is one, whatever its `Content-Type` says: `curl -d` calls it a form, and many programs
    call it nothing.

    Raises:
        InvalidRequestError: neither, or more than 100 fields.
    """
    stripped = body.strip()
    if not stripped:
        raise InvalidRequestError(f"the body is empty; {_JSON_ADVICE}")
    media_type = headers.get("content-type", "").split(";")[0].strip().lower()
    is_json = media_type in ("", "application/json") or media_type.endswith("+json")
    if is_json or (stripped.startswith(b"{") and not media_type.startswith("multipart/")):
        return _json_object(body)
    if media_type == "application/x-www-form-urlencoded":
        return _joined(_urlencoded(body))
    if media_type == "multipart/form-data":
        return _joined(await _multipart(body, headers))
    raise InvalidRequestError(f"the body must be JSON: {_JSON_ADVICE}")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequestError("the body is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidRequestError("the body must be a JSON object, that is, {...}")
    return parsed


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidRequestError(f"the form cannot be read; {_JSON_ADVICE}") from None


async def _multipart(body: bytes, headers: Headers) -> list[tuple[str, str]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, stream(), max_files=0, max_fields=_MAX_FIELDS).parse()
    except MultiPartException:
        raise InvalidRequestError("the form cannot be read; send text fields, and clips with /upload_ref") from None
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


def _joined(items: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in items:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields
