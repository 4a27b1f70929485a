"""The examples of the README, run as they stand against a running server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import av
import pytest
import yaml

from sovits_service.storage.hub import REPOSITORY
from tests.e2e.conftest import ROOT, Served, environment
from tests.hub_server import Hub, running_hub
from tests.programs import require_program
from tests.unit.storage.test_hub import REPOSITORY_FILES

SHIPPED_URL = "http://127.0.0.1:9880"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[str]:
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def without_comments(block: str) -> str:
    return re.sub(r"\s+# .*", "", block)


EXAMPLES = [block for block in blocks("README.md") if "make " not in block]


def run(block: str, server: Served, **variables: str) -> subprocess.CompletedProcess[str]:
    script = "set -euo pipefail\n" + block.replace("curl ", "curl -sS --fail-with-body ").replace(
        SHIPPED_URL, server.url
    )
    return subprocess.run(
        ["bash", "-c", script],
        cwd=server.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment() | variables,
        check=False,
    )


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: " ".join(block.split()[:3]))
def test_an_example_does_what_it_says(block: str, server: Served) -> None:
    if "curl " in block:
        require_program("curl")
    with running_hub(REPOSITORY, Hub(REPOSITORY_FILES)) as endpoint:
        result = run(block, server, HF_ENDPOINT=endpoint)
    assert result.returncode == 0, result.stdout + result.stderr
    outputs = re.findall(r"-o (\S+)", block)
    for output in outputs:
        with av.open(server.folder / output) as sound:
            assert sum(frame.samples for frame in sound.decode(audio=0)) > 8_000, output
    if not outputs:
        assert result.stdout.strip()


def test_the_first_example_names_the_make_targets_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", blocks("README.md")[0])
    assert targets == ["serve", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert yaml.safe_load((ROOT / "configs/service.yaml").read_text(encoding="utf-8"))["port"] == 9880


def test_both_languages_have_the_same_examples() -> None:
    chinese = [without_comments(block) for block in blocks("README.zh-CN.md")]
    assert chinese == [without_comments(block) for block in blocks("README.md")]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_every_link_of_the_readme_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


def test_the_readme_says_that_the_voice_is_a_demonstration() -> None:
    text = Path(ROOT / "README.md").read_text(encoding="utf-8")
    assert "demonstration" in text
    assert "sovits-service download" in text
