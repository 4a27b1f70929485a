"""Log lines and metrics: complete, in one format, and without what users sent."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sovits_service.telemetry import Metrics, accept_request_id, describe_error

_SCRIPT = """
import logging, structlog
from sovits_service.telemetry import configure_logging

configure_logging("info", "json")
log = structlog.get_logger("test")
with structlog.contextvars.bound_contextvars(request_id="abc"):
    log.info("spoken", audio_s=1.5, language="zh")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.access").info("GET /tts?text=private")
    log.debug("not shown")
    try:
        try:
            raise KeyError("private")
        except KeyError as error:
            raise ValueError("/home/private/clip.wav") from error
    except ValueError:
        log.exception("failed")
        logging.getLogger("other").exception("failed too")
"""


def test_every_logger_writes_json_with_the_request_id() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["spoken", "Invalid HTTP request received.", "failed", "failed too"]
    assert all(line["request_id"] == "abc" and line["timestamp"].endswith("Z") for line in lines)
    assert (lines[0]["audio_s"], lines[0]["language"], lines[0]["level"]) == (1.5, "zh", "info")
    for line in lines[2:]:
        assert line["error"] == ["ValueError", "KeyError"]
        assert line["at"] == ["<string>:16 <module>"]
    assert "private" not in done.stderr
    assert done.stdout == ""


def test_an_error_is_described_by_type_and_place_alone() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        _ = 1 / 0
    described = describe_error(raised.value)
    assert described["error"] == ["ZeroDivisionError"]
    assert described["at"][0].startswith("test_telemetry.py:")
    assert "division" not in repr(described)


@pytest.mark.parametrize("offered", ["a", "A-1_b.c", "x" * 128])
def test_a_plain_request_id_is_kept(offered: str) -> None:
    assert accept_request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "a b", "a\n", "x" * 129, "é", "{}"])
def test_anything_else_gets_an_id_of_its_own(offered: str | None) -> None:
    assert accept_request_id(offered) not in (offered, accept_request_id(offered))


def test_the_engines_counters_are_read_at_each_scrape() -> None:
    counters = {"queue_depth": 1.0, "tokens_total": 5.0}
    metrics = Metrics(lambda: counters)
    counters["queue_depth"], counters["tokens_total"] = 3.0, 9.0
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert (families["sovits_queue_depth"].type, families["sovits_queue_depth"].samples[0].value) == ("gauge", 3.0)
    assert (families["sovits_tokens"].type, families["sovits_tokens"].samples[0].value) == ("counter", 9.0)


def test_what_the_engine_runs_on_is_told_once_it_is_known() -> None:
    labels: dict[str, str] = {}
    metrics = Metrics(dict, lambda: labels)
    assert b"sovits_engine_info" not in metrics.render()
    labels |= {"backend": "onnx", "precision": "int8"}
    assert b'sovits_engine_info{backend="onnx",precision="int8"} 1.0' in metrics.render()


def test_two_registries_do_not_mix() -> None:
    one, two = Metrics(), Metrics()
    one.cancelled.inc()
    assert b"sovits_cancelled_total 1.0" in one.render()
    assert b"sovits_cancelled_total 0.0" in two.render()
