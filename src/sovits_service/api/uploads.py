"""Read multipart uploads within limits of size and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sovits_service.api.deps import bounded
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, UploadTooLargeError
from sovits_service.settings import ServiceSettings

_FORM_OVERHEAD_BYTES = 64 * 1024  # part headers and the text fields beside the file
_MAX_FIELDS = 8


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
    """Reads a form whose file is in `field`.

    Args:
        or_text: a text field that may stand in place of the file.

    Raises:
        InvalidRequestError: there is no file, or a file where a text is expected.
        UploadTooLargeError, DeadlineExceededError: too many bytes, or too slow.
    """
    limit_bytes, limit_s = settings.max_upload_bytes, settings.uploads.receive_s
    try:
        with anyio.fail_after(limit_s):
            form = await bounded(request, limit_bytes + _FORM_OVERHEAD_BYTES).form(max_files=1, max_fields=max_fields)
    except TimeoutError:  # a client that sends a byte now and then would keep its slot for ever
        raise DeadlineExceededError(f"the upload took longer than {limit_s:g} s; send it again") from None
    try:
        upload = form.get(field)
        data = b""
        if isinstance(upload, UploadFile):
            data = await upload.read(limit_bytes + 1)
        elif not (or_text and form.get(or_text)):
            raise InvalidRequestError(f"{field} is required: send the clip as multipart/form-data, field {field}")
        if len(data) > limit_bytes:
            raise UploadTooLargeError(f"the clip is too large: at most {limit_bytes:,} bytes are accepted")
        texts: dict[str, str] = {}
        for name, value in form.items():
            if isinstance(value, str):
                texts[name] = value
            elif name != field:
                raise InvalidRequestError(f"{name} must be text, not a file")
        return UploadForm(data, texts)
    finally:
        await form.close()
