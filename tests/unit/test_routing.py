"""Where a request of a Ray cluster goes: the order of replicas for a voice, by what is warm and who is busy."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sovits_service.errors import SettingsError
from sovits_service.ray_serve.balancer import Load, VoiceBalancer, rank
from sovits_service.ray_serve.messages import Affinity, affinity_of
from sovits_service.ray_serve.options import RayOptions, load_ray_options
from sovits_service.ray_serve.scaling import ByQueuedSpeech
from sovits_service.types import SynthesisRequest


def load(name: str, wait_s: float = 0.0, *, has_voice: bool = False, has_weights: bool = True) -> Load:
    return Load(name, wait_s, has_voice, has_weights, encode_s=1.0, load_s=10.0)


AMY = Affinity("amy", "", 3.0)


def test_a_warm_voice_is_worth_a_queue_as_long_as_encoding_it() -> None:
    others = [load("b"), load("c")]
    assert rank(AMY, [load("a", 0.9, has_voice=True), *others])[0] == "a"
    assert rank(AMY, [load("a", 1.1, has_voice=True), *others])[0] != "a"
    assert rank(AMY, [load("a", 0.5, has_voice=True), load("b", 0.2, has_voice=True)]) == ["b", "a"]


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
    assert rank(bob, [load("a", 2.0), load("b", has_voice=True, has_weights=False)]) == ["a", "b"]


def told(queued_s: float = 0.0, *voices: str) -> dict[str, object]:
    return {"queued_s": queued_s, "factor": 0.5, "voices": list(voices), "weights": [], "encode_s": 1.0, "load_s": 10.0}


def test_a_voice_stays_until_waiting_costs_more_than_encoding() -> None:
    balancer = VoiceBalancer()
    balancer.update({"a": told(5.0, "amy"), "b": told(), "c": told()})
    assert balancer.order(AMY)[0] == "a"
    balancer.update({"a": told(60.0, "amy"), "b": told(), "c": told()})
    assert balancer.order(AMY)[0] != "a"


def test_what_was_sent_counts_before_a_replica_tells_of_it() -> None:
    balancer = VoiceBalancer()
    balancer.update({"a": told(), "b": told(0.1)})
    home = balancer.order(AMY)[0]
    for number in range(3):
        balancer.sent(AMY, "b", str(number))
    assert (home, balancer.order(AMY)[0]) == (home, "b"), "its prompt is there now"
    for number in range(3, 20):
        balancer.sent(AMY, "b", str(number))
    assert balancer.order(AMY)[0] == "a"
    for number in range(20):
        balancer.ended("b", str(number))
    balancer.update({"a": told(), "b": told(0.2, "amy")})
    assert balancer.order(AMY)[0] == "b"


def test_a_replica_that_is_gone_is_asked_no_more_and_its_voices_are_cold() -> None:
    balancer = VoiceBalancer()
    balancer.update({name: told(0.0, "amy") if name == "b" else told() for name in "abc"})
    balancer.sent(AMY, "b", "1")
    balancer.forget("b")
    balancer.ended("b", "1")
    assert sorted(balancer.order(AMY)) == ["a", "c"]
    balancer.update({"c": told()})
    assert balancer.order(AMY) == ["c"]


def test_of_many_replicas_the_warm_and_the_home_are_among_those_compared() -> None:
    names = [f"r{number}" for number in range(500)]
    balancer = VoiceBalancer(random.Random(1))
    balancer.update({name: told(0.0, "amy") if name == "r250" else told() for name in names})
    assert balancer.order(AMY)[0] == "r250"
    assert len(balancer.order(AMY)) <= 33
    bob = Affinity("bob", "", 3.0)
    assert len({balancer.order(bob)[0] for _ in range(20)}) == 1, "a voice that is warm nowhere has one home"
    balancer.update({name: told(0.0, "amy") if name == "r250" else told() for name in names[:251]})
    assert balancer.order(AMY)[0] == "r250"
    balancer.update({name: told(0.0, "bob") if name == "r250" else told() for name in names})
    assert (balancer.order(bob)[0], balancer.order(AMY)[0] == "r250") == ("r250", False), "it told of another voice"


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


def test_the_shipped_options_are_the_defaults_and_a_wrong_key_is_named(tmp_path: Path) -> None:
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
