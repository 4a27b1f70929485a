"""WebSocket sessions, with the same authorisation and limits as HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sovits_service.api.access import presented_key
from sovits_service.api.deps import context_of, require_ready
from sovits_service.api.errors import answer, status_of
from sovits_service.api.inline import keep_inline_references
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, SovitsError

CLOSE_NORMAL, CLOSE_AWAY, CLOSE_POLICY = 1000, 1001, 1008


class Socket:
    """An accepted WebSocket.

    Attributes:
        client: whose it is, as `authorize` returned it; None while the key is still to come in a message.
    """

    def __init__(self, websocket: WebSocket, client: str | None) -> None:
        self.client = client
        self._websocket = websocket
        self._key: str | None = None
        self._stall_s = context_of(websocket).settings.stall_s
        self._sending = asyncio.Lock()

    async def authorize(self, key: object) -> str:
        """The client, by a key of its first message where no header had one. Raises UnauthorizedError and others."""
        if self.client is None:
            access = context_of(self._websocket).access
            self._key = key if isinstance(key, str) else None
            self.client = await access.authorize(self._websocket, "synth", key=self._key)
        return self.client

    async def keep_references(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Fields by the names of `/tts` with each `data:` and web address stored, as `POST /tts` does it.

        Raises:
            ForbiddenError: the client's key lacks the scope `upload`.
            SovitsError: as for an upload.
        """
        return {**raw, **await keep_inline_references(self._websocket, raw, self._key)}

    async def receive(self, limit_s: float) -> dict[str, Any]:
        """The next message.

        Raises:
            InvalidRequestError: it is no JSON object.
            TimeoutError: none came in time.
            WebSocketDisconnect: the client has gone.
        """
        async with asyncio.timeout(limit_s):
            message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        try:
            parsed = json.loads(message.get("text") or "")
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise InvalidRequestError("a message must be a JSON object, sent as text")
        return parsed

    async def send_json(self, content: dict[str, Any]) -> None:
        """Raise DeadlineExceededError where the client reads nothing any more."""
        # In ASCII, since what a client named may come back in it, and need not be valid Unicode.
        await self._send({"type": "websocket.send", "text": json.dumps(content)})

    async def send_bytes(self, data: bytes) -> None:
        """Raise DeadlineExceededError where the client reads nothing any more."""
        await self._send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int) -> None:
        """Closes, where the client has not done so."""
        states = (self._websocket.client_state, self._websocket.application_state)
        if WebSocketState.DISCONNECTED not in states:
            await self._websocket.close(code)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._stall_s), self._sending:
                await self._websocket.send(message)
        except TimeoutError:
            raise DeadlineExceededError(f"the client read nothing for {self._stall_s:g} s") from None


async def admit(websocket: WebSocket) -> Socket | None:
    """Accept a WebSocket, or refuse it with the status and message of HTTP; returns None then.

    Without a key in its headers, where one is needed, it is accepted: web pages can send none but in a message.
    """
    context = context_of(websocket)
    access = context.access
    try:
        access.pages.check_page(websocket, "synth")
        needs_message = access.needs_key and presented_key(websocket) is None
        client = None if needs_message else await access.authorize(websocket, "synth")
        require_ready(context.service)
    except SovitsError as error:
        context.metrics.errors.labels(kind=type(error).__name__).inc()
        await websocket.send_denial_response(answer(error, websocket))
        return None
    await websocket.accept()
    return Socket(websocket, client)


def error_message(error: SovitsError) -> dict[str, Any]:
    """An error as a message to the client."""
    return {"type": "error", "status": status_of(error, "/tts"), "message": str(error)}
