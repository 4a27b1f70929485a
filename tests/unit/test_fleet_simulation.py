"""The simulated fleet: no request is lost uncounted, queues are as theory has them, and routing by voice pays."""

from __future__ import annotations

import random

import pytest

from benchmarks.service_times import ServiceTimes, interpolate
from benchmarks.simulation import Autoscaler, Outcome, Setup, Simulation, Workload, draw_arrivals
from benchmarks.two_replicas import percentile
from sovits_service.ray_serve.options import EngineOptions

ROWS = 16
# As an engine that gains by batching, and that has no time to encode a voice beside it.
TIMES = ServiceTimes(
    first_audio_s=tuple(0.5 * (1 + 0.3 * others) for others in range(ROWS)),
    rest_s=tuple(0.4 * (1 + 0.45 * others) for others in range(ROWS)),
    encode_s=tuple(1.0 + 0.5 * others for others in range(ROWS)),
    speech_s=(3.0, 5.0, 7.0),
    start_s=8.0,
)
# Shared evenly: no gain by batching, and no voice to encode. 2.5 s for a request alone.
SHARED = ServiceTimes(
    first_audio_s=tuple(0.5 * rows for rows in range(1, 200)),
    rest_s=tuple(0.5 * rows for rows in range(1, 200)),
    encode_s=(1e-6,) * 199,
    speech_s=(4.0,),
    start_s=0.0,
)


def run(setup: Setup, load: float, seconds: float, times: ServiceTimes = TIMES, **workload: object) -> Outcome:
    rate = load * setup.replicas * times.capacity / times.mean_speech_s
    return Simulation(times, Workload(rate, seconds, **workload), setup).run()  # type: ignore[arg-type]


def first_audio_s(outcome: Outcome, percent: float) -> float:
    return percentile([request.first_audio_s or 0.0 for request in outcome.spoken], percent)


def warm(outcome: Outcome) -> float:
    return sum(request.was_warm for request in outcome.spoken) / len(outcome.spoken)


@pytest.mark.parametrize(
    ("setup", "load"),
    [
        (Setup(4), 0.7),
        (Setup(4, "random", ingresses=2), 0.7),
        (Setup(2, "two_choices"), 2.5),
        (Setup(2), 2.5),
        (Setup(6, lives_s=40.0), 0.6),
        (
            Setup(1, scaling=EngineOptions(max_replicas=4, queued_speech_s=15, upscale_delay_s=2, downscale_delay_s=4)),
            1.5,
        ),
    ],
)
def test_every_request_is_answered_once_or_refused_or_lost(setup: Setup, load: float) -> None:
    outcome = run(setup, load, 200.0, bursty=True)
    numbers = [request.number for request in [*outcome.spoken, *outcome.lost]]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + outcome.refused == outcome.came > 50
    assert all(0 < request.first_audio_s < request.whole_s for request in outcome.spoken)  # type: ignore[operator]
    assert bool(outcome.lost) == (setup.lives_s < 1000)
    assert bool(outcome.refused) == (load > 2)
    assert (outcome.most_replicas > setup.replicas) == (setup.scaling is not None)
    asked_s = sum(request.affinity.speech_s for request in outcome.spoken)
    assert outcome.audio_s == pytest.approx(asked_s, rel=0.1 if outcome.lost else 1e-6)


def test_the_same_seed_is_the_same_run_and_another_is_not() -> None:
    arrivals = [list(draw_arrivals(Workload(5.0, 100.0), 3, seed)) for seed in (1, 1, 2)]
    assert arrivals[0] == arrivals[1] != arrivals[2]
    assert first_audio_s(run(Setup(40), 0.6, 30.0), 50) == first_audio_s(run(Setup(40), 0.6, 30.0), 50)


@pytest.mark.parametrize("bursty", [False, True])
def test_requests_come_at_the_rate_that_is_asked_for(bursty: bool) -> None:
    arrivals = list(draw_arrivals(Workload(2.0, 20_000.0, bursty=bursty), 3, 1))
    assert len(arrivals) == pytest.approx(40_000, rel=0.05 if bursty else 0.02)
    counts = [0] * 2000
    for arrival in arrivals:
        counts[min(1999, int(arrival.at_s / 10))] += 1
    mean = sum(counts) / 2000
    spread = sum((count - mean) ** 2 for count in counts) / 2000 / mean
    assert spread > 5 if bursty else spread == pytest.approx(1.0, abs=0.1)  # of a Poisson process: 1


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_a_replica_that_is_shared_evenly_is_as_queueing_theory_has_it(load: float) -> None:
    outcome = run(Setup(1), load, 12_000.0, SHARED, voices=1)
    # Utilisation law: the share of busy time is the rate times the time of a request alone.
    assert outcome.busy_s / outcome.ready_s == pytest.approx(load, rel=0.05)
    # M/G/1 with processor sharing: the mean time is that of a request alone over the share of idle time.
    whole_s = [request.whole_s or 0.0 for request in outcome.spoken]
    assert sum(whole_s) / len(whole_s) == pytest.approx(2.5 / (1 - load), rel=0.1)


def test_routing_by_voice_beats_random_routing() -> None:
    by_voice, at_random = (run(Setup(10, routing), 0.7, 400.0) for routing in ("voice", "random"))  # type: ignore[arg-type]
    assert warm(by_voice) > 0.95 > warm(at_random)
    assert first_audio_s(by_voice, 95) < 0.7 * first_audio_s(at_random, 95)


def test_of_a_hundred_replicas_with_two_ingresses_none_is_left_aside() -> None:
    by_voice, two_choices = (
        run(Setup(100, routing, 2), 0.8, 30.0, voices=2000) for routing in ("voice", "two_choices")
    )  # type: ignore[arg-type]
    assert warm(by_voice) > 0.8 > warm(two_choices)
    assert first_audio_s(by_voice, 95) < first_audio_s(two_choices, 95)


def test_a_cold_fleet_encodes_each_voice_little_more_than_once() -> None:
    outcome = run(Setup(4, is_warm=False), 0.4, 800.0)
    voices = len({request.affinity.voice for request in outcome.spoken})
    cold = sum(not request.was_warm for request in outcome.spoken)
    assert voices <= cold <= 1.3 * voices


def test_serves_delays_apply_to_what_the_policy_wants() -> None:
    scaler = Autoscaler(
        EngineOptions(min_replicas=1, max_replicas=3, queued_speech_s=10, upscale_delay_s=5, downscale_delay_s=20)
    )
    busy, quiet = {"a": 25.0}, {"a": 0.0}
    assert [scaler.target(1, busy, at_s) for at_s in (0.0, 4.0)] == [1, 1]
    assert scaler.target(1, quiet, 4.5) == 1, "it must have been so all the time"
    assert [scaler.target(1, busy, at_s) for at_s in (5.0, 9.0, 10.0)] == [1, 1, 3]
    assert [scaler.target(3, quiet, at_s) for at_s in (11.0, 30.0, 31.0)] == [3, 3, 1]
    assert Autoscaler(EngineOptions(max_replicas=2, queued_speech_s=1, upscale_delay_s=0)).target(1, busy, 0.0) == 2


def test_times_between_those_measured_are_interpolated() -> None:
    assert interpolate({1: 1.0, 4: 2.5, 6: 4.5}) == pytest.approx((1.0, 1.5, 2.0, 2.5, 3.5, 4.5))
    assert interpolate({1: 1.0, 2: 3.0}, upto=4) == pytest.approx((1.0, 3.0, 4.5, 6.0))
    draw = random.Random(1)
    assert percentile(draw.sample(range(101), 101), 95) == 95
    assert percentile([], 50) == 0.0
