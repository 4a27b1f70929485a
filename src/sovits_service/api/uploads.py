"""Read multipart uploads within limits of size and time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.requests import Request

from sovits_service.api.deps import bounded
from sovits_service.api.schemas import echo
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, UploadTooLargeError
from sovits_service.settings import ServiceSettings

_FORM_OVERHEAD_BYTES = 64 * 1024  # part headers and the text fields beside the file
_MAX_FIELDS = 8
_LIST_FIELD = "aux_ref_audio_paths"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form, with the name that its sender gave it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A form as it came; `clip` is empty where a text field stands for it."""

    clip: bytes
    texts: Mapping[str, str]

    def text(self, name: str) -> str:
        """A field; empty where it is left out."""
        return self.texts.get(name, "")

    def flag(self, name: str) -> bool:
        """A field that is true or false; false where it is left out. Raises InvalidRequestError."""
        value = self.text(name).strip().lower()
        if value not in ("", "true", "false", "1", "0"):
            raise InvalidRequestError(f"{name} must be true or false")
        return value in ("true", "1")


async def receive_clip(
    request: Request, settings: ServiceSettings, field: str, *, max_fields: int = _MAX_FIELDS, or_text: str = ""
) -> UploadForm:
    """Read a form whose clip is in `field`.

    Args:
        or_text: a text field that may stand in place of the file.

    Raises:
        InvalidRequestError: there is no file, or a file where a text is expected.
        UploadTooLargeError, DeadlineExceededError: too many bytes, or too slow.
    """
    limits = {field: ("clip", settings.max_upload_bytes)}
    files, texts = await receive_form(request, limits, max_fields=max_fields, receive_s=settings.uploads.receive_s)
    if field not in files and not (or_text and texts.get(or_text)):
        raise InvalidRequestError(f"{field} is required: send the clip as multipart/form-data, field {field}")
    return UploadForm(files[field].data if field in files else b"", texts)


async def receive_form(
    request: Request, limits: Mapping[str, tuple[str, int]], *, max_fields: int, receive_s: float
) -> tuple[dict[str, UploadedFile], dict[str, str]]:
    """The files and the texts of a form; a list is JSON.

    Args:
        limits: fields that may hold a file, with what it is called in messages, and its bytes at most.
        receive_s: how long it may take to arrive.

    Raises:
        InvalidRequestError: a file where a text is expected, or one where there can be no other.
        UploadTooLargeError, DeadlineExceededError: too many bytes, or too slow.
    """
    limit_bytes = sum(limit for _, limit in limits.values()) + _FORM_OVERHEAD_BYTES
    try:
        with anyio.fail_after(receive_s):
            form = await bounded(request, limit_bytes).form(max_files=len(limits), max_fields=max_fields)
    except TimeoutError:  # a client that sends a byte now and then would keep its slot for ever
        raise DeadlineExceededError(f"the upload took longer than {receive_s:g} s; send it again") from None
    files: dict[str, UploadedFile] = {}
    texts: dict[str, list[str]] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                texts.setdefault(name, []).append(value)
                continue
            if name not in limits:
                fields = " and ".join(limits)
                raise InvalidRequestError(f"a file is accepted in the field {fields} only; all other fields are text")
            what, file_limit = limits[name]
            if name in files:
                raise InvalidRequestError(f"there is more than one {what}: send one request for each")
            data = await value.read(file_limit + 1)
            if len(data) > file_limit:
                raise UploadTooLargeError(f"the {what} is too large: at most {file_limit:,} bytes are accepted")
            files[name] = UploadedFile(value.filename or "", data)
    finally:
        await form.close()
    return files, {name: _joined(name, values) for name, values in texts.items()}


def _joined(name: str, values: list[str]) -> str:
    """The text of a field; a list that comes as one field for each entry is JSON, as in a query."""
    if len(values) > 1 and name != _LIST_FIELD:
        raise InvalidRequestError(f"{echo(name)} comes more than once; send it once")
    return values[0] if len(values) == 1 else json.dumps(values)
