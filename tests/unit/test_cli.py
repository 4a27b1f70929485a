"""The command line: exit codes, one clear line for an error, and commands that need no model."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sovits_service.cli import main
from sovits_service.storage.downloads.hub import REPOSITORY
from tests.hub_server import Hub, running_hub
from tests.unit.storage.test_hub import REPOSITORY_FILES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no variables of the machine."""
    for name in [name for name in os.environ if name.startswith("SOVITS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sovits_service", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "-c", "none.yaml"], "none.yaml: there is no such configuration file"),
        (["serve", "--section", "v2Plus"], "did you mean 'v2ProPlus'?"),
        (["serve", "--section", "v4"], "sovits-service download v4"),
        (["serve", "--service-config", "none.yaml"], "none.yaml: there is no such configuration file"),
        (["say", "hello", "--section", "v1"], "sovits-service download v1"),
        (["say", "hello", "-o", "out.xyz"], "there is no format 'xyz'"),
        (["say", "hello", "-o", "out"], "there is no format ''"),
        (["say", "hello", "--out-dir", "x"], "--out-dir goes with --file"),
        (["say", "--file", "a.jsonl", "-o", "x.wav"], "-o goes with one text"),
        (["say", "--file", "none.jsonl"], "cannot be read"),
        (["say", "--file", "x.jsonl", "--jobs", "0"], "--jobs must be 1 or more"),
        (["download", "v2pro"], "did you mean 'v2Pro'?"),
        (["serve", "-p", "99999"], "cannot listen on 127.0.0.1 port 99999: a port is a number from 0 to 65535"),
        (["say", "hello", "-o", "folder.wav"], "folder.wav is a folder; name a file"),
        (["say", "hello", "-o", "file/a.wav"], "is not a folder"),
        (["say", "hello", "-o", "closed/a.wav"], "there is no permission to write into"),
        (["say", "hello", "-o", "closed/new/a.wav"], "there is no permission to write into"),
        (["say", "--file", "lines.jsonl", "--out-dir", "file"], "is not a folder"),
        (["say", "--file", "none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["say", "--file", "folder.wav"], "folder.wav: cannot be read: Is a directory"),
        (["convert", "none.wav"], "none.wav: there is no such file"),
        (["convert", "folder.wav"], "folder.wav: there is no such file"),
        (["convert", "lines.jsonl", "-o", "folder.wav"], "folder.wav is a folder; name a file"),
        (["book", "lines.jsonl", "-o", "folder.wav"], "folder.wav is a folder; name a file"),
        (["book", "lines.jsonl", "-o", "closed/a.mp3"], "there is no permission to write into"),
    ],
)
def test_what_cannot_be_used_is_one_clear_message_and_exit_code_2(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name in ("folder.wav", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "closed").chmod(0o555)
    (tmp_path / "file").touch()
    (tmp_path / "lines.jsonl").write_text('{"text": "hi"}\n')
    if "closed" in " ".join(arguments) and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write anywhere")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments", [[], ["sing"], ["say"], ["serve", "-p", "many"], ["download"], ["say", "a", "--speed", "fast"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: sovits-service" in capsys.readouterr().err


def test_a_variable_with_a_slip_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SOVITS_PROT", "9881")
    assert main(["voices"]) == 2
    assert "did you mean 'SOVITS_PORT'?" in capsys.readouterr().err


def test_a_port_in_use_is_told_before_a_model_is_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("gpt.ckpt", "sovits.pth", "hubert"):
        (tmp_path / name).write_bytes(b"not weights")
    section = {
        "cnhuhbert_base_path": "hubert",
        "t2s_weights_path": "gpt.ckpt",
        "vits_weights_path": "sovits.pth",
        "version": "v2",
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"custom": section}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "-c", "c.yaml", "-p", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


class TestModule:
    def test_takes_the_flags_of_serve_as_api_v2_did(self) -> None:
        result = run("-c", "none.yaml", "-a", "127.0.0.1", "-p", "9880")
        assert result.returncode == 2
        assert result.stderr == "error: none.yaml: there is no such configuration file\n"

    def test_takes_the_other_commands_too(self) -> None:
        result = run("voices")
        assert result.returncode == 0, result.stderr
        assert "female_calm" in result.stdout

    def test_help_lists_the_commands(self) -> None:
        result = run("--help")
        assert result.returncode == 0
        for command in ("serve", "say", "read", "voices", "download", "check", "export"):
            assert command in result.stdout

    def test_light_commands_load_nothing_heavy(self) -> None:
        probe = (
            "import sys; from sovits_service.cli import main; main(['voices']);"
            "heavy = {'torch', 'transformers', 'fastapi', 'jieba'} & sys.modules.keys();"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr

    def test_a_server_imports_nothing_that_it_does_not_need(self) -> None:
        """What is only needed now and then is imported then: a start takes as long as its imports."""
        probe = (
            "import sys; from sovits_service import tracing; from sovits_service.api import app, server;"
            "from sovits_service.service import service;"
            "idle = {'transformers', 'sympy', 'mpmath', 'scipy', 'pandas', 'onnx', 'torch._dynamo', 'torch._inductor',"
            "'jieba', 'pypinyin', 'ToJyutping', 'pyopenjtalk', 'boto3', 'redis', 'opentelemetry.sdk'};"
            "idle &= sys.modules.keys(); sys.exit(str(idle) if idle else 0)"
        )
        result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr


class TestVoices:
    def test_lists_the_packaged_voices(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["voices"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["child_happy", "female_calm", "male_narrator"]

    def test_says_so_when_there_are_none(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SOVITS_BUNDLED_VOICES", "false")
        assert main(["voices"]) == 0
        assert "no voice templates in voices" in capsys.readouterr().out


class TestDownload:
    def test_fetches_and_switches_custom(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copytree(ROOT / "configs", tmp_path / "configs")
        with running_hub(REPOSITORY, Hub(REPOSITORY_FILES)) as endpoint:
            assert main(["download", "v2ProPlus", "--mirror", endpoint, "--switch"]) == 0
        assert "custom is v2ProPlus now" in capsys.readouterr().out
        document = yaml.safe_load((tmp_path / "configs/tts_infer.yaml").read_text(encoding="utf-8"))
        for key in ("version", "t2s_weights_path", "vits_weights_path", "bert_base_path", "cnhuhbert_base_path"):
            assert document["custom"][key] == document["v2ProPlus"][key]
        assert Path(document["custom"]["vits_weights_path"]).is_file()

    def test_leaves_custom_alone_where_nobody_can_be_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        shutil.copytree(ROOT / "configs", tmp_path / "configs")
        before = (tmp_path / "configs/tts_infer.yaml").read_bytes()
        with running_hub(REPOSITORY, Hub(REPOSITORY_FILES)) as endpoint:
            assert main(["download", "v1", "--mirror", endpoint, "--dir", "elsewhere"]) == 0
        assert (tmp_path / "configs/tts_infer.yaml").read_bytes() == before
        assert "serve --section v1" in capsys.readouterr().out
        assert (tmp_path / "elsewhere/s2G488k.pth").read_bytes() == b"sovits v1"

    @pytest.mark.parametrize(("answer", "switched"), [("\n", True), ("y\n", True), ("n\n", False)])
    def test_asks_at_a_terminal(
        self, answer: str, switched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        with running_hub(REPOSITORY, Hub(REPOSITORY_FILES)) as endpoint:
            assert main(["download", "v4", "--mirror", endpoint]) == 0
        config = tmp_path / "configs/tts_infer.yaml"
        assert config.exists() is switched
        if switched:
            assert yaml.safe_load(config.read_text(encoding="utf-8"))["custom"]["version"] == "v4"

    def test_a_server_that_is_not_there_is_exit_code_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        with running_hub(REPOSITORY, Hub({})) as endpoint:
            pass
        assert main(["download", "v2", "--mirror", endpoint, "--no-switch"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: the download of v2 was interrupted")
        assert "Traceback" not in error


class TestCheck:
    def test_says_what_is_missing_and_how_to_get_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "--section", "v2ProPlus"]) == 1
        report = capsys.readouterr().out
        assert "ok    Python: " in report
        assert "ok    torch: " in report
        for key in ("t2s_weights_path", "vits_weights_path", "cnhuhbert_base_path", "bert_base_path", "sv_path"):
            assert f"FAIL  {key}: " in report
        assert "sovits-service download v2ProPlus" in report
        assert report.splitlines()[-1] == "5 problems found"

    def test_measures_the_reference_of_every_voice(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", "--section", "v2"])
        report = capsys.readouterr().out
        for voice in ("female_calm", "male_narrator", "child_happy"):
            line = next(line for line in report.splitlines() if f"voice {voice}: " in line)
            for measured in (" s at ", " Hz", "noise floor", "clipped", "silent"):
                assert measured in line

    def test_a_file_that_is_no_checkpoint_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "gpt.ckpt").write_bytes(b"not weights")
        (tmp_path / "sovits.pth").write_bytes(b"not weights")
        (tmp_path / "hubert").mkdir()
        section = {
            "cnhuhbert_base_path": "hubert",
            "t2s_weights_path": "gpt.ckpt",
            "vits_weights_path": "sovits.pth",
            "version": "v2",
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"custom": section}))
        assert main(["check", "-c", "c.yaml"]) == 1
        report = capsys.readouterr().out
        for key in section.keys() - {"version"}:
            assert f"FAIL  {key}: " in report
        assert "Traceback" not in report


def piped(given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sovits_service", *arguments], input=given, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("given", "arguments", "expected"),
    [
        (b"\xff\xfe\xfa", ["say", "-"], "standard input: cannot be read: it is not UTF-8"),
        (b"\xff\xfe\xfa", ["say", "--file", "-"], "standard input: cannot be read: it is not UTF-8"),
        (b'{"text": "a"}\n{"txt": "b"}', ["say", "--file", "-"], "-, line 2: unknown key 'txt', did you mean 'text'?"),
        (b"hello", ["say", "-", "--voice", "female_clam"], "there is no voice"),
        (b"hello", ["say", "hello", "-o", "-", "--format", "xyz"], "there is no format 'xyz'"),
        (b"hello", ["say", "-", "-o", "-", "--subtitles", "srt"], "--subtitles needs a file"),
    ],
)
def test_what_standard_input_cannot_be_is_told(given: bytes, arguments: list[str], expected: str) -> None:
    result = piped(given, *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert expected in result.stderr.decode()
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["say", "-"], ["say", "--file", "-"]])
def test_a_terminal_is_not_waited_for(arguments: list[str]) -> None:
    _, terminal = os.openpty()
    result = subprocess.run(
        [sys.executable, "-m", "sovits_service", *arguments],
        stdin=terminal, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(terminal)
    assert (result.returncode, result.stderr) == (
        2,
        "error: - reads the text from standard input: pipe or redirect a text into the command\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "sovits_service", "read", "hello", "--lang", "en"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == "error: standard output could not be written: No space left on device\n"


def test_a_reader_that_leaves_ends_the_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-m", "sovits_service", "read", "hello", "--lang", "en"],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")
