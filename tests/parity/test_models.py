"""The models against stored outputs of the published architecture, full size."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
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


def is_large(name: str) -> bool:
    manifest = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    shapes = [shape for shape, _ in manifest.get("state_dict", {}).values()]
    return sum(math.prod(shape) for shape in shapes) > 100_000_000  # 0.4 GB, and twice that in float64


def use_onednn_as_here() -> None:
    if os.environ.get(WITHOUT_ONEDNN):
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """A process of its own for what takes a gigabyte or two, which would come on top of what other tests left."""
    with ProcessPoolExecutor(1, get_context("spawn"), use_onednn_as_here) as pool:
        yield pool


@functools.cache
def vocoder_v3() -> Golden:
    """The golden of the network that amplifies rounding, with its weights."""
    return golden("vocoder_v3").with_weights()


def run_all(names: list[str]) -> dict[str, list[Result]]:
    """Goldens of the same weights."""
    results, before = {}, None
    for name in names:
        before = golden(name).with_weights(before)
        results[name] = run(before)
    return results


def run_with_a_fault() -> list[Result]:
    """One number of one weight of the vocoder is one percent off."""
    name = "resblocks.7.convs1.1.weight_v"
    fault = vocoder_v3().state()[name].clone()
    fault.view(-1)[fault.abs().argmax()] *= 1.01
    return run(replace(vocoder_v3(), weights=vocoder_v3().state() | {name: fault}))


def run_less_precisely() -> list[Result]:
    """The vocoder's samples are rounded to eight bits where it runs in float32."""

    def less_precise_in_float32(self: BigVgan, mel: torch.Tensor) -> torch.Tensor:
        wav = forward(self, mel)
        return wav if mel.dtype == torch.float64 else wav.bfloat16().float()

    forward = BigVgan.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BigVgan, "forward", less_precise_in_float32)
        return run(vocoder_v3())


def run_named(name: str) -> list[Result]:
    return run(golden(name))


def run_vocoder() -> list[Result]:
    return run(vocoder_v3())


@pytest.mark.parametrize("name", [name for name in GOLDENS if not is_large(name)])
def test_outputs_are_within_the_bound_of_their_golden(name: str, elsewhere: Executor) -> None:
    is_gpt = name.startswith("t2s")  # whose graphs take as much as its weights again
    results = elsewhere.submit(run_named, name).result() if is_gpt else run(golden(name))
    assert results
    assert [r for r in results if not r.is_within_bound] == []
    if is_gpt:
        assert {r.output.removesuffix("0") for r in results} >= {"logits", "greedy", "onnx_logits", "onnx_greedy"}


def test_outputs_of_the_largest_are_within_the_bound_too(elsewhere: Executor) -> None:
    names = ["sovits_v3", "sovits_v4"]
    results = elsewhere.submit(run_all, names).result() | {"vocoder_v3": elsewhere.submit(run_vocoder).result()}
    assert list(results) == [name for name in GOLDENS if is_large(name)]
    assert all(results.values())
    assert [r for of_one in results.values() for r in of_one if not r.is_within_bound] == []


def test_only_the_network_that_amplifies_rounding_has_a_wider_bound() -> None:
    assert BOUND == 1e-4
    stated = {name: golden(name).manifest for name in GOLDENS if "tolerance" in golden(name).manifest}
    assert [(name, m["tolerance"], m["rounding_tolerance"]) for name, m in stated.items()] == [
        ("vocoder_v3", 3e-4, 5e-4)
    ]
    assert all(manifest["tolerance_reason"] for manifest in stated.values())


def test_one_percent_off_in_one_weight_fails_the_wider_bound(elsewhere: Executor) -> None:
    in_float64, of_float32 = elsewhere.submit(run_with_a_fault).result()
    assert not in_float64.is_within_bound
    assert of_float32.is_within_bound, "both runs have the same fault"


def test_a_float32_run_that_is_far_from_float64_fails_the_wider_bound(elsewhere: Executor) -> None:
    in_float64, of_float32 = elsewhere.submit(run_less_precisely).result()
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
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("audio_other ")
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
