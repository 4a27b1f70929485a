"""What operators are given: dashboard, alerts, compose file and table of metrics speak of what there is."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sovits_service.api.app import create_app
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings, load_service_settings
from sovits_service.storage.antivirus import ClamdScanner
from sovits_service.tts_settings import load_tts_settings
from tests.api.fast_service import FastService
from tests.tiny_pack import write_pack

ROOT = Path(__file__).parents[2]
_METRIC = re.compile(r"\b(?:sovits|process)_[a-z_]+\b")
_REFERENCE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
_LABELS_OF_PROMETHEUS = {"job", "instance"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> SpeechService:
    """A real one, which need not have started to tell of itself."""
    folder = tmp_path_factory.mktemp("service")
    settings = ServiceSettings(
        upload_dir=folder / "uploads",
        cache={"dir": folder / "cache"},  # type: ignore[arg-type]
        objects={"dir": folder / "objects"},  # type: ignore[arg-type]
    )
    return build_service(load_tts_settings(write_pack(folder / "pack")), settings)


@pytest.fixture(scope="module")
def metrics(service: SpeechService) -> Mapping[str, str]:
    """Every metric of a scrape, by its name in queries, with its type."""

    async def scrape() -> str:
        transport = httpx.ASGITransport(create_app(service, ServiceSettings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/metrics")).text

    text = asyncio.run(scrape())
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name: kind for name, kind in families if not name.endswith("_created")}


def queryable(metrics: Mapping[str, str]) -> set[str]:
    names = {name for name, kind in metrics.items() if kind != "histogram"}
    histograms = [name for name, kind in metrics.items() if kind == "histogram"]
    return names | {f"{name}{ending}" for name in histograms for ending in ("_bucket", "_count", "_sum")}


def dashboard_queries() -> list[str]:
    dashboard = json.loads((ROOT / "ops/grafana-dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "ops/alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    return dashboard_queries() + [rule["expr"] for rule in alerts()]


def test_every_metric_that_is_queried_exists(metrics: Mapping[str, str]) -> None:
    used = {name for query in queries() for name in _METRIC.findall(query)}
    assert used - queryable(metrics) == set()
    for query in queries():
        for name in re.findall(r"rate\((\w+)", query):
            assert metrics.get(name) == "counter" or name.endswith("_bucket"), f"{name} is no counter"


def test_every_label_that_is_queried_exists(service: SpeechService) -> None:
    app = create_app(service, ServiceSettings())
    metrics = app.state.context.metrics
    known = {"le"} | _LABELS_OF_PROMETHEUS
    for name in ("requests", "request_seconds", "first_audio_seconds", "rejected", "errors", "uploads"):
        known |= set(getattr(metrics, name)._labelnames)
    used = set()
    for query in queries():
        for group in re.findall(r"by \(([^)]*)\)", query):
            used |= {label.strip() for label in group.split(",")}
        used |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!=|=)", query))
    assert used - known == set()


def test_the_table_of_metrics_is_complete_and_true(metrics: Mapping[str, str]) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if re.match(r"\| `(sovits|process)_", line)]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented - {"sovits_engine_info"} == set(metrics) - {"sovits_engine_info"}  # known once a model is loaded
    assert (
        set(_METRIC.findall(text)) - queryable(metrics) - set(metrics) - {"sovits_service", "sovits_engine_info"}
        == set()
    )


def test_the_fast_service_of_other_tests_tells_the_same_numbers(service: SpeechService) -> None:
    assert set(FastService().stats()) == set(service.stats())


def test_every_alert_has_an_entry_in_the_runbook() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", text, re.MULTILINE))
    anchors = {title.lower().replace(" ", "-"): entry for title, entry in entries.items()}
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operations.md"
        assert f"`{rule['alert']}`" in anchors[anchor]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return document


def interpolate(value: str, given: Mapping[str, str]) -> str:
    """As compose does: ${NAME:-default} and ${NAME:?what is missing}."""

    def replace(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name in given:
            return given[name]
        assert kind == "-", f"{name} is not set: {rest}"
        return str(rest)

    return _REFERENCE.sub(replace, value)


@pytest.fixture
def compose_settings(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ServiceSettings:
    profile = request.param
    [served] = [entry for entry in compose()["services"].values() if entry.get("profiles") == [profile]]
    for name, value in served["environment"].items():
        assert isinstance(value, str), f"{name} must be a string"
        given = {"MINIO_PASSWORD": "of-the-test", "REDIS_PASSWORD": "of-the-cache", "SOVITS_API_KEYS": "[]"}
        monkeypatch.setenv(name, interpolate(value, given))
    return load_service_settings(ROOT / "configs/service.yaml")


@pytest.mark.parametrize("compose_settings", ["cpu", "gpu"], indirect=True)
def test_every_variable_of_the_compose_file_is_a_setting_and_names_a_neighbour(
    compose_settings: ServiceSettings,
) -> None:
    services = compose()["services"]
    assert compose_settings.host == "0.0.0.0"
    assert compose_settings.log_format == "json"
    assert compose_settings.cache.backend == "redis"
    assert compose_settings.cache.redis_url.get_secret_value() == "redis://:of-the-cache@redis:6379/0"
    assert compose_settings.objects.backend == "s3"
    assert compose_settings.objects.endpoint_url == "http://minio:9000"
    assert f"store/{compose_settings.objects.bucket} " in services["bucket"]["command"][0]
    assert compose_settings.objects.secret_access_key.get_secret_value() == "of-the-test"
    assert f"mc admin user add store {compose_settings.objects.access_key_id} " in services["bucket"]["command"][0]
    assert compose_settings.uploads.clamd == "tcp://clamd:3310"
    ClamdScanner(compose_settings.uploads.clamd)
    assert {"redis", "minio", "clamd"} <= set(services)


def test_the_compose_file_and_the_image_belong_together() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    services = compose()["services"]
    speaking = {name: entry for name, entry in services.items() if "profiles" in entry}
    assert {entry["profiles"][0]: entry["build"]["args"]["DEVICE"] for entry in speaking.values()} == {
        "cpu": "cpu",
        "gpu": "cuda",
    }
    for entry in speaking.values():
        assert re.search(rf"^ +{entry['build']['args']['DEVICE']}\) pip install", dockerfile, re.MULTILINE)
        targets = [volume.split(":")[1] for volume in entry["volumes"]]
        assert "/app/pretrained_models" in targets
        assert all(target.startswith("/app/") and target.removeprefix("/app/") in dockerfile for target in targets)
        assert entry["ports"][0].endswith(":9880")
        assert entry["depends_on"].keys() <= services.keys()
        grace_s = int(entry["stop_grace_period"].removesuffix("s"))
        assert grace_s > ServiceSettings().drain_s
        compile(entry["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert "devices" in speaking["sovits-gpu"]["deploy"]["resources"]["reservations"]
    for name, entry in services.items():
        assert "healthcheck" in entry or name == "bucket", name
        named = [volume.split(":")[0] for volume in entry.get("volumes", ()) if not volume.startswith(".")]
        assert set(named) <= set(compose()["volumes"])


def test_the_compose_file_holds_no_secret() -> None:
    for entry in compose()["services"].values():
        for name, value in entry.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|API_KEYS|TOKEN|AUTH", name):
                assert _REFERENCE.fullmatch(value), name
            if re.search("PASSWORD|SECRET|API_KEYS|TOKEN|AUTH|REDIS_URL", name):
                assert [rest for _, _, rest in _REFERENCE.findall(value)] == ["put it into .env"], name
        for port in entry.get("ports", ()):
            assert port.startswith("${BIND:-127.0.0.1}:"), "published to this machine alone unless asked for"


def test_what_metrics_answers_can_be_parsed(service: SpeechService) -> None:
    metrics = create_app(service, ServiceSettings()).state.context.metrics
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    assert values["sovits_engine_ready"] == 0.0
    assert values["sovits_engine_batch_occupancy"] == 0.0
    assert values["process_resident_memory_bytes"] > 2**20
