"""Download from https addresses: public hosts only, no redirects, within limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore

from sovits_service.errors import InvalidRequestError, UploadTooLargeError

# One message, whatever the reason: another for a private address would tell which names and hosts an inner network has.
_REFUSED = (
    "the reference cannot be fetched: references come over https from public addresses alone; check the address, or "
    "upload the clip with /upload_ref"
)


class _PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects to what a name means only where all of that is public.

    The connection goes to the very address that was looked at: a name that means another one a moment later gains
    nothing. TLS is still checked against the name.
    """

    def __init__(self, network: httpcore.AsyncNetworkBackend) -> None:
        self._network = network
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:  # no name of the DNS: a label is empty or too long
            raise InvalidRequestError(_REFUSED) from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(map(is_public, addresses)):
            raise InvalidRequestError(_REFUSED)
        stream = await self._network.connect_tcp(addresses[0], port, timeout, local_address, socket_options)
        self._opened.append(stream)
        return stream

    async def aclose(self) -> None:
        """Close what is still open: httpcore forgets a connection that is cancelled within the TLS handshake."""
        with anyio.CancelScope(shield=True):
            for stream in self._opened:
                await stream.aclose()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, not of a machine, a network or a tunnel into one."""
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is not None:
            return is_public(str(inner))
        # All of today's internet is in 2000::/3. What is outside translates to IPv4 (64:ff9b::/96, 64:ff9b:1::/48,
        # ::a.b.c.d) or stays within a site (fec0::/10); some ranges and tunnels within are no hosts either.
        is_tunnel = parsed.teredo is not None or int(parsed) >> 32 & 0xFFFFFFFF in _ISATAP
        if parsed not in _GLOBAL_UNICAST or parsed in _DOCUMENTATION or is_tunnel:
            return False
    elif any(parsed in network for network in _SPECIAL_IPV4):
        return False
    return parsed.is_global and not parsed.is_multicast


_SPECIAL_IPV4 = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24")))  # protocols, 6to4 relays
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")  # Python 3.10 does not know it
_ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of an address whose end is an IPv4 address


class ReferenceFetcher:
    """Fetches a clip that a client names by its address.

    Args:
        max_bytes: a longer one is given up while it comes.
        timeout_s: for all of it.
        network, tls: how to connect; None is the internet as it is.
    """

    def __init__(
        self,
        max_bytes: int,
        timeout_s: float = 10.0,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._network = network or httpcore.AnyIOBackend()
        self._tls = tls

    async def fetch(self, url: str) -> bytes:
        """The content of an address.

        Raises:
            InvalidRequestError: not https, not public, or no answer of 200 in time.
            UploadTooLargeError: longer than allowed.
        """
        try:
            return await asyncio.wait_for(self._fetch(url), self._timeout_s)
        except (TimeoutError, httpcore.TimeoutException) as error:  # before OSError, which it may be one of
            raise InvalidRequestError(f"the reference took longer than {self._timeout_s:g} s to fetch") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise InvalidRequestError(_REFUSED) from error

    async def _fetch(self, url: str) -> bytes:
        parsed = _parse(url)
        data = bytearray()
        network = _PublicBackend(self._network)
        async with (
            contextlib.aclosing(network),
            httpcore.AsyncConnectionPool(network_backend=network, ssl_context=self._tls) as pool,
            pool.stream("GET", parsed, headers={"Accept": "audio/*", "Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status != 200:
                raise InvalidRequestError(
                    f"the reference cannot be fetched: its server answers {answer.status}, not 200"
                )
            async for part in answer.aiter_stream():
                data += part
                if len(data) > self._max_bytes:
                    raise UploadTooLargeError(f"the clip is too large: at most {self._max_bytes:,} bytes are accepted")
        return bytes(data)


def _parse(url: str) -> httpcore.URL:
    try:
        parsed = httpcore.URL(url.encode("ascii"))
        host, port = parsed.host, parsed.port
    except (ValueError, UnicodeEncodeError, AttributeError):
        raise InvalidRequestError(_REFUSED) from None
    if parsed.scheme != b"https" or not host or b"@" in url.encode() or port not in (None, 443):
        raise InvalidRequestError(_REFUSED)
    return parsed
