"""The wheel carries what `sovits-service serve` needs in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACK_LIMIT_BYTES = 25_000_000


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_speaks_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    probe = """
from sovits_service.settings import load_service_settings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.storage.voices.voice_folder import VoiceFolder
settings = load_tts_settings()
settings.require_files()
print(settings.vits_weights_path)
print(*(voice.voice_id for voice in VoiceFolder(load_service_settings().all_voices_roots).list()))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SOVITS_")}
    result = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    weights, voices = result.stdout.splitlines()
    assert Path(weights).is_relative_to(unpacked / "sovits_service/bundled")
    assert voices == "child_happy female_calm male_narrator"


def test_every_file_of_the_package_is_in_the_wheel(unpacked: Path) -> None:
    source = ROOT / "src/sovits_service"
    names = {
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    packed = unpacked / "sovits_service"
    assert names <= {path.relative_to(packed) for path in packed.rglob("*")}


def test_the_demonstration_pack_is_small() -> None:
    files = [path for path in (ROOT / "pretrained_models/demo").rglob("*") if path.is_file()]
    assert {"gpt.ckpt", "sovits.pth", "README.md"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) <= PACK_LIMIT_BYTES
