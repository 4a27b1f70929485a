"""OpenTelemetry spans of requests and their stages: route names, times and a status, nothing else."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sovits_service.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_OUTCOMES_OF_OURS = ("failed", "aborted")


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request's life; times as `time.perf_counter` has them."""

    name: str
    started_s: float
    ended_s: float


class RequestTracer:
    """Writes one span for a request that is over, and one within it for each of its stages.

    Spans are made afterwards, from the timings that the log has too: nothing is done while speech is made.

    Args:
        provider: where spans go, in a thread of its own.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("sovits_service")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, request: Stage, stages: Sequence[Stage], *, status: int, outcome: str, request_id: str, traceparent: str
    ) -> None:
        """Hand over a finished request.

        Args:
            request: named by method and route, such as `POST /tts`.
            outcome: as the log has it.
            traceparent: the client's header of this name, or nothing. Its free text, `tracestate`, is not taken over.
        """
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        parent = self._propagator.extract({"traceparent": traceparent})
        zero_ns = time.time_ns() - time.perf_counter_ns()
        method, _, route = request.name.partition(" ")
        span = self._tracer.start_span(
            request.name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "sovits.outcome": outcome,
                "sovits.request_id": request_id,
            },
            start_time=zero_ns + int(request.started_s * 1e9),
        )
        if status >= 500 or outcome in _OUTCOMES_OF_OURS:
            span.set_status(StatusCode.ERROR)
        within = set_span_in_context(span, parent)
        for stage in stages:
            child = self._tracer.start_span(stage.name, context=within, start_time=zero_ns + int(stage.started_s * 1e9))
            child.end(zero_ns + int(stage.ended_s * 1e9))
        span.end(zero_ns + int(request.ended_s * 1e9))


def open_tracer(endpoint: str) -> RequestTracer | None:
    """A tracer that sends to a collector by OTLP over HTTP; None without an address.

    The SDK's own variables hold for the rest, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_TRACES_SAMPLER.

    Args:
        endpoint: such as `http://collector:4318`.

    Raises:
        MissingExtraError: the packages of the extra `otel` are not installed.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise MissingExtraError("traces_endpoint needs the extra otel: pip install 'sovits-service[otel]'") from None
    version = importlib.metadata.version("sovits-service")
    provider = TracerProvider(resource=Resource.create({"service.name": "sovits-service", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return RequestTracer(provider)
