"""What the documents say beside the examples that need a server: settings, templates, commands, figures."""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import shutil
from pathlib import Path

import httpx
import pytest
import yaml

from sovits_service.api.app import create_app
from sovits_service.cli import make_parser
from sovits_service.service.diagnostics import examine
from sovits_service.settings import ServiceSettings, load_service_settings
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.text.lexicon import parse_lexicon, read_lexicon
from sovits_service.tts_settings import load_tts_settings
from tests.api.fast_service import FastService
from tests.tiny_pack import write_pack

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("docs/*.md"), *ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", ROOT / "voices/README.md"]
)
# Documents whose blocks of a language are run or read by a test: here, in tests/e2e or tests/helm.
TESTED = {
    ("README.md", "bash"), ("README.zh-CN.md", "bash"), ("docs/http-api.md", "bash"), ("docs/http-api.md", "python"),
    ("docs/http-api.md", "json"), ("docs/http-api.md", "yaml"), ("docs/configuration.md", "bash"),
    ("docs/operations.md", "bash"), ("docs/operations.md", "yaml"), ("docs/text.md", "yaml"),
    ("docs/voices.md", "yaml"), ("docs/clients.md", "bash"), ("docs/clients.md", "python"), ("docs/export.md", "bash"),
    ("docs/jobs.md", "bash"),
    ("docs/kubernetes.md", "bash"), ("docs/kubernetes.md", "yaml"), ("docs/own-voice.md", "bash"),
    ("docs/python.md", "python"),
}  # fmt: skip


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)


def test_every_example_is_tested() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), language)
        for path in DOCUMENTS
        for language in re.findall(r"^```(\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == TESTED


def test_the_variables_of_the_example_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = blocks("docs/configuration.md", "bash")
    variables = dict(re.findall(r"(SOVITS_\w+)=(\S+)", line))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_service_settings(ROOT / "configs/service.yaml")
    assert (settings.port, settings.admin.enabled) == (9881, True)
    assert settings.voices_roots == (Path("voices"), Path("/data/voices"))


def test_the_keys_of_the_example_are_settings(tmp_path: Path) -> None:
    [text] = blocks("docs/http-api.md", "yaml")
    hashes = iter([hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()])
    file = tmp_path / "service.yaml"
    file.write_text(re.sub("<the hash>", lambda _: next(hashes), text), encoding="utf-8")
    settings = load_service_settings(file)
    assert [(key.name, key.scopes) for key in settings.api_keys] == [
        ("web", ("synth",)),
        ("studio", ("synth", "upload", "admin")),
    ]


async def test_the_routes_without_a_key_are_those_that_are_named() -> None:
    settings = ServiceSettings(api_keys=[{"name": "one", "sha256": "0" * 64}])  # type: ignore[arg-type]
    app = create_app(FastService(), settings)  # type: ignore[arg-type] # with the methods of a SpeechService
    open_paths = set()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
            for method in operations:
                answer = await client.request(method, path.replace("{voice_id}", "amy").replace("{key}", "x"))
                if answer.status_code != 401 and "administration" not in operations[method]["tags"]:
                    open_paths.add(path.replace("{key}", "..."))
    [sentence] = re.findall(
        r"With any key set, every route requires one, except (.*?): as", read("docs/http-api.md"), re.DOTALL
    )
    assert set(re.findall(r"`(/[^`]*)`", sentence)) == open_paths | {"/", "/docs", "/openapi.json"}


def test_the_lexicon_of_the_example_is_one(tmp_path: Path) -> None:
    [text] = blocks("docs/text.md", "yaml")
    file = tmp_path / "lexicon.yaml"
    file.write_text(text, encoding="utf-8")
    lexicon = parse_lexicon(read_lexicon(file), file.name)
    assert all(lexicon.readings(language) for language in ("zh", "en", "ja", "ko", "yue"))


def test_the_voice_of_the_example_is_one(tmp_path: Path) -> None:
    [text] = blocks("docs/voices.md", "yaml")
    (tmp_path / "eve.yaml").write_text(text, encoding="utf-8")
    for clip in ("eve.wav", "eve-2.wav", "eve-3.wav", "eve-happy.wav"):
        shutil.copy(ROOT / "voices/female_calm.wav", tmp_path / clip)
    store = VoiceFolder([tmp_path])
    assert store.problems() == {}
    voice = store.get("eve")
    assert (voice.prompt_lang, len(voice.aux_ref_audio), voice.defaults["speed_factor"]) == ("zh", 1, 1.1)
    assert voice.emotions["happy"].prompt_lang == "zh"
    assert voice.gpt_weights
    assert voice.sovits_weights


def test_the_report_of_a_voice_is_what_check_prints(tmp_path: Path) -> None:
    settings = ServiceSettings(voices_roots=(ROOT / "voices",), bundled_voices=False)
    found = [
        f"{f.level:<4}  {f.subject}: {f.detail}" for f in examine(load_tts_settings(write_pack(tmp_path)), settings)
    ]
    [shown] = re.findall(r"^ok    voice .*$", read("docs/voices.md"), re.MULTILINE)
    assert shown in found
    lengths_s = [float(re.findall(r": ([\d.]+) s at", line)[0]) for line in found if "voice " in line]
    low, high = map(int, re.findall(r"WAV files of (\d+) to (\d+) seconds", read("voices/README.md"))[0])
    assert all(low <= round(length_s) <= high for length_s in lengths_s)


def test_the_scrape_configuration_is_yaml_with_a_job() -> None:
    [text] = blocks("docs/operations.md", "yaml")
    assert yaml.safe_load(text)["scrape_configs"][0]["job_name"] == "sovits"


def test_commands_flags_and_targets_that_are_named_exist() -> None:
    [commands] = [action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    flags = {name: set(parser._option_string_actions) for name, parser in commands.choices.items()}
    targets = re.findall(r"^(\w+):", read("Makefile"), re.MULTILINE)
    profiles = {
        name
        for service in yaml.safe_load(read("docker-compose.yaml"))["services"].values()
        for name in service.get("profiles", ())
    }
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for command, rest in re.findall(r"sovits-service (\w+)([^`\n|&]*)", text):
            assert command in flags, f"{path.name}: sovits-service {command}"
            named = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest.split("#")[0]))
            assert named <= flags[command], f"{path.name}: sovits-service {command} {named - flags[command]}"
        for target in re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE):
            assert target in targets, f"{path.name}: make {target}"
        for module in re.findall(r"python (?:-m (benchmarks[\w.]*)|(tools/[\w/]+\.py))", text):
            file = ROOT / (module[1] or module[0].replace(".", "/"))
            assert file.exists() or file.with_suffix(".py").exists(), module
        assert set(re.findall(r"docker compose .*?--profile (\w+)", text)) <= profiles


def test_the_functions_of_the_request_lifecycle_are_where_it_says() -> None:
    rows = re.findall(r"^\|[^|]*\| \[[^]]*\]\(\.\./([^)]*)\) \| (.*) \|$", read("docs/architecture.md"), re.MULTILINE)
    assert len(rows) > 20
    for file, functions in rows:
        names = _defined(ast.parse(read(file)))
        assert set(re.findall(r"`([^`]+)`", functions)) <= names, file


def _defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            functions = [part for part in node.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
            names |= {f"{node.name}.{function.name}" for function in functions}
    return names


def test_the_messages_in_troubleshooting_are_those_of_the_service() -> None:
    texts = {
        node.value
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    [section] = re.findall(r"^## It answers 400$(.*?)^## ", read("docs/troubleshooting.md"), re.MULTILINE | re.DOTALL)
    messages = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert messages
    for message in (*messages, "the service does not know the host name of this request"):
        assert any(message in text for text in texts), message
