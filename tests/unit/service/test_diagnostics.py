"""What `sovits-service check` finds in real files, and the safetensors copies that it writes."""

from __future__ import annotations

import os
import pathlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sovits_service.models.checkpoint import Checkpoint, is_safetensors, read_gpt, read_sovits
from sovits_service.service.diagnostics import Finding, convert_weights, examine
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import TtsSettings, load_tts_settings
from sovits_service.types import ModelVersion
from tests.tiny_pack import write_pack
from tests.tiny_versions import write_companions, write_lora, write_sovits


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "pretrained_models")


def with_sovits(pack: Path, path: Path, version: ModelVersion) -> TtsSettings:
    """The pack's settings with another SoVITS file and version."""
    text = pack.read_text(encoding="utf-8")
    text = text.replace(str(pack.parent / "sovits.pth"), str(path)).replace("version: v2", f"version: {version}")
    pack.write_text(text, encoding="utf-8")
    return load_tts_settings(pack)


def findings(tts: TtsSettings) -> dict[str, Finding]:
    return {
        finding.subject: finding for finding in examine(tts, ServiceSettings(bundled_voices=False, voices_roots=()))
    }


def test_tells_what_each_file_is(pack: Path) -> None:
    found = findings(load_tts_settings(pack))
    assert "GPT, 2 layers of 16, 732 phonemes" in found["t2s_weights_path"].detail
    assert found["vits_weights_path"].detail.endswith("SoVITS v2")
    assert "M parameters" in found["cnhuhbert_base_path"].detail
    assert found["bert_base_path"].detail == "empty: zero BERT features"
    assert not [finding for finding in found.values() if finding.level == "FAIL"]
    assert found["voices"].level == "warn"


@pytest.mark.parametrize(
    ("keys", "level", "detail"),
    [
        ({}, "ok", "ONNX Runtime .* in int8"),
        ({"backend": "torch"}, "ok", "torch .* in float32"),
        ({"precision": "bfloat16"}, "ok", "torch .* in bfloat16"),
        ({"backend": "torch", "precision": "int8"}, "FAIL", "needs backend: onnx"),
        ({"backend": "onnx", "precision": "bfloat16"}, "FAIL", "needs backend: torch"),
    ],
)
def test_tells_what_the_gpt_will_run_on(pack: Path, keys: dict[str, Any], level: str, detail: str) -> None:
    service = ServiceSettings(bundled_voices=False, voices_roots=(), **keys)
    found = next(finding for finding in examine(load_tts_settings(pack), service) if finding.subject == "back end")
    assert found.level == level
    assert re.search(detail, found.detail)


@pytest.mark.parametrize("version", ["v1", "v2Pro", "v2ProPlus", "v3", "v4"])
def test_detects_every_version(version: ModelVersion, pack: Path) -> None:
    write_companions(pack.parent)
    path = write_sovits(pack.parent / "me_e8_s200.pth", version)
    found = findings(with_sovits(pack, path, version))
    assert found["vits_weights_path"] == Finding("ok", "vits_weights_path", f"{path}: SoVITS {version}")
    assert not [finding for finding in found.values() if finding.level == "FAIL"]


def test_a_version_that_is_configured_wrongly_is_told(pack: Path) -> None:
    path = write_sovits(pack.parent / "me.pth", "v2Pro")
    found = findings(with_sovits(pack, path, "v2"))["vits_weights_path"]
    assert found.level == "warn"
    assert "SoVITS v2Pro, but version: v2 is configured" in found.detail
    assert "set version: v2Pro" in found.advice


def test_a_lora_file_needs_its_base(pack: Path) -> None:
    write_companions(pack.parent)
    base = write_sovits(pack.parent / "s2Gv3.pth", "v3")
    lora = write_lora(pack.parent / "me_lora.pth", "v3", base, rank=16)
    settings = with_sovits(pack, lora, "v3")
    assert findings(settings)["vits_weights_path"].detail.endswith("SoVITS v3, LoRA of rank 16")
    base.unlink()
    found = findings(settings)["vits_weights_path"]
    assert found.level == "FAIL"
    assert "s2Gv3.pth is missing" in found.detail
    assert found.advice == "get its base file with: sovits-service download v3"


class _RunsACommand:
    """A harmless stand-in for a malicious pickle: reading it unsafely would make a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._folder),)


def test_a_file_that_would_run_code_is_refused_by_name_and_nothing_runs(pack: Path) -> None:
    trap = pack.parent / "trapped"
    content = {"weight": {"x": torch.zeros(1)}, "config": {"model": {}}, "info": _RunsACommand(trap)}
    torch.save(content, pack.parent / "gpt.ckpt")
    found = findings(load_tts_settings(pack))["t2s_weights_path"]
    assert found.level == "FAIL"
    assert "mkdir" in found.detail
    assert not trap.exists()


def test_a_damaged_companion_is_told(pack: Path) -> None:
    for file in (pack.parent / "hubert").iterdir():
        file.write_bytes(b"damaged")
    found = findings(load_tts_settings(pack))["cnhuhbert_base_path"]
    assert found.level == "FAIL"
    assert found.advice


def test_asking_for_cuda_or_half_precision_where_there_is_none_is_a_warning(pack: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    settings = load_tts_settings(pack)
    assert findings(settings.model_copy(update={"device": "cuda"}))["device"].level == "warn"
    assert findings(settings.model_copy(update={"is_half": True}))["is_half"].level == "warn"
    assert findings(settings)["device"] == Finding("ok", "device", "CPU, float32 (device: cpu)")


def test_the_device_as_shipped_is_no_warning_on_any_machine(pack: Path) -> None:
    shipped = load_tts_settings()
    assert (shipped.device, shipped.is_half) == ("auto", True)
    found = findings(load_tts_settings(pack).model_copy(update={"device": shipped.device, "is_half": shipped.is_half}))
    assert [found[name].level for name in ("device", "is_half", "FP16") if name in found] == ["ok"]


class TestConvert:
    def test_the_copy_holds_the_same_and_takes_the_originals_place(self, pack: Path) -> None:
        settings = load_tts_settings(pack)
        gpt, sovits = convert_weights(settings)
        assert (gpt, sovits) == (pack.parent / "gpt.safetensors", pack.parent / "sovits.safetensors")
        assert is_safetensors(gpt)
        assert is_safetensors(sovits)
        self._same(read_gpt(settings.t2s_weights_path), read_gpt(gpt))
        self._same(read_sovits(settings.vits_weights_path), read_sovits(sovits))
        converted = settings.model_copy(update={"t2s_weights_path": gpt, "vits_weights_path": sovits})
        assert not [finding for finding in findings(converted).values() if finding.level == "FAIL"]
        assert convert_weights(converted) == []

    @pytest.mark.parametrize("version", ["v1", "v2Pro", "v2ProPlus", "v3", "v4"])
    def test_every_version_is_known_again(self, version: ModelVersion, pack: Path) -> None:
        settings = with_sovits(pack, write_sovits(pack.parent / "me.pth", version), version)
        assert read_sovits(convert_weights(settings)[1]).version == version

    def test_a_lora_file_stays_one(self, pack: Path) -> None:
        base = write_sovits(pack.parent / "s2Gv4.pth", "v4")
        settings = with_sovits(pack, write_lora(pack.parent / "me.pth", "v4", base, rank=32), "v4")
        converted = read_sovits(convert_weights(settings)[1])
        assert (converted.version, converted.lora_rank) == ("v4", 32)

    @staticmethod
    def _same(one: Checkpoint, other: Checkpoint) -> None:
        assert one.state.keys() == other.state.keys()
        for key, value in one.state.items():
            assert value.dtype == other.state[key].dtype
            assert torch.equal(value, other.state[key])
        assert one.config["model"].keys() == other.config["model"].keys()
        assert one.version == other.version
        assert one.lora_rank == other.lora_rank


def test_paths_in_a_config_survive_the_copy(pack: Path) -> None:
    gpt = pack.parent / "gpt.ckpt"
    saved = torch.load(gpt, weights_only=True)
    saved["config"]["output_dir"] = pathlib.PurePosixPath("logs/s1")
    torch.save(saved, gpt)
    copy, _ = convert_weights(load_tts_settings(pack))
    assert read_gpt(copy).config["output_dir"] == "logs/s1"
