"""Structured logs and Prometheus metrics; neither contains texts, paths or keys."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from types import TracebackType
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

LogFormat = Literal["console", "json"]
_Labels = Callable[[], Mapping[str, str]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_FRAMES_IN_A_LOG = 12
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_RATIOS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)


def accept_request_id(offered: str | None) -> str:
    """The client's X-Request-ID where it is a plain token, else a fresh one."""
    if offered is not None and _REQUEST_ID.match(offered):
        return offered
    return uuid.uuid4().hex


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Send structlog and the standard library's loggers (uvicorn's too) to stderr in one format.

    Called once by the command line; a library that embeds the service keeps its own logging.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # The access line of the API has the request id and no query, which may hold a user's text.
    logging.getLogger("uvicorn.access").disabled = True


def describe_exception(
    logger: object, method: str, event: structlog.typing.EventDict
) -> Mapping[str, object]:  # structlog's signature of a processor
    """Replace `exc_info` by the types and places of an exception; its message may hold a user's text or path."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event.update(describe_error(error))
    return event


def describe_error(error: BaseException) -> dict[str, list[str]]:
    """The types of an exception and of its causes, and where it was raised; not its message."""
    return {"error": [type(link).__name__ for link in _causes(error)], "at": _places(error.__traceback__)}


def _causes(error: BaseException) -> Iterable[BaseException]:
    link: BaseException | None = error
    for _ in range(_FRAMES_IN_A_LOG):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES_IN_A_LOG:]
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class _EngineCollector(Collector):
    """Reads the engine's own counters at scrape time, so that the engine knows nothing of Prometheus."""

    def __init__(self, source: Callable[[], Mapping[str, float]], describe_engine: _Labels) -> None:
        self._source = source
        self._describe_engine = describe_engine

    def collect(self) -> Iterable[Metric]:
        labels = self._describe_engine()
        if labels:
            yield InfoMetricFamily("sovits_engine", "What the GPT runs on, and in which numbers.", value=dict(labels))
        for name, value in self._source().items():
            if name.endswith("_total"):
                yield CounterMetricFamily(f"sovits_{name.removesuffix('_total')}", _describe(name), value=value)
            else:
                yield GaugeMetricFamily(f"sovits_{name}", _describe(name), value=value)

    def describe(self) -> Iterable[Metric]:
        return ()  # names are known once the service has started; nothing is read at registration


def _describe(name: str) -> str:
    return name.removesuffix("_total").replace("_", " ").capitalize() + "."


class Metrics:
    """The metrics of one application, in a registry of its own; no label is made of what a user sent.

    Args:
        read_engine: the engine's counters by name (`..._total` is a counter, anything else a gauge), read at a scrape.
        describe_engine: labels of `sovits_engine_info`, read at a scrape; none while they are not known.
    """

    def __init__(
        self, read_engine: Callable[[], Mapping[str, float]] | None = None, describe_engine: _Labels = dict
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        if read_engine is not None:
            self.registry.register(_EngineCollector(read_engine, describe_engine))
        self.requests = Counter(
            "sovits_http_requests",
            "Answers by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "sovits_http_request_seconds",
            "Time from the request to the last byte of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("sovits_http_in_flight", "Requests being answered.", registry=self.registry)
        self.first_audio_seconds = Histogram(
            "sovits_first_audio_seconds",
            "Time to the first chunk of audio, by streaming mode.",
            ("streaming_mode",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.real_time_factor = Histogram(
            "sovits_real_time_factor",
            "Time of a whole synthesis by the duration of its audio.",
            buckets=_RATIOS,
            registry=self.registry,
        )
        self.audio_seconds = Counter("sovits_audio_seconds", "Speech that was made.", registry=self.registry)
        self.cancelled = Counter(
            "sovits_cancelled", "Requests whose client left before it had its whole answer.", registry=self.registry
        )
        self.rejected = Counter("sovits_rejected", "Requests refused, by reason.", ("reason",), registry=self.registry)
        self.errors = Counter("sovits_errors", "Failed requests by kind.", ("kind",), registry=self.registry)
        self.uploads = Counter("sovits_uploads", "Uploaded references.", ("outcome",), registry=self.registry)

    def render(self) -> bytes:
        """The Prometheus text format, 0.0.4."""
        return generate_latest(self.registry)
