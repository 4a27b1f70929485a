"""`sovits-service say` with the shipped model, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.e2e.conftest import environment, run_command

_LONG = "One sentence of many words follows another one. " * 4  # more sound than a pipe holds


def say(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(folder, "say", *arguments)


def duration_s(path: Path) -> float:
    with av.open(path) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate


def test_speaks_a_text_into_the_file_that_is_named(checkout: Path) -> None:
    result = say(checkout, "你好，世界。", "--voice", "female_calm", "--seed", "3", "-o", "deep/er/out.mp3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("deep/er/out.mp3: ")
    spoken_s = float(result.stdout.split()[-2])
    assert duration_s(checkout / "deep/er/out.mp3") == pytest.approx(spoken_s, abs=0.15)


def test_a_voice_that_is_not_there_is_told_before_a_model_is_loaded(checkout: Path) -> None:
    result = say(checkout, "hello", "--voice", "female_clam", "-o", "out.wav")
    assert result.returncode == 2
    assert result.stderr == "error: there is no voice 'female_clam', did you mean 'female_calm'?\n"
    assert not (checkout / "out.wav").exists()


def test_a_file_of_lines_is_spoken_and_gone_on_with(checkout: Path) -> None:
    lines = [
        {"id": "one", "text": "第一句。", "lang": "zh", "voice": "female_calm"},
        {"id": "two", "text": "The second sentence.", "lang": "en", "voice": "male_narrator"},
        {"id": "empty", "text": "。", "lang": "zh"},
        {"id": "klingon", "text": "nuqneH", "lang": "tlh"},
        {"text": "No name."},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (checkout / "lines.jsonl").write_text(text, encoding="utf-8")
    first = say(checkout, "--file", "lines.jsonl", "--out-dir", "spoken", "--format", "flac")
    assert first.returncode == 1
    assert "spoken: 3 made, 0 were there, 2 failed" in first.stdout
    errors = [line for line in first.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1] for line in sorted(errors)] == [" empty", " klingon"]
    assert "text_lang: tlh is not supported in version v2" in first.stderr
    assert "Traceback" not in first.stderr
    files = sorted((checkout / "spoken").iterdir())
    assert [path.name for path in files] == ["00005.flac", "one.flac", "two.flac"]
    assert all(duration_s(path) > 0.3 for path in files)
    before = {path.name: path.stat().st_mtime_ns for path in files}

    (checkout / "spoken/two.flac").unlink()
    text = text.replace('"。"', '"好了。"').replace('"tlh"', '"en"')
    (checkout / "lines.jsonl").write_text(text, encoding="utf-8")
    second = say(checkout, "--file", "lines.jsonl", "--out-dir", "spoken", "--format", "flac")
    assert second.returncode == 0, second.stderr
    assert "spoken: 3 made, 2 were there, 0 failed" in second.stdout
    after = {path.name: path.stat().st_mtime_ns for path in (checkout / "spoken").iterdir()}
    assert after["one.flac"] == before["one.flac"]
    assert after.keys() == {"one.flac", "two.flac", "empty.flac", "klingon.flac", "00005.flac"}


def test_speaking_imports_nothing_that_it_does_not_need(checkout: Path) -> None:
    """PyTorch's compiler, transformers or the web server take longer to import than all that speaking needs."""
    probe = (
        "import sys; from sovits_service.cli import main; code = main(['say', '你好。', '-o', 'a.wav']);"
        "idle = {'transformers', 'sympy', 'mpmath', 'scipy', 'torch._dynamo', 'torch._inductor', 'fastapi', 'uvicorn'};"
        "idle &= sys.modules.keys();"
        "sys.exit(str(idle) if idle else code)"
    )
    command = [sys.executable, "-c", probe]
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 0, result.stderr


def test_a_text_is_piped_in_and_its_sound_out(checkout: Path) -> None:
    command = [sys.executable, "-m", "sovits_service", "say", "-", "-o", "-", "--format", "mp3", "--lang", "en"]
    result = subprocess.run(
        command, input=b"Hello.", cwd=checkout, env=environment(), capture_output=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    (checkout / "piped.mp3").write_bytes(result.stdout)
    assert duration_s(checkout / "piped.mp3") > 0.2
    assert not (checkout / "-").exists()


def test_a_reader_that_takes_a_part_of_the_sound_ends_it_without_a_traceback(checkout: Path) -> None:
    command = [sys.executable, "-m", "sovits_service", "say", _LONG, "-o", "-", "--lang", "en"]
    with subprocess.Popen(
        command, cwd=checkout, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in said
    assert b"Error" not in said
