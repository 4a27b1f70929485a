"""Where a request of a Ray cluster goes: the order of replicas for a voice, by what is warm and who is busy."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from sovits_service.errors import SettingsError
from sovits_service.ray_serve.messages import Affinity, Load, affinity_of, rank
from sovits_service.ray_serve.options import RayOptions, load_ray_options
from sovits_service.ray_serve.scaling import ByQueuedSpeech
from sovits_service.types import SynthesisRequest


def load(name: str, wait_s: float = 0.0, voices: tuple[str, ...] = (), weights: tuple[str, ...] = ()) -> Load:
    return Load(name, wait_s, voices, weights, encode_s=1.0, load_s=10.0)


AMY = Affinity("amy", "", 3.0)


def test_a_warm_voice_is_worth_a_queue_as_long_as_encoding_it() -> None:
    others = [load("b"), load("c")]
    assert rank(AMY, [load("a", 0.9, ("amy",)), *others])[0] == "a"
    assert rank(AMY, [load("a", 1.1, ("amy",)), *others])[0] != "a"
    assert rank(AMY, [load("a", 0.5, ("amy",)), load("b", 0.2, ("amy",))]) == ["b", "a"]


def test_a_cold_voice_has_a_home_while_that_is_free() -> None:
    fleet = [load(name) for name in "abcd"]
    homes = {voice: rank(Affinity(voice, "", 1.0), fleet)[0] for voice in map(str, range(200))}
    assert all(rank(Affinity(voice, "", 1.0), fleet[::-1])[0] == home for voice, home in homes.items())
    counts = [list(homes.values()).count(name) for name in "abcd"]
    assert min(counts) > 25
    # A replica that goes takes its own voices with it alone.
    left = {voice: rank(Affinity(voice, "", 1.0), fleet[:3])[0] for voice in homes}
    assert all(left[voice] == home for voice, home in homes.items() if home != "d")
    busy = [load(name, 1.5 if name == homes["0"] else 0.0) for name in "abcd"]
    assert rank(Affinity("0", "", 1.0), busy)[0] != homes["0"]
    assert sorted(rank(Affinity("0", "", 1.0), busy)) == list("abcd"), "each of the others takes it where one is full"


def test_weights_are_worth_more_than_a_prompt() -> None:
    bob = Affinity("bob", "bob.ckpt", 3.0)
    assert rank(bob, [load("a", 2.0, (), ("bob.ckpt",)), load("b", 0.0, ("bob",))]) == ["a", "b"]


def test_one_voice_has_one_name_whatever_is_said() -> None:
    one, other = (SynthesisRequest(text, "zh", voice_id="amy") for text in ("你好", "今天天气很好"))
    assert affinity_of(one, "").voice == affinity_of(other, "").voice
    assert affinity_of(one, "").speech_s < affinity_of(other, "").speech_s
    assert (
        affinity_of(SynthesisRequest("你好", "zh", voice_id="amy", emotion="sad"), "").voice
        != affinity_of(one, "").voice
    )


@pytest.mark.parametrize(
    ("told", "waiting", "wanted"), [({}, 0, 1), ({"a": 90.0, "b": 60.0}, 0, 2.5), ({"a": 0.0}, 12, 1.0), ({}, 60, 5.0)]
)
def test_replicas_by_speech_that_is_asked_for(told: dict[str, float], waiting: int, wanted: float) -> None:
    context = SimpleNamespace(
        aggregated_metrics={"queued_speech_s": told}, total_queued_requests=waiting, capacity_adjusted_min_replicas=1
    )
    assert ByQueuedSpeech(60.0)(context) == (wanted, {})


def test_the_shipped_options_are_the_defaults_and_a_wrong_key_is_named(tmp_path) -> None:
    assert load_ray_options() == RayOptions()
    (tmp_path / "ray.yaml").write_text("engine: {gpu: 1}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="gpu"):
        load_ray_options(tmp_path / "ray.yaml")


def test_an_ingress_needs_no_torch_and_the_core_no_ray() -> None:
    code = (
        "import sys, sovits_service.api.app, sovits_service.ray_serve.remote\n"
        "assert not {'torch', 'onnxruntime', 'ray'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
