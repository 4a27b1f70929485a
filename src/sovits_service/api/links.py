"""The base address of links in an answer, taken from trusted sources only."""

from __future__ import annotations

from starlette.requests import Request

from sovits_service.errors import InvalidRequestError
from sovits_service.settings import ServiceSettings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def own_address(request: Request, settings: ServiceSettings) -> str:
    """What links to this service begin with: `http://127.0.0.1:9880`, without a slash at its end.

    The `Host` of a request is the client's word. It is believed where it is an address that the service listens on, or
    a name of the settings.

    Raises:
        InvalidRequestError: it is neither.
    """
    listening, _ = request.scope.get("server") or ("", None)
    named = (request.url.hostname or "").lower()
    if named not in (*_LOOPBACK, listening, settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)):
        raise InvalidRequestError(
            "response: url needs to know by which address clients reach this service: set objects.public_url, or add "
            "the name to allowed_hosts, in configs/service.yaml"
        )
    return str(request.base_url).rstrip("/")
