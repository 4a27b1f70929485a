"""What every route has: request ids, JSON errors, methods, documentation, metrics, and an honest openapi.json."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from sovits_service.api.server import listen
from sovits_service.settings import ServiceSettings
from tests.api.conftest import serving
from tests.api.fast_service import FastService

Say = Callable[..., dict[str, Any]]


async def read_metrics(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    families = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(families) == len(set(families))
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for sample in samples
    }


def test_no_part_of_an_answer_waits_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_request_id_goes_in_and_out(client: httpx.AsyncClient) -> None:
    own = await client.get("/health", headers={"X-Request-ID": "abc-1.2_3"})
    assert own.headers["x-request-id"] == "abc-1.2_3"
    fresh = [(await client.get("/nowhere")).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in fresh)
    assert len(set(fresh)) == 2


@pytest.mark.parametrize("offered", ["a b", "x" * 129, "<script>", "", "ü"])
async def test_a_request_id_that_is_no_plain_token_is_replaced(client: httpx.AsyncClient, offered: str) -> None:
    answer = await client.get("/health", headers={b"X-Request-ID": offered.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_every_error_is_json_with_a_message(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nowhere")
    assert (missing.status_code, missing.json()) == (404, {"message": "Not Found"})
    wrong = await client.delete("/tts")
    assert (wrong.status_code, wrong.json()) == (405, {"message": "Method Not Allowed"})
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_and_head(client: httpx.AsyncClient, service: FastService) -> None:
    options = await client.options("/tts")
    assert (options.status_code, options.headers["allow"], options.content) == (204, "GET, HEAD, OPTIONS, POST", b"")
    for path in ("/health", "/ready", "/metrics"):
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
    assert (await client.head("/v1/audio/speech")).status_code == 405
    assert (await client.options("/nowhere")).status_code == 404
    assert service.started == 0


async def test_other_origins_are_not_allowed_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"Origin": "https://page.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("settings", [{"cors_origins": ("https://page.example",)}])
async def test_a_configured_origin_may_call_and_read_the_headers(client: httpx.AsyncClient, say: Say) -> None:
    origin = {"Origin": "https://page.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = await client.options("/tts", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, origin["Origin"])
    answer = await client.post("/tts", json=say(), headers=origin)
    assert "X-Seed" in answer.headers["access-control-expose-headers"]
    stranger = await client.get("/health", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in stranger.headers


async def test_the_documentation_needs_no_other_server(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs", headers={"Accept": "text/html"})
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(links) == 3
    assert not re.search(r"""["'](https?:)?//""", page.text)
    for link in links:
        asset = await client.get(f"/{link}")
        assert asset.status_code == 200
        assert len(asset.content) > 500
    assert (await client.get("/openapi.json")).json()["paths"]["/tts"]


async def test_a_browser_runs_the_script_of_the_documentation_and_no_other(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    script = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r"<style|\son\w+=", page.text)
    assert (await client.get("/redoc")).status_code == 404


@pytest.mark.parametrize("settings", [{"allowed_hosts": ("known.example",)}])
async def test_no_answer_lets_a_browser_guess_its_type(client: httpx.AsyncClient, say: Say) -> None:
    answers = [
        await client.get("/health"),
        await client.get("/docs"),
        await client.get("/docs/assets/swagger-ui.css"),
        await client.get("/", headers={"Accept": "text/html"}),
        await client.get("/nowhere"),
        await client.options("/tts"),
        await client.post("/tts", json={}),
        await client.post("/tts", json=say()),
        await client.post("/tts", json=say("broken")),
        await client.post("/tts", json=say(streaming_mode=1)),
        await client.get("/health", headers={"Host": "evil.example"}),
        await client.get("/health", headers={"X-Filler": "a" * 200_000}),
    ]
    assert {answer.status_code for answer in answers} >= {200, 204, 400, 403, 404, 431}
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer


async def test_what_is_not_http_is_refused_like_any_other_request(base_url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
    writer.write(b"no request\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"X-Content-Type-Options: nosniff" in head
    assert json.loads(body) == {"message": "Invalid HTTP request received."}


async def test_openapi_says_what_can_come_back(client: httpx.AsyncClient) -> None:
    spec = (await client.get("/openapi.json")).json()
    assert set(spec["paths"]) == {
        "/tts", "/v1/audio/speech", "/read", "/upload_ref", "/voices", "/voices/{voice_id}", "/health", "/ready",
        "/metrics", "/control", "/set_gpt_weights", "/set_sovits_weights", "/set_refer_audio", "/objects/{key}",
        "/vc", "/check_ref", "/voices/{voice_id}/check", "/jobs", "/jobs/{job_id}", "/jobs/{job_id}/audio",
        "/jobs/{job_id}/events", "/jobs/{job_id}/subtitles", "/jobs/{job_id}/resume",
    }  # fmt: skip
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
    tts = spec["paths"]["/tts"]
    assert set(tts["get"]["responses"]) == set(tts["post"]["responses"])
    assert set(tts["post"]["responses"]) == {"200", "304", "400", "401", "403", "404", "413", "429", "503", "504"}
    assert set(tts["post"]["responses"]["200"]["content"]) == {
        *(f"audio/{media_type}" for media_type in ("wav", "raw", "ogg", "aac", "mpeg", "flac", "opus", "mp4")),
        "application/json",
    }
    fields = {parameter["name"] for parameter in tts["get"]["parameters"]}
    assert fields == set(tts["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"])
    assert {"text", "voice_id", "streaming_mode", "parallel_infer", "min_chunk_length"} <= fields


async def test_metrics_count_what_happened(client: httpx.AsyncClient, service: FastService, say: Say) -> None:
    await client.post("/tts", json=say("hello"))
    await client.post("/tts", json=say("hello", streaming_mode=2))
    await client.post("/tts", json=say("broken"))
    await client.get("/tts")
    await client.get("/voices/some-secret-name")
    await client.get("/some-other-secret")
    service.places = 0
    await client.post("/tts", json=say("hello"))
    values = await read_metrics(client)
    assert values["sovits_http_requests_total POST /tts 200"] == 2
    assert values["sovits_http_requests_total POST /tts 400"] == 1
    assert values["sovits_http_requests_total GET /tts 400"] == 1
    assert values["sovits_http_requests_total POST /tts 503"] == 1
    assert values["sovits_http_requests_total GET /voices/{voice_id} 404"] == 1
    assert values["sovits_http_requests_total GET unmatched 404"] == 1
    assert values["sovits_first_audio_seconds_count 0"] == values["sovits_first_audio_seconds_count 2"] == 1
    assert values["sovits_real_time_factor_count"] == 2
    assert values["sovits_audio_seconds_total"] == pytest.approx(0.5)
    assert values["sovits_errors_total SynthesisError"] == 1
    assert values["sovits_rejected_total overloaded"] == 1
    assert values["sovits_engine_semantic_tokens_total"] == 50
    assert values["process_resident_memory_bytes"] > 1e7
    assert not any("secret" in name for name in values)


async def test_metrics_count_clients_that_left(
    client: httpx.AsyncClient, base_url: str, service: FastService, say: Say
) -> None:
    service.gate = asyncio.Semaphore(0)
    async with (
        httpx.AsyncClient(base_url=base_url) as leaving,
        leaving.stream("POST", "/tts", json=say(streaming_mode=2)) as answer,
    ):
        assert answer.status_code == 200
    await asyncio.wait_for(service.closed_early.wait(), 10)
    values = await read_metrics(client)
    assert values["sovits_cancelled_total"] == 1
    assert values["sovits_http_in_flight"] == 1  # the one that reads the metrics


async def test_two_applications_count_apart(service: FastService) -> None:
    settings = ServiceSettings()
    async with serving(service, settings) as one, serving(FastService(), settings) as two, httpx.AsyncClient() as http:
        await http.get(f"{one}/health")
        text = (await http.get(f"{two}/metrics")).text
    assert 'route="/health"' not in text


async def test_a_refused_request_is_one_line_of_the_log(
    client: httpx.AsyncClient, service: FastService, say: Say
) -> None:
    service.places = 0
    with structlog.testing.capture_logs() as lines:
        assert (await client.post("/tts", json=say("hello"))).status_code == 503
    assert [(line["event"], line["status"]) for line in lines] == [("request", 503)]


async def test_the_log_has_ids_and_timings_and_nothing_a_user_sent(client: httpx.AsyncClient, say: Say) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await client.post("/tts", json=say("hello private"), headers={"X-Request-ID": "known"})
        await client.get("/tts?text=private&voice_id=private-voice", headers={"Authorization": "Bearer private"})
        await client.post("/tts", json=say("bug private"))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/tts", json=say("p\N{BOMB}private", streaming_mode=1))
    lines = [line for line in lines if line["event"] in ("request", "unhandled error", "request failed")]
    assert lines[0]["request_id"] == "known"
    assert {"first_audio_ms", "synthesis_ms", "encode_ms", "total_ms"} <= set(lines[0])
    outcomes = [line["outcome"] for line in lines if line["event"] == "request"]
    assert outcomes == ["answered", "answered", "failed", "aborted"]
    assert "private" not in repr(lines)
    assert "/home/someone" not in repr(lines)
