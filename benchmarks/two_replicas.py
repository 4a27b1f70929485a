"""`python -m benchmarks.two_replicas`: two real replicas and two simulated ones get the same requests; how far apart?

Two plain servers, each bound to a core, no Ray; requests go to the one and the other in turn, come as a Poisson
process, and no voice is warm to begin with. Before that both are calibrated at the same time, since they share the
machine's memory and the client. Adds to the JSON of `benchmarks.calibrate`, and exits with 1 beyond the tolerance.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.__main__ import RESULTS
from benchmarks.calibrate import Heard, Row, ask, encoded, measure_encoding, measure_rows, replicas
from benchmarks.service_times import ServiceTimes, service_times
from benchmarks.simulation import Setup, Simulation, Workload, draw_arrivals

REPLICAS = 2
TOLERANCE = 0.15
COUNTS, ANSWERS, NEW_VOICES = [1, 2, 4, 8, 16], 12, 5
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: who gave it, when it was asked for, and the seconds to its first audio and to its end."""

    replica: int
    at_s: float
    first_s: float
    whole_s: float


async def measure(urls: list[str], workload: Workload, texts: int, seed: int) -> Figures:
    """What clients of real replicas see."""
    first_voice = 1 + NEW_VOICES * len(COUNTS)
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as http:
        for url in urls:
            for text in range(texts):
                await ask(http, url, 0, text)
        before = [await encoded(http, url) for url in urls]
        start_s = time.perf_counter()
        asked: list[asyncio.Task[Heard]] = []
        arrivals = list(draw_arrivals(workload, texts, seed))
        for number, arrival in enumerate(arrivals, start=1):
            await asyncio.sleep(start_s + arrival.at_s - time.perf_counter())
            voice = first_voice + arrival.voice
            asked.append(asyncio.create_task(ask(http, urls[number % REPLICAS], voice, arrival.text)))
        heard = await asyncio.gather(*asked)
        after = [await encoded(http, url) for url in urls]
    cold = sum(now[0] - then[0] for now, then in zip(after, before, strict=True))
    answers = [
        Answer(number % REPLICAS, arrival.at_s, one.first_s, one.whole_s)
        for number, (arrival, one) in enumerate(zip(arrivals, heard, strict=True), start=1)
    ]
    return figures(answers, cold)


def simulate(times: ServiceTimes, workload: Workload, seed: int) -> Figures:
    """The same of simulated ones."""
    outcome = Simulation(times, workload, Setup(REPLICAS, "round_robin", is_warm=False), seed).run()
    answers = [
        Answer(one.number % REPLICAS, one.came_s, one.first_audio_s or 0.0, one.whole_s or 0.0)
        for one in outcome.spoken
    ]
    return figures(answers, sum(not request.was_warm for request in outcome.spoken))


def figures(answers: list[Answer], cold: float) -> Figures:
    """Sums of a run: `busy` is the share of a replica's time in which it had a request."""
    first_s, whole_s = [one.first_s for one in answers], [one.whole_s for one in answers]
    busy_s, until_s = 0.0, dict.fromkeys(range(REPLICAS), 0.0)
    for one in sorted(answers, key=lambda one: one.at_s):
        end_s = max(until_s[one.replica], one.at_s + one.whole_s)
        busy_s += end_s - max(until_s[one.replica], one.at_s)
        until_s[one.replica] = end_s
    return {
        "requests": len(answers),
        "first_audio_mean_s": sum(first_s) / len(first_s),
        "first_audio_p50_s": percentile(first_s, 50),
        "first_audio_p95_s": percentile(first_s, 95),
        "whole_mean_s": sum(whole_s) / len(whole_s),
        "whole_p95_s": percentile(whole_s, 95),
        "busy": busy_s / sum(until_s.values()),
        "warm": 1 - cold / len(answers),
    }


def percentile(values: list[float], percent: float) -> float:
    """Linear between the two nearest; 0 where there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    place = percent / 100 * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


async def calibrate(urls: list[str]) -> dict[str, Any]:
    """What `benchmarks.calibrate` measures: the mean of replicas that are measured at the same time."""
    rows = await asyncio.gather(*(measure_rows(url, COUNTS, ANSWERS) for url in urls))
    encoding = await asyncio.gather(*(measure_encoding(url, COUNTS[:3], NEW_VOICES) for url in urls))
    return {
        "rows": _mean([found for found, _ in rows]),
        "encoding": _mean(encoding),
        "speech_s": [sum(lengths) / len(lengths) for lengths in zip(*(found for _, found in rows), strict=True)],
        "start_s": 0.0,
    }


def _mean(tables: list[list[Row]]) -> list[Row]:
    """The mean of each value of tables with the same rows."""
    return [
        {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} for rows in zip(*tables, strict=True)
    ]


async def compare(urls: list[str], args: argparse.Namespace) -> dict[str, Any]:
    measured = await calibrate(urls)
    times = service_times(measured)
    rate = args.load * REPLICAS * times.capacity / times.mean_speech_s
    workload = Workload(rate, args.seconds, args.voices)
    real = await measure(urls, workload, len(times.speech_s), args.seed)
    return {
        "load": args.load,
        "rate": rate,
        "seconds": args.seconds,
        "voices": args.voices,
        "seed": args.seed,
        "measured": real,
        "simulated": simulate(times, workload, args.seed),
        "times": measured,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the file under benchmarks/results")
    parser.add_argument("--load", type=float, default=0.5, help="as a share of what the replicas can make")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--voices", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    new = NEW_VOICES * len(COUNTS)
    with replicas(None, 1 + new + args.voices, [[0], [1]]) as (urls, _):
        found = asyncio.run(compare(urls, args))
    for name, value in found["measured"].items():
        apart = found["simulated"][name] / value - 1
        print(f"{name:20} measured {value:8.3f}  simulated {found['simulated'][name]:8.3f}  {apart:+.1%}")
    path = RESULTS / f"{args.name}.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report.setdefault("two_replicas", []).append(found)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(abs(found["simulated"][name] / value - 1) > TOLERANCE for name, value in found["measured"].items()))


if __name__ == "__main__":
    sys.exit(main())
