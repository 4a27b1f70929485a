"""Who may call which route: a table of every route that the application has, which a new route has to join."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from sovits_service.api.app import create_app
from sovits_service.settings import ServiceSettings
from tests.api.fast_service import FastService

Call = tuple[str, str]
_PUBLIC = "public"
# What a call needs. A new route fails the first test below until it is here, with the scope that it asks for.
ROUTES: dict[Call, str] = {
    ("GET", "/tts"): "synth",
    ("POST", "/tts"): "synth",
    ("POST", "/vc"): "synth",
    ("POST", "/v1/audio/speech"): "synth",
    ("GET", "/v1/models"): "synth",
    ("GET", "/v1/models/{model}"): "synth",
    ("GET", "/v1/audio/models"): "synth",
    ("GET", "/v1/audio/voices"): "synth",
    ("POST", "/v1/audio/voices"): "upload",
    ("DELETE", "/v1/audio/voices/{voice_id}"): "upload",
    ("POST", "/v1/text-to-speech/{voice_id}"): "synth",
    ("POST", "/v1/text-to-speech/{voice_id}/stream"): "synth",
    ("POST", "/v1/text-to-speech/{voice_id}/with-timestamps"): "synth",
    ("POST", "/v1/text-to-speech/{voice_id}/stream/with-timestamps"): "synth",
    ("GET", "/v1/voices"): "synth",
    ("GET", "/v2/voices"): "synth",
    ("GET", "/v1/voices/{voice_id}"): "synth",
    ("POST", "/infer_single"): "synth",
    ("POST", "/infer_classic"): "synth",
    ("GET", "/character_list"): "synth",
    ("GET", "/models/{version}"): "synth",
    ("POST", "/models"): "synth",
    ("GET", "/classic_model_list/{version}"): "synth",
    ("POST", "/classic_model_list"): "synth",
    ("GET", "/version"): "synth",
    ("POST", "/read"): "synth",
    ("POST", "/jobs"): "synth",
    ("GET", "/jobs"): "synth",
    ("GET", "/jobs/{job_id}"): "synth",
    ("DELETE", "/jobs/{job_id}"): "synth",
    ("POST", "/jobs/{job_id}/resume"): "synth",
    ("GET", "/jobs/{job_id}/audio"): "synth",
    ("GET", "/jobs/{job_id}/subtitles"): "synth",
    ("GET", "/jobs/{job_id}/events"): "synth",
    ("GET", "/voices"): "synth",
    ("GET", "/voices/{voice_id}"): "synth",
    ("GET", "/metrics"): "synth",
    ("POST", "/upload_ref"): "upload",
    ("POST", "/check_ref"): "upload",
    ("POST", "/voices/{voice_id}/check"): "synth",
    ("PUT", "/voices/{voice_id}"): "upload",
    ("DELETE", "/voices/{voice_id}"): "upload",
    ("GET", "/speakers"): "synth",
    ("GET", "/"): "synth",  # with a text in it, as api.py has it; without one it is the page
    ("POST", "/"): "synth",
    ("GET", "/control"): "admin",
    ("POST", "/control"): "admin",
    ("GET", "/set_model"): "admin",
    ("POST", "/set_model"): "admin",
    ("GET", "/change_refer"): "admin",
    ("POST", "/change_refer"): "admin",
    ("GET", "/set_gpt_weights"): "admin",
    ("GET", "/set_sovits_weights"): "admin",
    ("GET", "/set_refer_audio"): "admin",
    ("GET", "/health"): _PUBLIC,
    ("GET", "/ready"): _PUBLIC,
    ("GET", "/page/jobs.js"): _PUBLIC,
    ("GET", "/page/page.css"): _PUBLIC,
    ("GET", "/page/page.js"): _PUBLIC,
    ("GET", "/page/sound.js"): _PUBLIC,
    ("GET", "/page/strings.js"): _PUBLIC,
    ("GET", "/page/words.js"): _PUBLIC,
    ("GET", "/docs"): _PUBLIC,
    ("GET", "/docs/assets"): _PUBLIC,
    ("GET", "/openapi.json"): _PUBLIC,
    ("GET", "/objects/{key:path}"): "signature",
}
# Each asks for the scope synth, in a header or in its first message: tests/api/test_live.py, test_elevenlabs_live.py
SOCKETS: list[Call] = [
    ("WEBSOCKET", "/ws/tts"),
    ("WEBSOCKET", "/v1/text-to-speech/{voice_id}/stream-input"),
    ("WEBSOCKET", "/v1/text-to-speech/{voice_id}/multi-stream-input"),
]
SCOPES = ("synth", "upload", "admin")


def _key(scope: str) -> dict[str, Any]:
    return {"name": scope, "sha256": hashlib.sha256(f"k-{scope}".encode()).hexdigest(), "scopes": (scope,)}


SETTINGS = {"api_keys": tuple(map(_key, SCOPES)), "admin": {"enabled": True}}
# What makes a request whole, so that a call that is let through is not refused for something else.
_QUERY = {
    "text": "hi", "text_lang": "en", "voice_id": "amy", "command": "exit", "weights_path": "a", "refer_audio_path": "a",
}  # fmt: skip


def _calls(app: FastAPI) -> set[Call]:
    """Every method and path, those of included routers too; a HEAD is the GET without its body."""
    return set(itertools.chain.from_iterable(map(_calls_of, app.routes)))


def _calls_of(route: BaseRoute) -> list[Call]:
    if isinstance(route, WebSocketRoute):
        return [("WEBSOCKET", route.path)]
    if isinstance(route, Mount):
        return [("GET", route.path)]
    inner = getattr(getattr(route, "original_router", None), "routes", None)
    if inner is not None:
        return list(itertools.chain.from_iterable(map(_calls_of, inner)))
    path = getattr(route, "path")  # noqa: B009 - a BaseRoute has none, and a route without one shall fail here
    return [("GET" if method == "HEAD" else method, path) for method in getattr(route, "methods")]  # noqa: B009


def test_every_route_is_in_the_table() -> None:
    assert _calls(create_app(FastService(), ServiceSettings())) == set(ROUTES) | set(SOCKETS)


@pytest.mark.parametrize("settings", [SETTINGS])
@pytest.mark.parametrize("call", ROUTES, ids=" ".join)
async def test_a_call_takes_its_own_scope_and_no_other(
    client: httpx.AsyncClient, service: FastService, call: Call
) -> None:
    method, path = call
    needed = ROUTES[call]
    path = path.replace("{voice_id}", "amy").replace("{key:path}", "audio/a.wav")
    statuses = {}
    for scope in ("", "nobody", *(scope for scope in SCOPES if scope != needed), needed):
        headers = {"X-API-Key": f"k-{scope}"} if scope else {}
        body = {} if method in ("GET", "DELETE") else {"json": _QUERY | {"input": "hi", "voice": "amy"}}
        statuses[scope] = (await client.request(method, path, params=_QUERY, headers=headers, **body)).status_code
        if scope != needed:
            assert service.started == 0 or needed == _PUBLIC
    if needed == _PUBLIC:
        assert not {401, 403} & set(statuses.values())
    elif needed == "signature":
        assert set(statuses.values()) == {403}
    else:
        assert statuses.pop("") == statuses.pop("nobody") == 401
        assert statuses.pop(needed) not in (401, *(() if path == "/control" else (403,)))
        assert set(statuses.values()) == {403}
    assert "amy" in service.templates or (call[0] == "DELETE" and call[1].endswith("/{voice_id}"))


@pytest.mark.parametrize("settings", [{**SETTINGS, "admin": {"enabled": False}}])
async def test_administration_is_off_as_shipped_whatever_the_key(client: httpx.AsyncClient) -> None:
    assert ServiceSettings().admin.enabled is False
    for (method, path), scope in ROUTES.items():
        if scope == "admin":
            body = {"json": _QUERY} if method == "POST" else {}
            answer = await client.request(method, path, params=_QUERY, headers={"X-API-Key": "k-admin"}, **body)
            assert answer.status_code == 403
