"""Which web pages may call the API without a key, by the request's Host and Origin.

A browser sends requests of any page to any address that its user reaches, this machine's own among them. Where no key
is asked for, the page's origin is all there is to tell a page of the user's from a stranger's, and the host's name is
what tells a stranger's name that has been pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from sovits_service.api.errors import answer
from sovits_service.errors import ForbiddenError
from sovits_service.setting_sections import KeyScope
from sovits_service.settings import ServiceSettings

LOOPBACK_ORIGIN = r"https?://(([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?"
_DOCKER_HOST = "host.docker.internal"  # the name that containers have for this machine


class PageRules:
    """Which names of this service are known, and which pages may call it."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._has_keys = bool(settings.api_keys)
        self._allowed_hosts = {name.lower() for name in settings.allowed_hosts}
        self._origins = {origin.lower() for origin in settings.cors_origins}

    def check_host(self, request: HTTPConnection) -> None:
        """Refuse a name that is not known, where one could have been pointed at this machine.

        Raises:
            ForbiddenError: without keys, on a loopback address, and wherever `allowed_hosts` is set.
        """
        name = request.headers.get("host")
        if name is None or self._is_known(name):
            return
        if not self._has_keys and (self._allowed_hosts or _is_loopback(request)):
            raise ForbiddenError(
                "the service does not know the host name of this request; "
                "add it to allowed_hosts in configs/service.yaml"
            )

    def check_page(self, request: HTTPConnection, scope: KeyScope) -> None:
        """Refuse a request that a web page makes without the right to.

        Pages of loopback origins may speak and list voices, those of `cors_origins` and of the service itself add
        references and voices too. With keys set, the key decides.

        Raises:
            ForbiddenError: any other page; and administration without a key, for every page.
        """
        page = _page_of(request)
        if self._has_keys or page is None:
            return
        if scope == "admin":
            raise ForbiddenError("a web page needs a key for administration; set api_keys in configs/service.yaml")
        host = request.headers.get("host", "")
        is_own = self._is_known(host) and urlsplit(page).netloc == host.lower()
        if is_own or page in self._origins or "*" in self._origins:
            return
        if scope == "synth" and re.fullmatch(LOOPBACK_ORIGIN, page):
            return
        raise ForbiddenError(
            "pages of this origin may not do this without a key; "
            "name the origin in cors_origins in configs/service.yaml, or set api_keys"
        )

    def _is_known(self, host: str) -> bool:
        """Whether no stranger can have the name: an address, one without a dot, a reserved or a configured one."""
        name = _host_name(host)
        if "." not in name or name.endswith(".localhost") or name == _DOCKER_HOST or name in self._allowed_hosts:
            return True
        return _is_address(name)


class KnownHosts:
    """ASGI middleware that refuses requests for a host name that is not known."""

    def __init__(self, app: ASGIApp, rules: PageRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            request = HTTPConnection(scope)
            try:
                self._rules.check_host(request)
            except ForbiddenError as error:
                await answer(error, request)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _page_of(request: HTTPConnection) -> str | None:
    """The origin of the page that makes a request; None where none does, as far as a browser tells.

    Elements such as `<audio>` send no Origin, but where they are, by Sec-Fetch-Site and Referer.
    """
    origin = request.headers.get("origin")
    if origin is not None:
        return origin.lower()
    referer = request.headers.get("referer")
    if referer is not None:
        try:
            parsed = urlsplit(referer.lower())
        except ValueError:
            return "null"
        return f"{parsed.scheme}://{parsed.netloc}"
    site = request.headers.get("sec-fetch-site", "none")
    if site == "same-origin":
        return f"http://{request.headers.get('host', '').lower()}"
    return None if site == "none" else "null"


def _is_loopback(request: HTTPConnection) -> bool:
    address = (request.scope.get("server") or ("",))[0]
    return _is_address(address) and ipaddress.ip_address(address).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """The name of a Host header without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")
