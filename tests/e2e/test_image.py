"""What the image promises, as far as it can be seen without building it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import PurePosixPath

from tests.e2e.conftest import ROOT, Served, environment

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STAGE = DOCKERFILE.split("\nFROM ")[-1]


def health_check(port: int) -> int:
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", STAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    program, *arguments = json.loads(found[1])
    assert program == "python"
    command = [sys.executable, *arguments]
    variables = environment() | {"SOVITS_PORT": str(port)}
    return subprocess.run(command, env=variables, capture_output=True, check=False, timeout=30).returncode


def test_its_health_check_passes_on_a_living_service_and_fails_without_one(server: Served) -> None:
    assert health_check(int(server.url.rsplit(":", 1)[1])) == 0
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    assert health_check(port) != 0


def test_no_weight_and_no_secret_gets_into_its_context() -> None:
    ignored, *allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored == "*"
    allowed = [line.removeprefix("!") for line in allowed if line.startswith("!")]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    context = [
        name for name in listed if any(name == entry or name.startswith(f"{entry}/") for entry in allowed) and name
    ]
    assert "src/sovits_service/service/service.py" in context
    weights = {".ckpt", ".pth", ".pt", ".safetensors", ".onnx", ".bin"}
    assert not [name for name in context if PurePosixPath(name).suffix in weights]
    assert not [name for name in context if PurePosixPath(name).name.startswith(".env")]


def test_it_runs_as_a_user_without_rights_and_keeps_weights_in_a_volume() -> None:
    users = re.findall(r"^USER (\S+)", STAGE, re.MULTILINE)
    assert users
    assert users[-1] not in ("root", "0")
    assert '"/app/pretrained_models"' in re.findall(r"^VOLUME (.*)$", STAGE, re.MULTILINE)[0]
    assert not re.search(r"^(ARG|ENV) .*(KEY|TOKEN|SECRET|PASSWORD)", DOCKERFILE, re.MULTILINE)
