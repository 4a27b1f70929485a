"""References by web address: what is fetched, from where never, and the limits."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sovits_service.errors import InvalidRequestError, UploadTooLargeError
from sovits_service.storage.downloads.fetch import ReferenceFetcher, is_public

PUBLIC = "93.184.215.14"


class Rerouted(httpcore.AnyIOBackend):
    """The network, but for one public address, which is a server of this test."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.asked: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(f"{host}:{port}")
        return await super().connect_tcp("127.0.0.1", self.port, timeout, local_address, socket_options)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the public address, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "clips")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(PUBLIC))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "clips.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@contextlib.asynccontextmanager
async def web(certificate: Path, answer: bytes, *, goes_on: bool = False) -> AsyncIterator[Rerouted]:
    """A TLS server that gives one answer to everything."""

    handlers: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while goes_on:
                writer.write(bytes(65536))
                await writer.drain()
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield Rerouted(server.sockets[0].getsockname()[1])
        await asyncio.gather(*filter(None, handlers))


def fetcher(network: Rerouted, certificate: Path, **limits: Any) -> ReferenceFetcher:
    tls = ssl.create_default_context(cafile=str(certificate))
    return ReferenceFetcher(**{"max_bytes": 1000, **limits}, network=network, tls=tls)


async def test_a_public_address_is_fetched(certificate: Path) -> None:
    async with web(certificate, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip") as network:
        assert await fetcher(network, certificate).fetch(f"https://{PUBLIC}/clip.wav?a=b") == b"clip"
    assert network.asked == [f"{PUBLIC}:443"]


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/a.wav",
        "ftp://93.184.215.14/a.wav",
        "file:///etc/passwd",
        "https://",
        "https://user:key@93.184.215.14/",
        "https://93.184.215.14:8443/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[2002:7f00:1::]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[fec0::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://[fd00::1]/",
        "https://224.0.0.1/",
        "https://\u2460.example/",
        "https://a..b/",
        f"https://{'a' * 64}.example/",
        f"https://{'a' * 3000}/",
    ],
)
async def test_other_places_are_never_connected_to(certificate: Path, url: str) -> None:
    async with web(certificate, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip") as network:
        with pytest.raises(InvalidRequestError) as raised:
            await fetcher(network, certificate).fetch(url)
    assert network.asked == []
    assert str(raised.value).startswith("the reference cannot be fetched: references come over https from public")


async def test_a_redirect_is_not_followed(certificate: Path) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with web(certificate, moved) as network:
        with pytest.raises(InvalidRequestError, match="answers 302"):
            await fetcher(network, certificate).fetch(f"https://{PUBLIC}/")
    assert len(network.asked) == 1


async def test_a_clip_beyond_the_limit_is_given_up_while_it_comes(certificate: Path) -> None:
    async with web(certificate, b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", goes_on=True) as network:
        with pytest.raises(UploadTooLargeError):
            await fetcher(network, certificate).fetch(f"https://{PUBLIC}/")


async def test_a_slow_server_is_given_up(certificate: Path) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        network = Rerouted(server.sockets[0].getsockname()[1])
        with pytest.raises(InvalidRequestError, match=r"longer than 0\.2 s"):
            await fetcher(network, certificate, timeout_s=0.2).fetch(f"https://{PUBLIC}/")
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_broken_answer_is_an_error(certificate: Path) -> None:
    for answer in (b"", b"nonsense", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nclip"):
        async with web(certificate, answer) as network:
            with pytest.raises(InvalidRequestError, match="cannot be fetched"):
                await fetcher(network, certificate).fetch(f"https://{PUBLIC}/")


async def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    async with web(certificate, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip") as network:
        with pytest.raises(InvalidRequestError, match="cannot be fetched"):
            await fetcher(network, certificate).fetch("https://8.8.8.8/")


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "169.254.1.1", "100.64.0.1", "255.255.255.255", "x"),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1"),
        *("fec0::1", "feff::1", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff::1", "::127.0.0.1", "::8.8.8.8", "3fff::1"),
        *("5f00::1", "2606:2800::5efe:7f00:1", "2606:2800::200:5efe:a00:1", "4000::1", "2001:db8::1", "192.0.0.8"),
        *("::ffff:10.0.0.1", "2002:a00:1::", "2001:0:0:0:0:0:0:1", "64:ff9b::a00:1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
