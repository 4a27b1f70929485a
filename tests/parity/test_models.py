"""The models against stored outputs of the published architecture, full size and float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tools.parity import CHECKS, Golden, Result, compare, find_check, main, read_goldens, run, seeded_tensor

FOLDER = Path(__file__).parents[1] / "data" / "golden" / "models"
GOLDENS = sorted(path.stem for path in FOLDER.glob("*.json") if find_check(path.stem))


def golden(name: str) -> Golden:
    return next(g for g in read_goldens(FOLDER) if g.name == name)


@pytest.mark.parametrize("name", GOLDENS)
def test_outputs_are_within_a_ten_thousandth_of_full_scale(name: str) -> None:
    results = run(golden(name))
    assert results
    assert [r for r in results if not r.is_within_bound] == []


def test_a_difference_beyond_the_bound_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "audio_other.json").write_bytes((FOLDER / "audio.json").read_bytes())
    tensors = load_file(FOLDER / "audio.safetensors")
    save_file(tensors, tmp_path / "audio_other.safetensors")
    assert main([str(tmp_path)]) == 0
    tensors["spec"][0, 5, 5] += 2e-4 * tensors["spec"].abs().max()
    save_file(tensors, tmp_path / "audio_other.safetensors")
    assert main([str(tmp_path)]) == 1
    assert "FAIL: spec" in capsys.readouterr().out


def test_a_name_without_a_check_and_an_empty_folder_fail_the_run(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"other{suffix}").write_bytes((FOLDER / f"audio{suffix}").read_bytes())
    assert main([str(tmp_path)]) == 1


def test_nan_and_a_wrong_shape_are_beyond_the_bound() -> None:
    stored = torch.ones(3)
    assert not compare("x", torch.full((3,), float("nan")), stored).is_within_bound
    assert not compare("x", torch.ones(4), stored).is_within_bound
    assert Result("x", 1e-4).is_within_bound


def test_every_version_has_a_check() -> None:
    for name in ("t2s_v1_salt", "sampling2", "audio_long", "sv_b", "sovits_v2ProPlus_x"):
        assert find_check(name) is not None
    assert find_check("sovits_v2Pro") is CHECKS["sovits_v2"]


def test_seeded_weights_depend_on_name_salt_and_nothing_else() -> None:
    a = seeded_tensor("a.weight", (4, 8), "float32", "s")
    assert torch.equal(a, seeded_tensor("a.weight", (4, 8), "float32", "s"))
    assert not torch.equal(a, seeded_tensor("b.weight", (4, 8), "float32", "s"))
    assert not torch.equal(a, seeded_tensor("a.weight", (4, 8), "float32", "t"))
    assert seeded_tensor("bn.num_batches_tracked", (), "int64", "s").dtype == torch.int64
