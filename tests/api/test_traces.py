"""Traces, logs and Server-Timing: the stages of a request are told; what users sent is in none of them."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from sovits_service.settings import ServiceSettings
from sovits_service.storage.results.disk_cache import DiskCache
from sovits_service.tracing import RequestTracer, open_tracer
from tests.api.conftest import serving
from tests.api.fast_service import FastService

KEY = "key-7Hq2-of-a-client"
TEXT = "Sesame opens the vault"
PATH = "voices/private-folder/clip.wav"
KEYS = ({"name": "web", "sha256": hashlib.sha256(KEY.encode()).hexdigest()},)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Spans(InMemorySpanExporter):
    """Keeps spans, and tells when another one is there."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._arrived.set()
        return super().export(spans)

    async def of(self, requests: int) -> list[ReadableSpan]:
        """All spans, once those of so many requests are there: a request is told of after its last byte."""
        while sum(" " in span.name for span in self.get_finished_spans()) < requests:
            await self._arrived.wait()
            self._arrived.clear()
        return list(self.get_finished_spans())


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def traced(service: FastService, spans: Spans, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key, of a service that keeps answers and tells of its requests."""
    service.results = DiskCache(tmp_path / "cache")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    settings = ServiceSettings(api_keys=KEYS)
    async with (
        serving(service, settings, tracer=RequestTracer(provider)) as url,
        httpx.AsyncClient(base_url=url, timeout=20.0, headers={"X-API-Key": KEY}) as http,
    ):
        yield http
    await service.results.close()


def body(**changes: Any) -> dict[str, Any]:
    return {
        "text": TEXT,
        "text_lang": "en",
        "ref_audio_path": PATH,
        "prompt_text": TEXT,
        "prompt_lang": "en",
        **changes,
    }


async def test_a_request_is_a_span_and_each_stage_one_within_it(traced: httpx.AsyncClient, spans: Spans) -> None:
    parent = f"00-{TRACE_ID}-{SPAN_ID}-01"
    answer = await traced.post("/tts", json=body(), headers={"traceparent": parent, "X-Request-ID": "r-1"})
    assert answer.status_code == 200
    found = {span.name: span for span in await spans.of(1)}
    assert set(found) == {"POST /tts", "first_audio", "synthesis", "encode"}
    request = found["POST /tts"]
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/tts",
        "http.response.status_code": 200,
        "sovits.outcome": "answered",
        "sovits.request_id": "r-1",
    }
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    for name in ("first_audio", "synthesis", "encode"):
        stage = found[name]
        assert stage.parent is not None
        assert stage.parent.span_id == request.context.span_id
        assert request.start_time <= stage.start_time <= stage.end_time <= request.end_time  # type: ignore[operator]
    assert found["encode"].start_time >= found["synthesis"].start_time  # type: ignore[operator]


async def test_probes_and_scrapes_make_no_spans(traced: httpx.AsyncClient, spans: Spans) -> None:
    for path in ("/health", "/ready", "/metrics", "/nowhere"):
        await traced.get(path)
    assert [span.name for span in await spans.of(1)] == ["GET unmatched"]


async def test_failures_of_ours_are_errors_and_those_of_clients_are_not(
    traced: httpx.AsyncClient, spans: Spans
) -> None:
    for text in ("late", "!?"):
        await traced.post("/tts", json=body(text=text))
    found = {span.attributes["http.response.status_code"]: span.status for span in await spans.of(2)}  # type: ignore[index]
    assert {status: told.is_ok for status, told in found.items()} == {504: False, 400: True}


async def test_nothing_that_a_client_sent_is_in_spans_logs_metrics_or_timings(
    traced: httpx.AsyncClient, spans: Spans
) -> None:
    told: list[str] = []
    upload = {"file": (PATH, b"RIFF" + bytes(44 + 64_000 * 4)), "prompt_text": (None, TEXT)}
    with capture_logs() as lines:
        answers = [
            await traced.post("/tts", json=body()),
            await traced.post("/tts", json=body(seed=7)),
            await traced.post("/tts", json=body(seed=7)),
            await traced.post("/tts", json=body(streaming_mode=1)),
            await traced.get("/tts", params=body()),
            await traced.get("/tts", params={**body(), "voice_id": TEXT}),
            await traced.post("/tts", json=body(text=f"broken {TEXT}")),
            await traced.post("/tts", json=body(text=f"bug {TEXT}")),
            await traced.post("/tts", json=body(ref_audio_path=f"/{PATH}")),
            await traced.post("/upload_ref", files=upload),
            await traced.get(f"/voices/{TEXT}"),
            await traced.get(f"/{PATH}"),
            await traced.get("/voices", headers={"X-API-Key": f"{KEY}-wrong"}),
        ]
        exported = await spans.of(len(answers))
    assert {answer.status_code for answer in answers} == {200, 400, 401, 404}
    assert sum("server-timing" in answer.headers for answer in answers) >= 4
    assert len([line for line in lines if line["event"] == "request"]) == len(answers)
    told += [repr(line) for line in lines]
    told += [span.to_json() for span in exported]
    told += [answer.headers.get("server-timing", "") for answer in answers]
    told.append((await traced.get("/metrics")).text)
    for secret in (KEY, TEXT, PATH, "Sesame", "private-folder", "secret.wav"):
        assert not [text for text in told if secret in text]


def test_no_address_no_traces() -> None:
    assert open_tracer("") is None


def test_a_missing_extra_is_named() -> None:
    script = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as where it is not installed
from sovits_service.errors import MissingExtraError
from sovits_service.tracing import open_tracer
try:
    open_tracer("http://127.0.0.1:4318")
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "traces_endpoint needs the extra otel: pip install 'sovits-service[otel]'"


def test_spans_reach_a_collector_over_http() -> None:
    """With the real exporter, in a process of its own as the batch thread is the SDK's."""
    script = """
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sovits_service.tracing import Stage, open_tracer

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        data = self.rfile.read(int(self.headers["content-length"]))
        spans = ExportTraceServiceRequest.FromString(data).resource_spans[0].scope_spans[0].spans
        print(self.path, sorted(span.name for span in spans), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.handle_request, daemon=True).start()
tracer = open_tracer(f"http://127.0.0.1:{server.server_port}/")
request, stages = Stage("POST /tts", 1.0, 2.0), [Stage("encode", 1.5, 2.0)]
tracer.record(request, stages, status=200, outcome="answered", request_id="r", traceparent="")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "/v1/traces ['POST /tts', 'encode']"
