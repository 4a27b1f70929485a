"""Requests in, the right to go on out: keys, scopes, rate limits and bounds on what runs at once."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Iterator

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from sovits_service.errors import ForbiddenError, OverloadedError, RateLimitedError, UnauthorizedError
from sovits_service.settings import KeyScope, ServiceSettings


def presented_key(request: Request) -> str | None:
    """The key of `Authorization: Bearer ...` or `X-API-Key`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


class AccessControl:
    """Who may do what, and how often; one for an application."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._rate: RateLimitItem | None = parse(settings.rate_limit) if settings.rate_limit else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._running: dict[str, int] = {}

    def authorize(self, request: Request, scope: KeyScope, *, counted: bool = True) -> str:
        """Lets a request through.

        Args:
            scope: what the key must allow.
            counted: whether the rate limit applies.

        Returns:
            Whose request it is: a key's name, or the client's address where no keys are set.

        Raises:
            UnauthorizedError: no key, or an unknown one.
            ForbiddenError: the key has not this scope.
            RateLimitedError: too many requests of this key or address.
        """
        client = self._client(request, scope)
        if counted and self._rate is not None and not self._limiter.hit(self._rate, client):
            reset_s = self._limiter.get_window_stats(self._rate, client).reset_time - time.time()
            raise RateLimitedError(
                f"too many requests: at most {self._settings.rate_limit}; wait and try again", max(1.0, reset_s)
            )
        return client

    def authorize_admin(self, request: Request) -> None:
        """As `authorize`, for routes that change the whole service.

        Raises:
            ForbiddenError: administration is switched off, or the key has not the admin scope.
        """
        if not self._settings.admin.enabled:
            raise ForbiddenError(
                "administration is switched off; switch it on with `admin: {enabled: true}` in configs/service.yaml "
                "or SOVITS_ADMIN__ENABLED=true"
            )
        self.authorize(request, "admin")

    @contextlib.contextmanager
    def slot(self, kind: str, limit: int) -> Iterator[None]:
        """Room for one more of `kind` (uploads of the process, streams of a client) while the block runs.

        Raises:
            OverloadedError: there are `limit` already.
        """
        if self._running.get(kind, 0) >= limit:
            raise OverloadedError("too many at once; try again when one has finished", 1.0)
        self._running[kind] = self._running.get(kind, 0) + 1
        try:
            yield
        finally:
            self._running[kind] -= 1
            if not self._running[kind]:
                del self._running[kind]

    def _client(self, request: Request, scope: KeyScope) -> str:
        if not self._settings.api_keys:
            return f"address:{request.client.host if request.client else ''}"
        presented = presented_key(request)
        if presented is None:
            raise UnauthorizedError("a key is required: send it as Authorization: Bearer KEY, or as X-API-Key")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
        # Every key is compared, so that the time taken tells nothing about which one came near.
        matches = [key for key in self._settings.api_keys if hmac.compare_digest(key.sha256, digest)]
        if not matches:
            raise UnauthorizedError("the key is not known")
        if scope not in matches[0].scopes:
            raise ForbiddenError(f"the key has not the scope {scope}")
        return f"key:{matches[0].name}"
