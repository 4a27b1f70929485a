"""Scan uploads with clamd; an upload is refused when no scan was possible."""

from __future__ import annotations

import asyncio
import struct
from urllib.parse import urlsplit

import structlog

from sovits_service.errors import InfectedUploadError, ScanUnavailableError, SettingsError

log = structlog.get_logger(__name__)

_CHUNK_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 4096


class ClamdScanner:
    """A client of clamd's INSTREAM command (clamd(8)), a connection for each scan.

    Args:
        address: `tcp://host:3310` or `unix:///run/clamav/clamd.ctl`.
        timeout_s: for one scan, connecting included.

    Raises:
        SettingsError: an address of neither form.
    """

    def __init__(self, address: str, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s
        parts = urlsplit(address)
        try:
            is_tcp = parts.scheme == "tcp" and bool(parts.hostname) and parts.port is not None
        except ValueError:
            is_tcp = False
        if not is_tcp and not (parts.scheme == "unix" and parts.path and not parts.netloc):
            raise SettingsError("the address of clamd must be tcp://host:port or unix:///path/to/socket")
        self._parts = parts

    async def scan(self, data: bytes) -> None:
        """Let clamd look at a file.

        Raises:
            InfectedUploadError: it found something.
            ScanUnavailableError: it is down, slow, or did not look at the whole file.
        """
        try:
            answer = await asyncio.wait_for(self._ask(data), self._timeout_s)
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError) as error:
            log.warning("clamd_not_available", error=type(error).__name__)
            raise ScanUnavailableError("the virus scanner does not answer; try again later") from error
        if answer == "stream: OK":
            return
        if answer.endswith(" FOUND"):
            log.warning("upload_infected", signature=answer.removeprefix("stream: ").removesuffix(" FOUND"))
            raise InfectedUploadError("the virus scanner found something in the file; it was not kept")
        log.warning("clamd_refused", answer=answer)
        raise ScanUnavailableError("the virus scanner could not scan the whole file; try again later")

    async def _ask(self, data: bytes) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(b"zINSTREAM\0")
            for start in range(0, len(data), _CHUNK_BYTES):
                chunk = data[start : start + _CHUNK_BYTES]
                writer.write(struct.pack("!I", len(chunk)))
                writer.write(chunk)
                await writer.drain()
            writer.write(struct.pack("!I", 0))
            await writer.drain()
            answer = await reader.readuntil(b"\0")
        finally:
            writer.close()
        return answer[:-1].decode(errors="replace").strip()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._parts.scheme == "unix":
            return await asyncio.open_unix_connection(self._parts.path, limit=_MAX_ANSWER_BYTES)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=_MAX_ANSWER_BYTES)
