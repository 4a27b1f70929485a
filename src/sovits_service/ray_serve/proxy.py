"""Middleware for Serve's proxies: 503 with Retry-After where a replica could not answer."""

from __future__ import annotations

import json

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MESSAGE = {"message": "the replica that had the request is gone; try again in a moment"}
_RETRY_AFTER = (b"retry-after", b"1")


class SayWhen:
    """ASGI middleware. Serve's proxy answers nothing where a replica has died before its answer began, and 500 is sent.

    An answer that has begun is left as it is: unfinished, so that the server closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start" and message["status"] == 503:
                headers = list(message.get("headers", ()))
                if not any(name.lower() == _RETRY_AFTER[0] for name, _ in headers):
                    message = {**message, "headers": [*headers, _RETRY_AFTER]}
            await send(message)

        await self._app(scope, receive, send_on)
        if not has_begun and scope["type"] in ("http", "websocket"):
            await _refuse("http" if scope["type"] == "http" else "websocket.http", send)


async def _refuse(kind: str, send: Send) -> None:
    body = json.dumps(_MESSAGE).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), _RETRY_AFTER]
    await send({"type": f"{kind}.response.start", "status": 503, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})


def middlewares() -> list[Middleware]:
    """For RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, where `serve run` or a RayService starts the proxies."""
    return [Middleware(SayWhen)]
