"""Health, readiness, and administration that is locked until someone unlocks it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sovits_service.settings import ServiceSettings
from tests.api.conftest import serving
from tests.api.fast_service import FastService

ADMIN = {"admin": {"enabled": True}}
LOCKED = (
    "administration is switched off; switch it on with `admin: {enabled: true}` in configs/service.yaml "
    "or SOVITS_ADMIN__ENABLED=true"
)


async def test_health_and_ready_while_all_is_well(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {
        "status": "alive",
        "backend": "onnx",
        "precision": "int8",
    }
    assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_loading_or_draining_is_alive_but_not_ready(
    client: httpx.AsyncClient, service: FastService, say: Callable[..., dict[str, Any]]
) -> None:
    service.is_ready = False
    health = await client.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "alive"})
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready"})
    refused = await client.post("/tts", json=say())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "loading its model or shutting down" in refused.json()["message"]
    assert (await client.get("/voices")).status_code == 200


async def test_a_dead_engine_is_not_healthy(client: httpx.AsyncClient, service: FastService) -> None:
    service.is_alive = False
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "failed")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/control", "command is required"),
        ("/set_gpt_weights", "gpt weight path is required"),
        ("/set_sovits_weights", "sovits weight path is required"),
        ("/set_refer_audio", "refer_audio_path is required"),
    ],
)
@pytest.mark.parametrize("settings", [{}, ADMIN])
async def test_a_missing_parameter_is_told_first(client: httpx.AsyncClient, path: str, expected: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (400, {"message": expected})


@pytest.mark.parametrize(
    "path",
    [
        "/control?command=exit",
        "/control?command=restart",
        "/set_gpt_weights?weights_path=a.ckpt",
        "/set_sovits_weights?weights_path=a.pth",
        "/set_refer_audio?refer_audio_path=a.wav",
    ],
)
async def test_administration_is_locked_by_default(client: httpx.AsyncClient, service: FastService, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (403, {"message": LOCKED})
    assert service.switched == []
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize("settings", [ADMIN])
async def test_unlocked_switches_answer_as_api_v2(client: httpx.AsyncClient, service: FastService) -> None:
    paths = (
        "/set_gpt_weights?weights_path=a.ckpt",
        "/set_sovits_weights?weights_path=a.pth",
        "/set_refer_audio?refer_audio_path=a.wav",
    )
    for path in paths:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"message": "success"})
    assert service.switched == [("gpt", "a.ckpt"), ("sovits", "a.pth"), ("reference", "a.wav")]


@pytest.mark.parametrize("settings", [ADMIN])
@pytest.mark.parametrize(
    ("path", "failed"),
    [
        ("/set_gpt_weights?weights_path=/etc/passwd", "change gpt weight failed"),
        ("/set_sovits_weights?weights_path=/etc/passwd", "change sovits weight failed"),
        ("/set_refer_audio?refer_audio_path=/etc/passwd", "set refer audio failed"),
    ],
)
async def test_a_path_that_is_not_registered_is_refused(client: httpx.AsyncClient, path: str, failed: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json() == {"message": failed, "Exception": "not among the registered files"}


async def test_control_reaches_the_process_when_unlocked(service: FastService) -> None:
    commands: list[str] = []
    async with (
        serving(service, ServiceSettings(**ADMIN), on_control=commands.append) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        assert (await http.get("/control?command=restart")).json() == {"message": "success"}
        assert (await http.get("/control?command=exit")).json() == {"message": "success"}
        unknown = await http.get("/control?command=format")
        assert (unknown.status_code, unknown.json()) == (400, {"message": "command must be restart or exit"})
    assert commands == ["restart", "exit"]


@pytest.mark.parametrize("settings", [ADMIN])
async def test_control_is_refused_where_something_else_runs_the_process(client: httpx.AsyncClient) -> None:
    answer = await client.get("/control?command=exit")
    assert answer.status_code == 403
    assert "run by something else" in answer.json()["message"]


@pytest.mark.parametrize(
    "settings",
    [
        {
            **ADMIN,
            "api_keys": (
                {"name": "boss", "sha256": hashlib.sha256(b"k-boss").hexdigest(), "scopes": ("admin",)},
                {"name": "web", "sha256": hashlib.sha256(b"k-web").hexdigest()},
            ),
        }
    ],
)
async def test_with_keys_administration_asks_for_the_admin_scope(
    client: httpx.AsyncClient, service: FastService
) -> None:
    path = "/set_gpt_weights?weights_path=a.ckpt"
    assert (await client.get(path)).status_code == 401
    refused = await client.get(path, headers={"X-API-Key": "k-web"})
    assert (refused.status_code, refused.json()) == (403, {"message": "the key lacks the scope admin"})
    assert service.switched == []
    assert (await client.get(path, headers={"X-API-Key": "k-boss"})).status_code == 200
