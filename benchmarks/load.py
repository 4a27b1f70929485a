"""`python -m benchmarks.load`: many clients on the HTTP layer over a real server; a JSON report, and 1 where it broke.

The engine is the tests' fast one, in which each character is a tone of its voice: a client hears whether the answer is
its own. The server is a process of its own, so that its memory is seen alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from tests.api.fast_service import CHARACTER_S, RATE_HZ, FastService, heard, pitch_hz

PLACES = 80  # as max_running 16 and max_queue 64
PACE_S = 0.01  # of a chunk
VOICES = ("amy", "bob", "eve", "dan")
_LEAVES, _REPEATS, _STREAMS = 0.03, 0.3, 0.5  # shares of the requests
_LETTERS = "abcdefghijkmnopqrstuvwxyz"
_PITCH_TOLERANCE_HZ = 8.0
_GROWTH_BYTES = 30 * 2**20


def serve() -> None:
    """The server's process: prints its address, and runs until it is ended."""
    import uvicorn

    from sovits_service.api.app import create_app
    from sovits_service.api.connections import server_config
    from sovits_service.settings import ServiceSettings
    from sovits_service.storage.results.disk_cache import DiskCache
    from sovits_service.telemetry import configure_logging
    from sovits_service.types import Voice

    configure_logging("error", "json")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener, tempfile.TemporaryDirectory() as folder:
        voices = {name: Voice(name, f"{name}.wav", "hello", "en") for name in VOICES}
        service = FastService(templates=voices, places=PLACES, pace_s=PACE_S, keeps_requests=False)
        service.results = DiskCache(Path(folder), 4 * 2**20)  # small, so that answers are evicted
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        settings = ServiceSettings()
        uvicorn.Server(server_config(create_app(service, settings), settings)).run(sockets=[listener])


@dataclass
class Tally:
    """What all clients saw.

    Attributes:
        lost: requests that got no whole answer, though their client stayed.
        mixed: answers in which another text or voice was heard.
        left: requests that their client abandoned on purpose.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    caches: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    mixed: int = 0
    left: int = 0
    refused_without_advice: int = 0
    audio_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.statuses.total() + self.lost + self.left


async def converse(url: str, draw: random.Random, tally: Tally, done: asyncio.Event) -> None:
    """One client with a connection of its own."""
    async with httpx.AsyncClient(base_url=url, timeout=120.0) as http:
        while not done.is_set():
            voice, text = draw.choice(VOICES), "".join(draw.choices(_LETTERS, k=draw.randint(3, 12)))
            body: dict[str, object] = {"text_lang": "en", "voice_id": voice, "media_type": "raw", "cache": False}
            if draw.random() < _REPEATS:
                text = f"again{draw.choice(_LETTERS)}"
                body |= {"seed": 1, "cache": True}
            body |= {"text": text, "streaming_mode": 1 if draw.random() < _STREAMS else 0}
            if draw.random() < _LEAVES:
                await leave(http, body)
                tally.left += 1
                continue
            started_s = time.perf_counter()
            try:
                answer = await http.post("/tts", json=body)
            except httpx.TransportError:
                tally.lost += 1
                continue
            tally.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                tally.times_s.append(time.perf_counter() - started_s)
                tally.caches[answer.headers["x-cache"]] += 1
                tally.audio_s += len(text) * CHARACTER_S
                tally.mixed += not is_own(answer.content, voice, text)
            elif answer.status_code == 503:
                tally.refused_without_advice += int(answer.headers.get("retry-after", "0")) < 1
                await asyncio.sleep(draw.uniform(0.1, 0.5))  # a client that heeds Retry-After would wait longer


async def leave(http: httpx.AsyncClient, body: dict[str, object]) -> None:
    """Ask for a stream and go away at its first bytes."""
    async with http.stream("POST", "/tts", json={**body, "text": "x" * 50, "streaming_mode": 1}) as answer:
        if answer.status_code == 200:
            async for _ in answer.aiter_raw():
                return


def is_own(content: bytes, voice: str, text: str) -> bool:
    samples = np.frombuffer(content, "<i2") / 32768
    expected = [pitch_hz(voice, character) for character in text]
    if len(samples) != int(len(text) * CHARACTER_S * RATE_HZ):
        return False
    return all(
        abs(found - wanted) <= _PITCH_TOLERANCE_HZ
        for found, wanted in zip(heard(samples, len(text)), expected, strict=True)
    )


async def watch(url: str, pid: int, tally: Tally) -> None:
    """Look at the server once: work in it, and its memory."""
    async with httpx.AsyncClient(timeout=120.0) as http:
        text = (await http.get(f"{url}/metrics")).text
    found = re.search(r"^sovits_engine_active_requests (\S+)$", text, re.MULTILINE)
    assert found is not None
    tally.active.append(int(float(found[1])))
    tally.resident_bytes.append(resident_bytes(pid))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def load(url: str, pid: int, clients: int, seconds: float, requests: int) -> Tally:
    """All clients, until the time is over or so many requests were made, whichever is given."""
    tally, done = Tally(), asyncio.Event()
    started_s = time.perf_counter()
    talking = [asyncio.create_task(converse(url, random.Random(number), tally, done)) for number in range(clients)]
    while not done.is_set():
        await watch(url, pid, tally)
        await asyncio.sleep(0.2)
        is_over = tally.requests >= requests if requests else time.perf_counter() - started_s >= seconds
        if is_over or any(task.done() for task in talking):
            done.set()
    await asyncio.gather(*talking)
    while tally.active[-1]:  # what clients left behind ends by itself
        await watch(url, pid, tally)
    return tally


def report(tally: Tally, clients: int, took_s: float) -> dict[str, object]:
    settled = tally.resident_bytes[len(tally.resident_bytes) // 3]
    times_ms = sorted(1e3 * value for value in tally.times_s)
    figures: dict[str, object] = {
        "clients": clients,
        "seconds": round(took_s, 1),
        "requests": tally.requests,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "cache": dict(sorted(tally.caches.items())),
        "lost": tally.lost,
        "mixed": tally.mixed,
        "left": tally.left,
        "refused_without_retry_after": tally.refused_without_advice,
        "most_active": max(tally.active),
        "places": PLACES,
        "median_ms": round(times_ms[len(times_ms) // 2], 1),
        "p95_ms": round(times_ms[len(times_ms) * 95 // 100], 1),
        "audio_s_per_s": round(tally.audio_s / took_s, 1),
        "memory_mb": round(tally.resident_bytes[-1] / 2**20, 1),
        "memory_growth_mb": round((tally.resident_bytes[-1] - settled) / 2**20, 1),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    figures["holds"] = (
        tally.lost == tally.mixed == tally.refused_without_advice == 0
        and set(tally.statuses) <= {200, 503}
        and max(tally.active) <= PLACES
        and tally.resident_bytes[-1] - settled < _GROWTH_BYTES
    )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=0, help="end after so many, in place of --seconds")
    parser.add_argument("--serve", action="store_true", help="be the server")
    args = parser.parse_args()
    if args.serve:
        serve()
        return 0
    command = [sys.executable, "-m", "benchmarks.load", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            wait_until_it_answers(url)
            started_s = time.perf_counter()
            tally = asyncio.run(load(url, server.pid, args.clients, args.seconds, args.requests))
            figures = report(tally, args.clients, time.perf_counter() - started_s)
        finally:
            server.kill()
    print(json.dumps(figures, indent=1))
    return 0 if figures["holds"] else 1


def wait_until_it_answers(url: str) -> None:
    """The port is open before the application is up."""
    httpx.get(f"{url}/health", timeout=120).raise_for_status()


if __name__ == "__main__":
    sys.exit(main())
