"""Reading weights files of every layout that users have, and refusing those that are damaged or could run code."""

from __future__ import annotations

import fractions
import hashlib
import json
import pathlib
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sovits_service.errors import CheckpointError
from sovits_service.models import checkpoint_version
from sovits_service.models.checkpoint import read_gpt, read_sovits, read_tensors
from sovits_service.models.checkpoint_models import load_gpt, load_sovits, load_vits
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import ModelVersion
from tests.unit.models import tiny

VITS_VERSIONS: tuple[ModelVersion, ...] = ("v1", "v2", "v2Pro", "v2ProPlus")


@pytest.mark.parametrize("version", VITS_VERSIONS)
def test_a_trained_file_loads_in_half_or_full_precision(tmp_path: Path, version: ModelVersion) -> None:
    path = tiny.save(tiny.sovits_content(version), tmp_path / "a_e8_s200.pth", tiny.HEADERS[version])
    assert read_sovits(path).version == version
    model = load_vits(path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not any("original" in name for name, _ in model.named_parameters())
    assert {p.dtype for p in load_vits(path, dtype=torch.float16).parameters()} == {torch.float16}


def test_a_header_that_the_tensors_contradict_is_not_believed(tmp_path: Path) -> None:
    assert read_sovits(tiny.save(tiny.sovits_content("v1"), tmp_path / "a.pth", b"01")).version == "v1"
    assert read_sovits(tiny.save(tiny.sovits_content("v2Pro"), tmp_path / "b.pth", b"00")).version == "v2Pro"


@pytest.mark.parametrize(("version", "expected"), [("v1", "v1"), ("v2", "v2"), ("v2Pro", "v2Pro"), ("v4", "v3")])
def test_without_a_header_the_tensors_decide(tmp_path: Path, version: ModelVersion, expected: str) -> None:
    # v3 and v4 have the same tensors; a plain file is v3 unless it says otherwise.
    assert read_sovits(tiny.save(tiny.sovits_content(version), tmp_path / "a.pth")).version == expected


def test_a_version_in_the_config_tells_v4_from_v3(tmp_path: Path) -> None:
    content = tiny.sovits_content("v4")
    content["config"]["model"]["version"] = "v4"
    assert read_sovits(tiny.save(content, tmp_path / "a.pth")).version == "v4"


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_a_published_file_is_known_by_its_md5(
    tmp_path: Path, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.save(tiny.sovits_content("v4"), tmp_path / "s2G.pth")
    digest = hashlib.md5(path.read_bytes()[:8192], usedforsecurity=False).hexdigest()
    monkeypatch.setattr(checkpoint_version, "_VERSION_BY_MD5", {digest: version})
    assert read_sovits(path).version == version


def test_the_published_files_are_all_in_the_table() -> None:
    assert set(checkpoint_version._VERSION_BY_MD5.values()) == {"v1", "v2", "v3", "v4", "v2Pro", "v2ProPlus"}


def test_pro_plus_is_told_from_pro_by_its_width(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2ProPlus")
    content["config"]["model"]["upsample_initial_channel"] = 768
    assert read_sovits(tiny.save(content, tmp_path / "a.pth")).version == "v2ProPlus"


def test_hparams_and_paths_in_the_pickle_become_plain_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("utils")
    module.HParams = tiny.HParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "utils", module)
    content = tiny.sovits_content("v2")
    content["config"] = tiny.HParams({**content["config"], "s2_ckpt_dir": pathlib.PosixPath("logs/s2")})
    path = tiny.save(content, tmp_path / "a.pth")
    monkeypatch.delitem(sys.modules, "utils")
    config = read_sovits(path).config
    assert config["s2_ckpt_dir"] == "logs/s2"
    assert type(config["model"]) is dict
    assert isinstance(load_vits(path), Vits)


class FromWindows:
    """Pickles as a path of Windows, which cannot be built anywhere else."""

    def __reduce__(self) -> tuple[object, ...]:
        return pathlib.WindowsPath, ("logs", "s1")


def test_a_windows_path_in_the_pickle_can_be_read_here(tmp_path: Path) -> None:
    content = tiny.gpt_content()
    content["config"]["output_dir"] = FromWindows()
    assert read_gpt(tiny.save(content, tmp_path / "a.ckpt")).config["output_dir"] == "logs/s1"


@pytest.mark.parametrize("half", [True, False])
def test_gpt_files_load_with_lightnings_keys(tmp_path: Path, half: bool) -> None:
    path = tiny.save(tiny.gpt_content(torch.float16 if half else torch.float32), tmp_path / "a-e15.ckpt")
    model = load_gpt(path)
    assert model.config.phoneme_vocab == 732
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_file_with_the_posterior_encoder_loads_as_one_without(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2")
    content["weight"]["enc_q.pre.weight"] = torch.zeros(16, 1025, 1)
    assert isinstance(load_vits(tiny.save(content, tmp_path / "a.pth")), Vits)


def test_folded_weights_equal_the_modules_own_weight_norm(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2", torch.float32)
    with_norm = Vits(tiny.sovits_config("v2")).eval()
    with_norm.load_state_dict(content["weight"])
    with_norm.remove_weight_norm()
    loaded = load_vits(tiny.save(content, tmp_path / "a.pth")).state_dict()
    for key, value in with_norm.state_dict().items():
        torch.testing.assert_close(loaded[key], value)


def _safetensors(tmp_path: Path, content: dict[str, Any], sidecar: bool) -> Path:
    path = tmp_path / "weights.safetensors"
    config = json.dumps(content["config"])
    save_file(content["weight"], path, None if sidecar else {"config": config, "version": "v2"})
    if sidecar:
        path.with_suffix(".json").write_text(config)
    return path


@pytest.mark.parametrize("sidecar", [True, False])
def test_safetensors_load_with_the_config_inside_or_beside(tmp_path: Path, sidecar: bool) -> None:
    content = tiny.sovits_content("v2")
    path = _safetensors(tmp_path, content, sidecar)
    assert read_sovits(path).version == "v2"
    expected = load_vits(tiny.save(content, tmp_path / "a.pth")).state_dict()
    for key, value in load_vits(path).state_dict().items():
        torch.testing.assert_close(value, expected[key])


def test_safetensors_without_a_config_are_refused(tmp_path: Path) -> None:
    save_file(tiny.sovits_content("v2")["weight"], tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="no 'weight' and 'config'"):
        read_sovits(tmp_path / "a.safetensors")


def test_flow_matching_files_load_and_keep_their_rotary_rates_in_float32(tmp_path: Path) -> None:
    path = tiny.save(tiny.sovits_content("v3"), tmp_path / "a.pth", b"02")
    model = load_sovits(path, dtype=torch.float16)
    assert isinstance(model, CfmSynthesizer)
    assert model.cfm.estimator.rotary_embed.inv_freq.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    with pytest.raises(CheckpointError, match="v3"):
        load_vits(path)


def test_files_are_read_side_by_side(tmp_path: Path) -> None:
    # torch keeps the allowed classes in one place; without care, one load takes them from another.
    content = tiny.gpt_content()
    content["config"]["output_dir"] = pathlib.PosixPath("logs")
    path = tiny.save(content, tmp_path / "a.ckpt")
    with ThreadPoolExecutor(8) as pool:
        configs = [checkpoint.config for checkpoint in pool.map(read_gpt, [path] * 64)]
    assert {config["output_dir"] for config in configs} == {"logs"}


# ---- what must not load ----


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    for position in ("weight", "config"):
        content = {**tiny.sovits_content("v2"), position: tiny.RunsCode(target)}
        path = tiny.save(content, tmp_path / f"{position}.pth", b"01")
        with pytest.raises(CheckpointError, match=r"holds the class (posix|nt)\.mkdir"):
            read_sovits(path)
        assert not target.exists()
    with_class = {**tiny.sovits_content("v2"), "info": fractions.Fraction}
    with pytest.raises(CheckpointError, match=r"holds the class fractions\.Fraction"):
        read_sovits(tiny.save(with_class, tmp_path / "class.pth"))
    with pytest.raises(CheckpointError, match=r"holds the class builtins\.eval"):
        read_gpt(tiny.save({**tiny.gpt_content(), "info": eval}, tmp_path / "eval.ckpt"))


def test_an_unknown_class_named_like_a_harmless_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("evil")
    module.HParams = type("HParams", (), {"__module__": "evil"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "evil", module)
    path = tiny.save({**tiny.sovits_content("v2"), "config": module.HParams()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"evil\.HParams"):
        read_sovits(path)


def _truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _zip_without_weights(_: bytes) -> bytes:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        _truncated,
        _zip_without_weights,
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"\x00" * 4096,
        lambda data: b"<!DOCTYPE html><html>404</html>",
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        lambda data: data[:2000] + bytes(len(data) - 2000),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path, damage: Any) -> None:
    good = tiny.save(tiny.sovits_content("v2"), tmp_path / "good.pth", b"01").read_bytes()
    path = tmp_path / "secret_name.pth"
    path.write_bytes(damage(good))
    with pytest.raises(CheckpointError) as caught:
        read_sovits(path)
    assert "SoVITS file" in str(caught.value)
    assert "secret_name" not in str(caught.value)


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    path = _safetensors(tmp_path, tiny.sovits_content("v2"), sidecar=False)
    path.write_bytes(_truncated(path.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_sovits(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is missing"):
        read_gpt(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_gpt(tmp_path)


def test_a_missing_an_unexpected_and_a_misshapen_weight_name_themselves(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2")
    del content["weight"]["dec.conv_post.weight"]
    with pytest.raises(CheckpointError, match=r"lacks 'dec\.conv_post\.weight'"):
        load_vits(tiny.save(content, tmp_path / "a.pth"))
    content = tiny.sovits_content("v2")
    content["weight"]["dec.surprise"] = torch.zeros(1)
    content["weight"]["dec.more"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"unexpected weights: 'dec\.more' and 1 more"):
        load_vits(tiny.save(content, tmp_path / "b.pth"))
    content = tiny.sovits_content("v2")
    content["weight"]["dec.conv_pre.weight"] = torch.zeros(32, 16, 5)
    with pytest.raises(CheckpointError, match=r"'dec\.conv_pre\.weight' in the shape \(32, 16, 5\); \(32, 16, 7\)"):
        load_vits(tiny.save(content, tmp_path / "c.pth"))


def test_a_config_without_sizes_or_with_wrong_ones_is_refused(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2")
    del content["config"]["model"]["upsample_rates"]
    with pytest.raises(CheckpointError, match="upsample_rates"):
        load_vits(tiny.save(content, tmp_path / "a.pth"))
    content["config"]["model"]["upsample_rates"] = 7
    with pytest.raises(CheckpointError, match="wrong kind"):
        load_vits(tiny.save(content, tmp_path / "b.pth"))
    content = tiny.gpt_content()
    del content["config"]["model"]
    with pytest.raises(CheckpointError, match="sizes"):
        load_gpt(tiny.save(content, tmp_path / "c.ckpt"))


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"enc_p\.text_embedding"):
        read_sovits(tiny.save(tiny.gpt_content(), tmp_path / "a.pth"))
    with pytest.raises(CheckpointError, match="sizes"):
        load_gpt(tiny.save(tiny.sovits_content("v2"), tmp_path / "b.ckpt"))
    with pytest.raises(CheckpointError, match="no 'weight' and 'config'"):
        read_gpt(tiny.save({"state": {}}, tmp_path / "c.ckpt"))
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_tensors(tiny.save([1, 2], tmp_path / "d.pth"), "v4 vocoder")
    content = tiny.sovits_content("v2")
    content["weight"]["epoch"] = 7
    with pytest.raises(CheckpointError, match="something other than tensors"):
        read_sovits(tiny.save(content, tmp_path / "e.pth"))


def test_an_unknown_number_of_phonemes_is_refused(tmp_path: Path) -> None:
    content = tiny.sovits_content("v2")
    content["weight"]["enc_p.text_embedding.weight"] = torch.zeros(500, 16)
    with pytest.raises(CheckpointError, match="500 phonemes"):
        read_sovits(tiny.save(content, tmp_path / "a.pth"))


_PEAK = """
import sys
from pathlib import Path
import torch
from sovits_service.models.checkpoint_models import load_vits

def high_water_mark():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

load_vits(Path(sys.argv[1]))  # code and thread pools, once
before = high_water_mark()
model = load_vits(Path(sys.argv[2]))
size = sum(tensor.nbytes for tensor in model.state_dict().values())
print((high_water_mark() - before) / size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the high-water mark from /proc")
@pytest.mark.parametrize("layout", ["pth", "half", "safetensors"])
def test_loading_takes_less_than_one_and_a_half_times_the_weights(tmp_path: Path, layout: str) -> None:
    small = tiny.save(tiny.sovits_content("v2"), tmp_path / "small.pth")
    config = tiny.sovits_config("v2", mrte_channels=2000, gin_channels=2000, upsample_initial_channel=512)
    state = {key: torch.ones_like(value) for key, value in Vits(config).state_dict().items()}
    if layout == "half":
        state = {key: value.half() for key, value in state.items()}
    content = {"weight": state, "config": tiny.checkpoint_config(config)}
    if layout == "safetensors":
        big = _safetensors(tmp_path, content, sidecar=False)
    else:
        big = tiny.save(content, tmp_path / "big.pth", b"01")
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(small), str(big)], capture_output=True, text=True, check=True
    )
    assert 0.5 < float(done.stdout) < 1.5
