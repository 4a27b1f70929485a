"""Authorisation: API keys and their scopes, rate limits, and bounds on concurrent work."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from sovits_service.api.pages import PageRules
from sovits_service.errors import ForbiddenError, OverloadedError, RateLimitedError, StorageError, UnauthorizedError
from sovits_service.setting_sections import KeyScope
from sovits_service.settings import ServiceSettings

if TYPE_CHECKING:
    from sovits_service.storage.replicas.shared_limits import SharedLimits  # its client is an extra


_CLOCK_TOLERANCE_S = 1.0


def presented_key(request: HTTPConnection) -> str | None:
    """The key of `Authorization: Bearer ...`, `X-API-Key`, or ElevenLabs' `xi-api-key`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or request.headers.get("xi-api-key") or None


class AccessControl:
    """Who may do what, and how often; one for an application.

    Args:
        shared: counts what clients do on all replicas; None counts here alone, as while Redis does not answer.
    """

    def __init__(self, settings: ServiceSettings, shared: SharedLimits | None = None) -> None:
        self.pages = PageRules(settings)
        self._settings = settings
        self._rate: RateLimitItem | None = parse(settings.rate_limit) if settings.rate_limit else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._shared = shared
        self._clock_s = _clock_s()
        self._running: Counter[str] = Counter()

    @property
    def needs_key(self) -> bool:
        """Whether keys are set, so that every client has to present one."""
        return bool(self._settings.api_keys)

    async def authorize(
        self, request: HTTPConnection, scope: KeyScope, *, counted: bool = True, key: str | None = None
    ) -> str:
        """Let a request through.

        Args:
            scope: what the key must allow.
            counted: whether the rate limit applies.
            key: one that came in another way than a header.

        Returns:
            Whose request it is: a key's name, or the client's address where no keys are set.

        Raises:
            UnauthorizedError: no key, or an unknown one.
            ForbiddenError: the key has not this scope; or it is a web page's request, which needs a key.
            RateLimitedError: too many requests of this key or address.
        """
        self.pages.check_page(request, scope)
        client = self._client(request, scope, key)
        if counted:
            await self.count(client)
        return client

    async def count(self, client: str) -> None:
        """Count a request against the rate limit.

        Args:
            client: as `authorize` returned it.

        Raises:
            RateLimitedError: too many requests of this key or address.
        """
        if self._rate is None:
            return
        left_s: float | None = None
        self._note_clock()
        if not self._limiter.hit(self._rate, client):
            left_s = self._limiter.get_window_stats(self._rate, client).reset_time - time.time()
        elif self._shared is not None:
            with contextlib.suppress(StorageError):  # then each replica counts for itself
                left_s = await self._shared.hit(self._rate, client)
        if left_s is not None:
            raise RateLimitedError(
                f"too many requests: at most {self._settings.rate_limit}; wait and try again", max(1.0, left_s)
            )

    async def authorize_admin(self, request: HTTPConnection) -> None:
        """As `authorize`, for routes that change the whole service.

        Raises:
            ForbiddenError: administration is switched off, or the key has not the admin scope.
        """
        if not self._settings.admin.enabled:
            raise ForbiddenError(
                "administration is switched off; switch it on with `admin: {enabled: true}` in configs/service.yaml "
                "or SOVITS_ADMIN__ENABLED=true"
            )
        await self.authorize(request, "admin")

    async def synthesis_slot(self, client: str) -> contextlib.AbstractContextManager[object]:
        """Room for one more synthesis of a client, taken already, and given back when its block ends.

        Raises:
            RateLimitedError: as many as the settings allow are running.
        """
        limit = self._settings.max_concurrent_per_client
        refusal = RateLimitedError(f"at most {limit} syntheses at once; let one finish first")
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._slot(client, limit, refusal))
            if limit and self._shared is not None:
                with contextlib.suppress(StorageError):  # then each replica counts for itself
                    token = await self._shared.take_slot(client, limit)
                    if token is None:
                        raise refusal
                    stack.callback(self._shared.release, token)
            return stack.pop_all()

    @contextlib.contextmanager
    def upload_slot(self, client: str) -> Iterator[None]:
        """Room for one more upload of a client while the block runs.

        Raises:
            OverloadedError: on entry: as many as the settings allow are running.
            RateLimitedError: likewise, of this client.
        """
        limit, own_limit = self._settings.max_concurrent_uploads, self._settings.max_concurrent_uploads_per_client
        too_many = OverloadedError("too many uploads at once; try again in a moment")
        too_many_own = RateLimitedError(f"at most {own_limit} uploads at once; let one finish first")
        with self._slot(f"uploads of {client}", own_limit, too_many_own), self._slot("uploads", limit, too_many):
            yield

    def owner(self, client: str) -> str | None:
        """Whose uploads and voices a client may use and change: a key's name; None for everybody's.

        Args:
            client: as `authorize` returned it.
        """
        name = client.removeprefix("key:")
        is_bound = any(key.name == name and "admin" not in key.scopes for key in self._settings.api_keys)
        return name if is_bound else None

    def _note_clock(self) -> None:
        """Forget what was counted before the clock was set back: it lies in the future, and would count until then."""
        before_s, self._clock_s = self._clock_s, _clock_s()
        if self._clock_s < before_s - _CLOCK_TOLERANCE_S:
            self._limiter.storage.reset()

    @contextlib.contextmanager
    def _slot(self, holder: str, limit: int, refusal: Exception) -> Iterator[None]:
        if limit and self._running[holder] >= limit:
            raise refusal
        self._running[holder] += 1
        try:
            yield
        finally:
            self._running[holder] -= 1
            if not self._running[holder]:
                del self._running[holder]

    def _client(self, request: HTTPConnection, scope: KeyScope, key: str | None) -> str:
        if not self._settings.api_keys:
            return f"address:{request.client.host if request.client else ''}"
        presented = presented_key(request) or key
        if presented is None:
            raise UnauthorizedError("a key is required: send it as Authorization: Bearer KEY, or as X-API-Key")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).hexdigest()
        # Every key is compared, so that the time taken tells nothing about which one came near.
        matches = [key for key in self._settings.api_keys if hmac.compare_digest(key.sha256, digest)]
        if not matches:
            raise UnauthorizedError("the key is not known")
        if scope not in matches[0].scopes:
            raise ForbiddenError(f"the key lacks the scope {scope}")
        return f"key:{matches[0].name}"


def _clock_s() -> float:
    """By how much the clock is ahead of one that nobody sets."""
    return time.time() - time.monotonic()
