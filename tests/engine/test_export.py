"""`sovits-service export`: programs speak from it as the service does, and it is written whole or not at all."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sovits_service.cli import main
from sovits_service.service.build import build_service
from sovits_service.settings import load_service_settings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import ModelVersion, SamplingParams, SynthesisRequest
from tests.engine.test_model_store import write_voice
from tests.tiny_versions import write_version_pack

PROGRAM = Path(__file__).parents[2] / "examples/python_onnx/speak.py"
TEXT, PROMPT = "你好，世界。", "今天天气很好。"


def read_wav(path: Any) -> Any:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


@pytest.fixture
def service_config(tmp_path: Path) -> Any:
    write_voice(tmp_path / "voices", "tone", prompt_text=PROMPT, prompt_lang="zh")
    values = {
        "voices_roots": [str(tmp_path / "voices")],
        "bundled_voices": False,
        "upload_dir": str(tmp_path / "uploads"),
        "weights_roots": [str(tmp_path)],
        "max_seq_tokens": 340,
        "backend": "torch",
        "precision": "float32",
    }
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path / "service.yaml"


async def speak(config: Any, service_config: Any, steps: Any, speed: float, sampling: Any) -> Any:
    service = build_service(load_tts_settings(config), load_service_settings(service_config))
    await service.start()
    try:
        voice = {"voice_id": "tone", "prompt_text": PROMPT, "prompt_lang": "zh"}
        request = SynthesisRequest(
            text=TEXT, text_lang="zh", **voice, seed=4, speed=speed, cfm_steps=steps, sampling=sampling
        )
        synthesis = await service.synthesize(request)
        return np.concatenate([chunk.samples async for chunk in synthesis.chunks])
    finally:
        await service.stop(0.0)


# v3 with so many tokens that there is a joint between two windows; v2ProPlus has the graphs of v2Pro.
@pytest.mark.parametrize(
    ("version", "tokens", "speed", "flags"),
    [
        ("v1", 30, 1.2, []),
        ("v2", 30, 1.0, ["--fused"]),
        ("v2Pro", 30, 1.0, []),
        ("v3", 190, 1.0, []),
        ("v4", 30, 0.8, ["--fused"]),
    ],
)
async def test_a_program_without_torch_speaks_as_the_service_does(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    service_config: Any,
    version: ModelVersion,
    tokens: Any,
    speed: float,
    flags: Any,
) -> None:
    config = write_version_pack(tmp_path / "pretrained_models", version)
    common = ["-c", str(config), "--service-config", str(service_config)]
    folder, text = tmp_path / "model", tmp_path / "text.json"
    assert main(["export", str(folder), *common, "--voice", "tone", *flags]) == 0
    written = {path.name for path in folder.iterdir()}
    assert written >= {"gpt_prefill.onnx", "gpt_step.onnx", "hubert.onnx", "sovits.onnx", "style_encoder.onnx"}
    description = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"## {name}" in description for name in written if name.endswith(".onnx"))

    sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes["gpt"]["max_new_tokens"] = tokens  # random weights seldom find an end
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    capsys.readouterr()
    assert main(["read", TEXT, "--lang", "zh", "--ids", *common]) == 0
    text.write_text(capsys.readouterr().out, encoding="utf-8")
    options = {"seed": 4, "speed": speed, "steps": 2, "top-k": 5, "top-p": 0.9, "temperature": 0.8}
    command = [sys.executable, "-W", "error", str(PROGRAM), str(folder), "tone", str(text), str(tmp_path / "out.wav")]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=120)

    sampling = SamplingParams(top_k=5, top_p=0.9, temperature=0.8, max_new_tokens=tokens)
    expected = await speak(config, service_config, 2, speed, sampling)
    assert np.abs(expected).max() > 0.005
    np.testing.assert_allclose(read_wav(tmp_path / "out.wav"), expected, atol=1e-3)


@pytest.fixture
def export(tmp_path: Path, service_config: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Exports a tiny v2 model; returns the exit code and what was printed."""
    config = write_version_pack(tmp_path / "pretrained_models", "v2")

    def run(folder: Any, *flags: Any) -> Any:
        code = main(["export", str(folder), "-c", str(config), "--service-config", str(service_config), *flags])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out + captured.err

    return run


def contents(folder: Any) -> Any:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path, export: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert export(folder) == (2, f"error: {folder} is not empty; name another folder, or replace it with --overwrite\n")
    code, said = export(folder, "--overwrite")
    assert code == 2
    assert "contains something other than an export" in said
    (folder / "config.json").write_text('{"format": 1}', encoding="utf-8")
    assert export(folder, "--overwrite")[0] == 2
    assert set(contents(folder)) == {"thesis.txt", "config.json"}
    assert export(folder / "thesis.txt") == (2, f"error: {folder / 'thesis.txt'} is a file; name a folder\n")


def test_an_earlier_export_is_replaced_when_that_is_asked_for(tmp_path: Path, export: Any) -> None:
    folder = tmp_path / "model"
    folder.mkdir()  # an empty one is as good as none
    assert export(folder, "--voice", "tone")[0] == 0
    assert "voices/tone.json" in contents(folder)
    assert export(folder)[0] == 2
    assert export(folder, "--overwrite")[0] == 0
    assert "voices/tone.json" not in contents(folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, export: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    code, said = export(tmp_path / "file" / "model")
    assert code == 1
    assert "model could not be written: " in said
    assert export(Path("/proc/model"))[0] == 1


def test_missing_weights_and_voices_are_told_before_writing(tmp_path: Path, export: Any) -> None:
    folder = tmp_path / "model"
    code, said = export(folder, "--voice", "tony")
    assert code == 2
    assert "there is no voice 'tony', did you mean 'tone'?" in said
    (tmp_path / "pretrained_models/sovits.pth").unlink()
    code, said = export(folder)
    assert code == 2
    assert "vits_weights_path" in said
    assert not folder.exists()


def test_damaged_weights_leave_nothing_behind(tmp_path: Path, export: Any) -> None:
    (tmp_path / "pretrained_models/demo/hubert/model.safetensors").write_bytes(b"no weights")
    before = set(tmp_path.iterdir())
    code, said = export(tmp_path / "model")
    assert code == 1
    assert "HuBERT" in said
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_disk_that_is_full_in_the_middle_leaves_nothing_half(tmp_path: Path, export: Any, flags: Any) -> None:
    folder = tmp_path / "model"
    if flags:
        assert export(folder)[0] == 0
    before = contents(folder), set(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # some files are smaller, others are not
    try:
        code, said = export(folder, *flags)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert "could not be written: File too large" in said
    assert (contents(folder), set(tmp_path.iterdir())) == before
