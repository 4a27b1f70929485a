"""`python -m benchmarks.fleet TIMES`: simulated fleets of up to 1,000 replicas; prints a table for each size.

Replicas are as fast as `benchmarks.calibrate` has measured; routing, what replicas tell routers, and the policy of
autoscaling are the service's own. `benchmarks.two_replicas` checks the simulation against two real ones. Nothing is
simulated of the network, of Ray itself, and of replicas that disturb each other on one machine.

Load is a share of the speech that all replicas could make. Requests come as a Poisson process, or in bursts; voices
follow Zipf's law, and are about where long use would have put them. First audio and warm voices are those of the last
two thirds of a run.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from pathlib import Path

from benchmarks.service_times import ServiceTimes, read_service_times
from benchmarks.simulation import Outcome, Routing, Setup, Simulation, Workload
from benchmarks.two_replicas import percentile
from sovits_service.ray_serve.options import EngineOptions

ROUTINGS = ("voice", "random", "two_choices")
_LEAST_VOICES, _VOICES_PER_REPLICA = 200, 20
_REPLICAS_PER_INGRESS = 50
_HEAD = (
    "| replicas | routing | load | requests/s | first audio p50, p95, p99, s | used | warm | refused | lost "
    "| replica-hours per hour of speech |\n|---|---|---|---|---|---|---|---|---|---|"
)


def row(times: ServiceTimes, setup: Setup, load: float, outcome: Outcome, duration_s: float) -> str:
    """One line of the table."""
    spoken = [request for request in outcome.spoken if request.came_s >= duration_s / 3]
    first_s = [request.first_audio_s or 0.0 for request in spoken]
    points = ", ".join(f"{percentile(first_s, percent):.2f}" for percent in (50, 95, 99))
    used = outcome.audio_s / (outcome.ready_s * times.capacity)
    warm = sum(request.was_warm for request in spoken) / max(1, len(spoken))
    count = f"{setup.replicas}" if setup.scaling is None else f"{setup.replicas} to {outcome.most_replicas}"
    return (
        f"| {count} | {setup.routing} | {load:.0%} | {outcome.came / duration_s:.1f} | {points} | {used:.0%} "
        f"| {warm:.1%} | {outcome.refused / outcome.came:.1%} | {len(outcome.lost) / outcome.came:.2%} "
        f"| {outcome.paid_s / max(outcome.audio_s, 1e-9):.2f} |"
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path, help="a file of benchmarks.calibrate, as benchmarks/results/*-replica.json")
    parser.add_argument("--model", choices=("full", "demo"), default="full")
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 10, 100, 1000])
    parser.add_argument("--load", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--routing", nargs="+", choices=ROUTINGS, default=ROUTINGS)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--voices", type=int, default=0, help="0: 20 for each replica, 200 at least")
    parser.add_argument("--bursty", action="store_true", help="three times the rate for 10 s, then half for 40")
    parser.add_argument("--cold", action="store_true", help="no voice is warm to begin with")
    parser.add_argument("--lives", type=float, default=math.inf, help="seconds until a replica dies, on average")
    parser.add_argument("--scaling", type=float, default=0.0, help="autoscaling up to so many times as many replicas")
    parser.add_argument("--queued-speech", type=float, default=60.0, help="as in configs/ray.yaml")
    parser.add_argument("--downscale-delay", type=float, default=300.0, help="as in configs/ray.yaml")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def set_up(args: argparse.Namespace, replicas: int, routing: Routing) -> Setup:
    scaling = None
    if args.scaling:
        scaling = EngineOptions(
            min_replicas=replicas,
            max_replicas=int(replicas * args.scaling),
            queued_speech_s=args.queued_speech,
            downscale_delay_s=args.downscale_delay,
        )
    ingresses = math.ceil(replicas / _REPLICAS_PER_INGRESS)
    return Setup(replicas, routing, ingresses, scaling, args.lives, not args.cold)


def main() -> None:
    args = read_arguments()
    times = read_service_times(args.times, args.model)
    print(f"{args.model}: a replica makes {times.capacity:.2f} s of speech a second at most\n\n{_HEAD}", flush=True)
    started_s = time.perf_counter()
    for replicas, load, routing in itertools.product(args.replicas, args.load, args.routing):
        voices = args.voices or max(_LEAST_VOICES, _VOICES_PER_REPLICA * replicas)
        rate = load * replicas * times.capacity / times.mean_speech_s
        setup = set_up(args, replicas, routing)
        outcome = Simulation(times, Workload(rate, args.seconds, voices, args.bursty), setup, args.seed).run()
        print(row(times, setup, load, outcome, args.seconds), flush=True)
    print(f"\n{time.perf_counter() - started_s:.0f} s")


if __name__ == "__main__":
    main()
