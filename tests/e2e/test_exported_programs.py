"""The commands of docs/export.md as they stand: the examples in Python and C++ say what the service says."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sovits_service.cli import main
from sovits_service.service.build import build_service
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import SynthesisRequest
from tests.e2e.conftest import ROOT, environment, make_checkout
from tests.programs import require_program
from tests.tiny_versions import write_version_pack

# As in the document.
TEXT, VOICE, SEED = "Nice to meet you. 今天天气不错。", "female_calm", 11
PYTHON, CPP = re.findall(
    r"^```bash\n(.*?)^```$", (ROOT / "docs/export.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)

Samples = npt.NDArray[np.float64]


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        assert file.getframerate() == 32_000
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def run(commands: str, folder: Path) -> str:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the first commands have run."""
    folder = make_checkout(tmp_path_factory.mktemp("exported") / "checkout")
    (folder / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    assert "model: 16 files" in run(PYTHON, folder)
    return folder


@pytest.fixture(scope="module")
def expected(exported: Path) -> Samples:
    """What the service says, in float32 as the exported graphs are."""

    async def speak() -> Samples:
        service = build_service(
            load_tts_settings(exported / "configs/tts_infer.yaml"),
            ServiceSettings(
                voices_roots=(exported / "voices",),
                upload_dir=exported,
                backend="torch",
                precision="float32",
                threads=1,
            ),
        )
        await service.start()
        try:
            voice = await service.voices.get(VOICE)
            request = SynthesisRequest(
                text=TEXT,
                text_lang="auto",
                voice_id=VOICE,
                prompt_text=voice.prompt_text,
                prompt_lang=voice.prompt_lang,
                split_method="cut0",
                seed=SEED,
            )
            synthesis = await service.synthesize(request)
            return np.concatenate([chunk.samples async for chunk in synthesis.chunks])
        finally:
            await service.stop(0.0)

    samples = asyncio.run(speak())
    assert np.abs(samples).max() > 0.1
    return samples


def test_python_with_numpy_and_onnx_runtime_alone(exported: Path, expected: Samples) -> None:
    program = (ROOT / "examples/python_onnx/speak.py").read_text(encoding="utf-8")
    assert len(program.splitlines()) <= 150
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"argparse", "json", "pathlib", "wave", "numpy", "onnxruntime"}
    np.testing.assert_allclose(read_wav(exported / "hello.wav"), expected, atol=1e-3)


@pytest.fixture(scope="module")
def cpp_program(exported: Path) -> Path:
    """examples/cpp, built against the library in the Python package; it has spoken once."""
    for needed in ("cmake", "g++", "/usr/include/nlohmann/json.hpp"):
        require_program(needed)
    assert "warning" not in run(CPP, exported)
    return exported / "build/cpp/speak"


def test_cpp_with_the_random_numbers_of_the_service(exported: Path, expected: Samples, cpp_program: Path) -> None:
    np.random.default_rng([SEED, 0]).random(1500, dtype=np.float32).tofile(exported / "uniforms.f32")
    channels, frames = 96, len(expected) // 640
    noise = np.random.default_rng([SEED, 0, 1]).standard_normal((frames, channels), dtype=np.float32)
    noise.tofile(exported / "noise.f32")
    numbers = "--uniforms uniforms.f32 --noise noise.f32"
    run(f"{cpp_program} model {VOICE} text.json cpp.wav {numbers}", exported)
    np.testing.assert_allclose(read_wav(exported / "cpp.wav"), expected, atol=1e-3)


def test_cpp_with_numbers_of_its_own(exported: Path, cpp_program: Path) -> None:
    def speak(seed: int) -> Samples:
        options = f"--seed {seed} --top-p 0.9 --top-k 5 --temperature 0.8"
        run(f"{cpp_program} model {VOICE} text.json own.wav {options}", exported)
        return read_wav(exported / "own.wav")

    first = speak(1)
    assert np.abs(first).max() > 0.1
    np.testing.assert_array_equal(first, speak(1))
    assert not np.array_equal(first, speak(2))
    assert np.abs(read_wav(exported / "hello_cpp.wav")).max() > 0.1


def test_cpp_with_bert(
    exported: Path,
    cpp_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beside the program in Python, which tests/engine compares with the service."""
    config = write_version_pack(tmp_path / "pretrained_models", "v1")
    monkeypatch.chdir(exported)
    assert main(["export", "bert", "-c", str(config), "--voice", VOICE]) == 0
    assert (exported / "bert/bert.onnx").exists()
    sizes = json.loads((exported / "bert/config.json").read_text(encoding="utf-8"))
    sizes["gpt"]["max_new_tokens"] = 20  # random weights seldom find an end
    (exported / "bert/config.json").write_text(json.dumps(sizes), encoding="utf-8")
    capsys.readouterr()
    assert main(["read", "你好，世界！", "--split", "cut0", "--ids", "-c", str(config)]) == 0
    Path("bert.json").write_text(capsys.readouterr().out, encoding="utf-8")
    np.random.default_rng([SEED, 0]).random(20, dtype=np.float32).tofile(exported / "uniforms.f32")
    noise = np.random.default_rng([SEED, 0, 1]).standard_normal((40, sizes["noise_channels"]), dtype=np.float32)
    noise.tofile(exported / "noise.f32")
    run(f".venv/bin/python examples/python_onnx/speak.py bert {VOICE} bert.json python.wav --seed {SEED}", exported)
    numbers = "--uniforms uniforms.f32 --noise noise.f32"
    run(f"{cpp_program} bert {VOICE} bert.json cpp.wav {numbers}", exported)
    np.testing.assert_allclose(read_wav(exported / "cpp.wav"), read_wav(exported / "python.wav"), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", VOICE, "text.json"], "usage: speak"),
        (["nowhere", VOICE, "text.json", "x.wav"], "nowhere/config.json cannot be read"),
        (["model", "nobody", "text.json", "x.wav"], "voices/nobody.json cannot be read"),
        (["model", VOICE, "text.json", "no/x.wav"], "no/x.wav cannot be written"),
        (["model", VOICE, "text.json", "x.wav", "--sead", "1"], "--sead is not known"),
        (["model", VOICE, "text.json", "x.wav", "--noise", "text.json"], "random numbers is too short"),
    ],
)
def test_cpp_says_what_is_wrong(exported: Path, cpp_program: Path, arguments: list[str], said: str) -> None:
    result = subprocess.run(
        [str(cpp_program), *arguments], cwd=exported, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
