"""The examples of the README and of docs/http-api.md, run as they stand against a running server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
import yaml

from sovits_service.storage.downloads.hub import REPOSITORY
from tests.e2e.conftest import ROOT, Served, environment
from tests.hub_server import Hub, running_hub
from tests.programs import require_program
from tests.unit.storage.test_hub import REPOSITORY_FILES

SHIPPED_URL = "http://127.0.0.1:9880"
HTTP_API = "docs/http-api.md"
CLIENTS = "docs/clients.md"
TUTORIAL = "docs/own-voice.md"


def blocks(name: str, language: str = "bash") -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_comments(block: str) -> str:
    return re.sub(r"\s+# .*", "", block)


EXAMPLES = (
    [block for block in blocks("README.md") if "make " not in block]
    + blocks(HTTP_API)
    + blocks(CLIENTS)
    + blocks("docs/jobs.md")
)


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
        assert samples_of(server.folder / output) > 8_000, output
    if not outputs:
        assert result.stdout.strip()


def test_the_tutorial_leads_to_a_voice(server: Served) -> None:
    require_program("curl")
    result = run("\n".join(blocks(TUTORIAL)), server)
    assert result.returncode == 0, result.stdout + result.stderr
    for output in ("me.wav", "me.mp3"):
        assert samples_of(server.folder / output) > 8_000, output


def samples_of(file: Path) -> int:
    with av.open(file) as sound:
        return sum(frame.samples for frame in sound.decode(audio=0))


@pytest.mark.parametrize(("document", "outputs"), [(HTTP_API, ["hello.mp3"]), (CLIENTS, ["own.wav", "own.mp3"])])
def test_the_examples_in_python(server: Served, document: str, outputs: list[str]) -> None:
    [program] = blocks(document, "python")
    subprocess.run(
        [sys.executable, "-c", program.replace(SHIPPED_URL, server.url)], cwd=server.folder, check=True, timeout=120
    )
    for output in outputs:
        assert samples_of(server.folder / output) > 8_000


def test_the_answer_to_an_upload_is_the_one_that_is_shown(server: Served) -> None:
    [upload] = [block for block in blocks(HTTP_API) if "/upload_ref" in block]
    answered = json.loads(run(upload, server).stdout)
    [shown] = map(json.loads, blocks(HTTP_API, "json"))
    assert {**answered, "path": "...", "id": "..."} == shown


def test_the_transcript_in_the_readme_is_the_one_of_the_voice() -> None:
    said = yaml.safe_load((ROOT / "voices/male_narrator.yaml").read_text(encoding="utf-8"))["prompt_text"]
    for name in ("README.md", "README.zh-CN.md", HTTP_API, CLIENTS, TUTORIAL):
        assert said in (ROOT / name).read_text(encoding="utf-8"), name


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
