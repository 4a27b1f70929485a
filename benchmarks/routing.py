"""How many requests of a Ray cluster find their voice warm: routing by voice, and at random.

Four engines with tiny models, 200 voices whose use follows Zipf's law. Shares count, not speed.

Usage: .venv/ray/bin/python -m benchmarks.routing [--requests 3000] [--clients 4]
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.programs import require_program
from tests.ray.fleet import Fleet, fleet
from tests.unit.storage.conftest import RedisServer

ENGINES, VOICES = 4, 200
OPTIONS = """
cluster: {{cpus: 6, object_store_bytes: 100000000}}
ingress: {{cpus: 0.5}}
engine: {{cpus: 1, min_replicas: 4, max_replicas: 4, routing: {routing}}}
"""


def measure(running: Fleet, voices: list[int], clients: int) -> tuple[float, float]:
    """How many requests found their voice warm, and what encoding one took, in seconds."""
    known, encoded, took_s = (running.metric(name) for name in _NAMES)
    with httpx.Client(base_url=running.url, timeout=120) as http, ThreadPoolExecutor(clients) as asking:

        def ask(voice: int) -> None:
            body = {"text": "好。", "text_lang": "zh", "voice_id": f"v{voice}", "cache": False, "media_type": "raw"}
            http.post("/tts", json=body).raise_for_status()

        list(asking.map(ask, voices))
    time.sleep(3)  # what engines tell the ingress is a second old
    now = [running.metric(name) for name in _NAMES]
    hits, misses = now[0] - known, now[1] - encoded
    return hits, (now[2] - took_s) / max(1.0, misses)


_NAMES = (
    "sovits_engine_prompts_known_total",
    "sovits_engine_prompts_encoded_total",
    "sovits_engine_prompt_encode_seconds_total",
)


def _parts(order: list[int]) -> list[tuple[list[int], set[int]]]:
    """The first half of the requests, the second and all of them, each with the voices that came before."""
    half = len(order) // 2
    return [(order[:half], set()), (order[half:], set(order[:half])), (order, set())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    order = random.Random(1).choices(range(VOICES), [1 / (rank + 1) for rank in range(VOICES)], k=args.requests)
    folder = Path(tempfile.mkdtemp(prefix="routing-"))
    half = len(order) // 2
    most = [1 - len(set(part) - known) / len(part) for part, known in _parts(order)]
    print("each voice is new once: no routing finds more warm than {:.1%}, {:.1%} and {:.1%}".format(*most), flush=True)
    redis = RedisServer(require_program("redis-server"), folder)
    redis.start()
    try:
        for routing in ("voice", "random"):
            options = OPTIONS.format(routing=routing)
            with fleet(folder / routing, redis, options, ENGINES, VOICES) as running:
                started_s = time.monotonic()
                first, encode_s = measure(running, order[:half], args.clients)
                second, _ = measure(running, order[half:], args.clients)
                print(
                    f"{routing}: {first / half:.1%} of the first {half} requests found their voice warm, "
                    f"{second / (len(order) - half):.1%} of the next, {(first + second) / len(order):.1%} of all; "
                    f"encoding took {encode_s * 1000:.0f} ms; {time.monotonic() - started_s:.0f} s",
                    flush=True,
                )
    finally:
        redis.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
