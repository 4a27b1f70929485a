"""A real clamd finds EICAR; whatever clamd does not say clearly keeps an upload out."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sovits_service.errors import InfectedUploadError, ScanUnavailableError, SettingsError
from sovits_service.storage.antivirus import ClamdScanner
from tests.process_log import ProcessLog
from tests.programs import require_program
from tests.unit.storage.conftest import free_port

# In two halves, so that this file itself is no test virus.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD" + rb"-ANTIVIRUS-TEST-FILE!$H+H*"


@pytest.fixture(scope="module")
def clamd() -> Iterator[tuple[str, str]]:
    """A clamd with one signature of our own; its TCP and its socket address."""
    program = require_program("clamd")
    folder = Path(tempfile.mkdtemp(prefix="clamd-"))
    port = free_port()
    signature = f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Own.Eicar:73\n"
    (folder / "own.hdb").write_text(signature)
    (folder / "clamd.conf").write_text(
        f"Foreground yes\nDatabaseDirectory {folder}\nLocalSocket {folder}/clamd.ctl\nTCPSocket {port}\n"
        f"TCPAddr 127.0.0.1\nStreamMaxLength 1M\nTemporaryDirectory {folder}\n"
    )
    process = subprocess.Popen([program, "-c", folder / "clamd.conf"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        ProcessLog(process.stdout).wait_for("Self checking")  # the last it says before it takes connections
        yield f"tcp://127.0.0.1:{port}", f"unix://{folder}/clamd.ctl"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("way", [0, 1], ids=["tcp", "socket"])
async def test_a_real_clamd(clamd: tuple[str, str], way: int) -> None:
    scanner = ClamdScanner(clamd[way])
    await scanner.scan(b"RIFF" + bytes(500_000))
    await scanner.scan(b"")
    with pytest.raises(InfectedUploadError, match="found something"):
        await scanner.scan(EICAR)
    await scanner.scan(EICAR[:-1])


async def test_many_scans_at_once(clamd: tuple[str, str]) -> None:
    scanner = ClamdScanner(clamd[0])
    uploads = [EICAR if number % 3 == 0 else bytes(number * 1000) for number in range(30)]
    outcomes = await asyncio.gather(*(scanner.scan(upload) for upload in uploads), return_exceptions=True)
    for upload, outcome in zip(uploads, outcomes, strict=True):
        assert isinstance(outcome, InfectedUploadError) if upload == EICAR else outcome is None


async def test_more_than_clamd_looks_at_is_not_let_through(clamd: tuple[str, str]) -> None:
    with pytest.raises(ScanUnavailableError):
        await ClamdScanner(clamd[1]).scan(bytes(3_000_000))


@asynccontextmanager
async def fake(answer: bytes | None, check: Callable[[bytes], None] | None = None) -> AsyncIterator[str]:
    """Speaks clamd's protocol, and says what the test wants; None says nothing."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        received = b""
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            received += await reader.readexactly(size)
        if check is not None:
            check(received)
        if answer is None:
            await gone.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


async def test_every_byte_is_sent() -> None:
    data = bytes(range(256)) * 1000
    seen: list[bytes] = []
    async with fake(b"stream: OK\0", seen.append) as address:
        await ClamdScanner(address).scan(data)
    assert seen == [data]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"stream: OK",
        b"\0",
        b"OK\0",
        b"stream: OK FOUNDATION\0",
        b"INSTREAM size limit exceeded. ERROR\0",
        b"UNKNOWN COMMAND\0",
        b"\xff\xfe\0",
        b"x" * 100_000 + b"\0",
    ],
)
async def test_whatever_is_not_clearly_good_is_refused(answer: bytes) -> None:
    async with fake(answer) as address:
        with pytest.raises(ScanUnavailableError):
            await ClamdScanner(address).scan(b"data")


async def test_a_finding_does_not_name_itself_to_the_client() -> None:
    async with fake(b"stream: Win.Test.EICAR_HDB-1 FOUND\0") as address:
        with pytest.raises(InfectedUploadError) as caught:
            await ClamdScanner(address).scan(b"data")
    assert "EICAR" not in str(caught.value)


async def test_a_scanner_that_hangs_fails_closed() -> None:
    async with fake(None) as address:
        with pytest.raises(ScanUnavailableError):
            await ClamdScanner(address, timeout_s=0.05).scan(b"data")


async def test_a_scanner_that_is_down_fails_closed(tmp_path: Path) -> None:
    for address in (f"tcp://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.ctl"):
        with pytest.raises(ScanUnavailableError):
            await ClamdScanner(address).scan(b"data")


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:3310", "tcp://localhost", "tcp://h:x", "unix://", "http://h:1"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(SettingsError, match="tcp://host:port"):
        ClamdScanner(address)
