"""The Helm chart, rendered by helm itself: `make check` runs this where the tools can be installed.

Every rendered object is checked against the JSON schemas of Kubernetes (strict: unknown fields are errors). Objects of
operators (ServiceMonitor, ScaledObject, RayService) have no schema there, and are checked here field by field.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sovits_service.ray_serve.options import load_ray_options
from sovits_service.settings import ServiceSettings, load_service_settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/sovits-service"
TOOLS = ROOT / ".venv/helm/bin"
OLDEST, NEWEST = "1.27", "1.37"
ALONE: dict[str, Any] = {"secretName": "keys"}
REPLICAS: dict[str, Any] = {
    "replicas": 3,
    "secretName": "keys",
    "shared": {"redis": True, "s3": {"enabled": True, "bucket": "speech", "endpointUrl": "http://minio:9000"}},
    "weights": {"existingClaim": "weights"},
}
GPU: dict[str, Any] = {
    "device": "cuda",
    "gpu": {"runtimeClassName": "nvidia"},
    "secretName": "keys",
    "section": "v2ProPlus",
    "weights": {"download": "v2ProPlus", "storageClassName": "fast"},
    "resources": {"requests": {"cpu": "4", "memory": "12Gi"}, "limits": {"memory": "16Gi"}},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
}
PUBLIC: dict[str, Any] = REPLICAS | {
    "ingress": {"enabled": True, "host": "speech.example.com", "className": "nginx", "tlsSecretName": "tls"},
    "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 6},
    "metrics": {"serviceMonitor": {"enabled": True, "authorizationSecret": {"name": "keys", "key": "metrics"}}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}], "ports": [{"port": 6379}]}],
    },
    "settings": {"max_running": 32, "cache": {"ttl_s": 60.0}, "trusted_proxies": ["10.0.0.0/8"]},
    "lexicon": "zh:\n  重庆: chong2 qing4\n",
    "voices": {"configMap": "voices"},
    "podAnnotations": {"example.com/team": "speech"},
}
RAY: dict[str, Any] = REPLICAS | {
    "device": "cuda",
    "ray": {"enabled": True, "workers": {"min": 2, "max": 6}, "options": {"ingress": {"replicas": 2}}},
}
CASES = {"alone": ALONE, "replicas": REPLICAS, "gpu": GPU, "public": PUBLIC}


def helm(command: str, values: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    arguments = [str(TOOLS / "helm"), *command.split(), str(CHART), "--namespace", "speech", "--values", str(file)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def render(values: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Kind -> object."""
    rendered = helm("template speech", values, folder)
    assert rendered.returncode == 0, rendered.stderr
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    assert len({item["kind"] for item in objects}) == len(objects)
    return {item["kind"]: item for item in objects}


def pod_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("case", CASES)
def test_it_is_valid_for_the_oldest_and_the_newest_kubernetes(case: str, tmp_path: Path) -> None:
    linted = helm("lint --strict", CASES[case], tmp_path)
    assert linted.returncode == 0, linted.stdout
    rendered = tmp_path / "objects.yaml"
    rendered.write_text(helm("template speech", CASES[case], tmp_path).stdout, encoding="utf-8")
    for version in (OLDEST, NEWEST):
        command = [str(TOOLS / "kubernetes-validate"), "--strict", "--no-warn", "-k", version, str(rendered)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "passed for resource deployment/speech-sovits-service" in checked.stdout + checked.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_service_accepts_the_settings_it_renders(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(CASES[case], tmp_path)
    file = tmp_path / "service.yaml"
    file.write_text(objects["ConfigMap"]["data"]["service.yaml"], encoding="utf-8")
    for variable in pod_of(objects)["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = load_service_settings(file)
    shared = CASES[case].get("shared") is not None
    assert settings.host == "0.0.0.0"
    assert settings.cache.backend == ("redis" if shared else "disk")
    assert settings.objects.share_voices is shared
    assert settings.drain_s + 5 < pod_of(objects)["terminationGracePeriodSeconds"]


def test_settings_of_the_values_win_over_those_the_chart_implies(tmp_path: Path) -> None:
    rendered = yaml.safe_load(render(PUBLIC, tmp_path)["ConfigMap"]["data"]["service.yaml"])
    assert rendered["cache"] == {"backend": "redis", "ttl_s": 60.0}
    assert rendered["max_running"] == 32
    assert rendered["allowed_hosts"] == ["speech.example.com"]


@pytest.mark.parametrize("case", CASES)
def test_containers_have_no_rights_and_write_only_into_volumes(case: str, tmp_path: Path) -> None:
    pod = pod_of(render(CASES[case], tmp_path))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        defaults = ServiceSettings()
        for folder in (defaults.upload_dir, defaults.cache.dir, defaults.objects.dir, defaults.jobs.dir):
            assert f"/app/{folder}" in writable


def test_one_gpu_per_replica_and_weights_before_the_start(tmp_path: Path) -> None:
    pod = pod_of(render(GPU, tmp_path))
    (container,) = pod["containers"]
    (download,) = pod["initContainers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "16Gi"}
    assert container["image"] == "sovits-service:cuda"
    assert container["args"] == ["serve", "--section", "v2ProPlus"]
    assert download["args"] == ["download", "v2ProPlus"]
    assert "nvidia.com/gpu" not in download["resources"]["limits"]


def test_secrets_come_from_a_secret_and_are_nowhere_in_what_is_rendered(tmp_path: Path) -> None:
    objects = render(REPLICAS, tmp_path)
    assert "Secret" not in objects
    assert pod_of(objects)["containers"][0]["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_a_rolling_update_has_a_ready_replica_before_it_drains_one(tmp_path: Path) -> None:
    assert render(REPLICAS, tmp_path)["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert render(ALONE, tmp_path)["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_changed_settings_restart_the_pods_and_a_changed_lexicon_does_not(tmp_path: Path) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = render(values, tmp_path)["Deployment"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(ALONE) != checksum(ALONE | {"settings": {"max_queue": 9}})
    assert checksum(ALONE) == checksum(ALONE | {"lexicon": "zh: {}"})


def test_replicas_scale_on_the_queue(tmp_path: Path) -> None:
    objects = render(PUBLIC, tmp_path)
    assert "replicas" not in objects["Deployment"]["spec"]
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "sovits_engine_queue_depth"
    keda = {"enabled": True, "source": "keda", "prometheusUrl": "http://prometheus:9090", "queueDepth": 3}
    objects = render(REPLICAS | {"autoscaling": keda}, tmp_path)
    (trigger,) = objects["ScaledObject"]["spec"]["triggers"]
    assert "HorizontalPodAutoscaler" not in objects
    assert trigger["metadata"]["query"].startswith("sum(sovits_engine_queue_depth{")
    assert trigger["metadata"]["threshold"] == "3"


def test_a_ray_service_takes_the_place_of_the_deployment(tmp_path: Path) -> None:
    objects = render(RAY, tmp_path)
    assert not {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} & set(objects)
    spec = objects["RayService"]["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    module, _, name = application["import_path"].partition(":")
    assert f"\ndef {name}(" in (ROOT / "src" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    options = tmp_path / "ray.yaml"
    options.write_text(objects["ConfigMap"]["data"]["ray.yaml"], encoding="utf-8")
    loaded = load_ray_options(options)
    assert (loaded.engine.gpus, loaded.engine.min_replicas, loaded.engine.max_replicas) == (1, 2, 6)
    assert loaded.ingress.replicas == 2
    cluster = spec["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 6)
    (worker,) = group["template"]["spec"]["containers"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    for container in (head, worker):
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"name": "http", "containerPort": 9880} in container["ports"]
    assert objects["Service"]["spec"]["selector"]["ray.io/serve"] == "true"


def test_metrics_are_scraped_with_a_key_under_the_job_of_the_alerts(tmp_path: Path) -> None:
    (endpoint,) = render(PUBLIC, tmp_path)["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "keys", "key": "metrics"}}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "sovits"}]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "SOVITS_API_KEYS"),
        (REPLICAS | {"shared": {"redis": False}}, "shared.redis"),
        (REPLICAS | {"shared": {"redis": True}}, "shared.s3.enabled"),
        (REPLICAS | {"weights": {}}, "weights.existingClaim"),
        ({"insecure": True, "shared": {"redis": True}}, "SOVITS_CACHE__REDIS_URL"),
        (ALONE | {"shared": {"s3": {"enabled": True}}}, "shared.s3.bucket"),
        (REPLICAS | {"autoscaling": {"enabled": True, "source": "keda"}}, "prometheusUrl"),
        (ALONE | {"voices": {"existingClaim": "a", "configMap": "b"}}, "not both"),
        (ALONE | {"ingress": {"enabled": True}}, "ingress.host"),
        (RAY | {"autoscaling": {"enabled": True}}, "ray.workers"),
        (RAY | {"weights": {}}, "weights.existingClaim"),
        (ALONE | {"replcas": 2}, "replcas"),
        (ALONE | {"device": "gpu"}, "device"),
        (ALONE | {"weights": {"download": "v5"}}, "download"),
        (ALONE | {"replicas": 0}, "replicas"),
    ],
)
def test_what_would_not_work_is_refused_before_it_is_installed(
    values: dict[str, Any], says: str, tmp_path: Path
) -> None:
    refused = helm("template speech", values, tmp_path)
    assert refused.returncode != 0
    assert says in refused.stderr


def test_the_examples_of_the_documentation_render(tmp_path: Path) -> None:
    text = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert pod_of(render(yaml.safe_load(example), tmp_path))["containers"][0]["envFrom"]
    [commands] = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [install] = re.findall(r"^helm install .*(?:\n  .*)*", commands, re.MULTILINE)
    _, _, release, chart, *flags = shlex.split(install.replace("\\\n", " "))
    command = [str(TOOLS / "helm"), "template", release, str(ROOT / chart), *flags]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    deployment = next(item for item in yaml.safe_load_all(rendered.stdout) if item and item["kind"] == "Deployment")
    [download] = deployment["spec"]["template"]["spec"]["initContainers"]
    assert download["image"] == "registry.example.com/sovits-service:cuda"
