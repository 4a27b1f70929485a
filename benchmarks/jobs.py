"""`python -m benchmarks.jobs`: do live requests wait for a job? Prints JSON, and 1 where they wait too long.

Requests come one after the other to a server, in blocks that alternate: with a job at work, and with none. Reported is
the time to the first audio of a stream (mode 3), and how much longer its 95th percentile is with the job. The server is
a process of its own, run as `sovits-service serve` runs it.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.soak import serving

_BLOCK = 10  # requests between two changes
_LONGEST_GAP_S = 0.5  # between two requests, so that they meet the job at any point of its work
_LIMIT = 1.2
_CHARACTERS = (
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好"
    "看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间知世"
)


def text_of(draw: random.Random, characters: int) -> str:
    """Sentences that were not read before."""
    sentences = ("".join(draw.choices(_CHARACTERS, k=draw.randint(8, 20))) + "。" for _ in range(characters // 8))
    return "".join(sentences)[:characters]


def first_audio_s(http: httpx.Client, text: str, voice: str) -> float:
    """Seconds from sending a request to the first bytes of sound behind the header of its wav."""
    body = {"text": text, "text_lang": "zh", "voice_id": voice, "streaming_mode": 3, "media_type": "raw"}
    begun_s = time.perf_counter()
    with http.stream("POST", "/tts", json=body) as answer:
        answer.raise_for_status()
        pieces = answer.iter_raw()
        next(pieces)
        took_s = time.perf_counter() - begun_s
        for _ in pieces:
            pass
    return took_s


def start_job(http: httpx.Client, draw: random.Random) -> str:
    """A job that does not end within a block, once it is at work."""
    # A short line first, which tells soon that the job is at work.
    body = {"text": "开始。\n" + text_of(draw, 20_000), "text_lang": "zh", "voice_id": "male_narrator"}
    job_id = str(http.post("/jobs", json=body).raise_for_status().json()["id"])
    while http.get(f"/jobs/{job_id}").json()["done"] < 1:
        time.sleep(0.1)
    return job_id


def measure(http: httpx.Client, blocks: int, draw: random.Random) -> dict[str, object]:
    """Blocks without and with a job, in turn."""
    times_s: dict[bool, list[float]] = {False: [], True: []}
    job_s = job_audio_s = 0.0
    for block in range(2 * blocks):
        has_job = block % 2 == 1
        job_id = start_job(http, draw) if has_job else ""
        before = http.get(f"/jobs/{job_id}").json()["duration_s"] if has_job else 0.0
        begun_s = time.perf_counter()
        for _ in range(_BLOCK):
            time.sleep(draw.uniform(0, _LONGEST_GAP_S))
            times_s[has_job].append(first_audio_s(http, text_of(draw, 24), "female_calm"))
        if has_job:
            job_s += time.perf_counter() - begun_s
            job_audio_s += http.get(f"/jobs/{job_id}").json()["duration_s"] - before
            http.delete(f"/jobs/{job_id}")
    alone, beside = times_s[False], times_s[True]
    return {
        "requests_each": len(alone),
        "alone_s": quantiles(alone),
        "with_job_s": quantiles(beside),
        "p95_ratio": round(float(np.quantile(beside, 0.95) / np.quantile(alone, 0.95)), 3),
        "job_audio_per_s": round(job_audio_s / job_s, 3),
    }


def quantiles(times_s: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.quantile(times_s, share / 100)), 4) for share in (50, 95)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=4, help=f"of {_BLOCK} requests, of each kind (default: 4)")
    parser.add_argument("-c", "--config", type=Path, help="the server's; default: the demo pack")
    args = parser.parse_args()
    draw = random.Random(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(args.config, Path(folder)) as (url, _, _),
        httpx.Client(base_url=url, timeout=300.0) as http,
    ):
        for _ in range(3):
            first_audio_s(http, text_of(draw, 24), "female_calm")
        found = measure(http, args.blocks, draw)
    print(json.dumps(found, indent=2))
    return int(float(str(found["p95_ratio"])) > _LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
