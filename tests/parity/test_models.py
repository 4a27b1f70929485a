"""The models against stored outputs of the published architecture, full size."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sovits_service.models.sovits.bigvgan import BigVgan
from tests.conftest import WITHOUT_ONEDNN
from tools.parity import (
    BOUND,
    CHECKS,
    Golden,
    Result,
    compare,
    find_check,
    main,
    read_goldens,
    report,
    run,
    seeded_tensor,
)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "data" / "golden" / "models"
GOLDENS = sorted(path.stem for path in FOLDER.glob("*.json") if find_check(path.stem))


def golden(name: str) -> Golden:
    return next(g for g in read_goldens(FOLDER) if g.name == name)


def has_large_weights(name: str) -> bool:
    manifest = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    shapes = [shape for shape, _ in manifest.get("state_dict", {}).values()]
    return sum(math.prod(shape) for shape in shapes) > 250_000_000  # 1 GB


@pytest.fixture(scope="module")
def vocoder_v3() -> Golden:
    """The golden of the network that amplifies rounding, with its weights."""
    return golden("vocoder_v3").with_weights()


@pytest.mark.parametrize("name", [name for name in GOLDENS if not has_large_weights(name)])
def test_outputs_are_within_the_bound_of_their_golden(name: str, request: pytest.FixtureRequest) -> None:
    results = run(request.getfixturevalue("vocoder_v3") if name == "vocoder_v3" else golden(name))
    assert results
    assert [r for r in results if not r.is_within_bound] == []
    if name.startswith("t2s"):
        assert {r.output.removesuffix("0") for r in results} >= {"logits", "greedy", "onnx_logits", "onnx_greedy"}


def test_outputs_of_the_largest_are_within_the_bound_too() -> None:
    """In a process of their own, as the memory comes on top of what other tests left; their weights are the same."""
    names = [name for name in GOLDENS if has_large_weights(name)]
    command = [sys.executable, str(ROOT / "tools" / "parity.py"), str(FOLDER), *names]
    command += ["--without-onednn"] if os.environ.get(WITHOUT_ONEDNN) else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == names == ["sovits_v3", "sovits_v4"]


def test_the_bound_is_a_ten_thousandth_but_for_the_one_network_that_amplifies_rounding() -> None:
    assert BOUND == 1e-4
    stated = {name: golden(name).manifest for name in GOLDENS if "tolerance" in golden(name).manifest}
    assert [(name, m["tolerance"], m["rounding_tolerance"]) for name, m in stated.items()] == [
        ("vocoder_v3", 3e-4, 5e-4)
    ]
    assert all(manifest["tolerance_reason"] for manifest in stated.values())


def test_one_number_of_one_weight_that_is_one_percent_off_fails_the_wider_bound(vocoder_v3: Golden) -> None:
    name = "resblocks.7.convs1.1.weight_v"
    fault = vocoder_v3.state()[name].clone()
    fault.view(-1)[fault.abs().argmax()] *= 1.01
    in_float64, of_float32 = run(replace(vocoder_v3, weights=vocoder_v3.state() | {name: fault}))
    assert not in_float64.is_within_bound
    assert of_float32.is_within_bound, "both runs have the same fault"


def test_a_float32_run_that_is_far_from_float64_fails_the_wider_bound(
    vocoder_v3: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    def less_precise_in_float32(self: BigVgan, mel: torch.Tensor) -> torch.Tensor:
        wav = forward(self, mel)
        return wav if mel.dtype == torch.float64 else wav.bfloat16().float()

    forward = BigVgan.forward
    monkeypatch.setattr(BigVgan, "forward", less_precise_in_float32)
    in_float64, of_float32 = run(vocoder_v3)
    assert in_float64.is_within_bound
    assert not of_float32.is_within_bound


def test_the_report_names_the_bounds_that_held() -> None:
    results = [Result("a", 9e-5), Result("b in float64", 2e-4, 3e-4), Result("b", 6e-4, 5e-4), Result("c", 1e-4, 5e-4)]
    within, doubled, failed = report(results).split("; ")
    assert within == "largest error 9.00e-05 of full scale (a), bound 1e-04  ok"
    assert doubled == "largest error 2.00e-04 of full scale (b in float64), bound 3e-04  ok"
    assert failed == "largest error 6.00e-04 of full scale (b), bound 5e-04  FAIL: b 6.00e-04"


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
    assert main([str(FOLDER), "no-such-golden"]) == 1
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"other{suffix}").write_bytes((FOLDER / f"audio{suffix}").read_bytes())
    assert main([str(tmp_path)]) == 1


def test_nan_and_a_wrong_shape_are_beyond_the_bound() -> None:
    stored = torch.ones(3)
    assert not compare("x", torch.full((3,), float("nan")), stored).is_within_bound
    assert not compare("x", torch.ones(4), stored).is_within_bound
    assert not compare("x", torch.tensor([1, 2]), torch.tensor([1, 3])).is_within_bound
    assert compare("x", torch.tensor([1, 2]), torch.tensor([1, 2])).is_within_bound
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
