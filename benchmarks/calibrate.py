"""`python -m benchmarks.calibrate`: how fast one replica is, by how many requests share it, for `benchmarks.fleet`.

A server of its own process, bound to its cores, speaks streamed sentences (mode 3) for so many clients as there are to
be requests at once, each asking again when it has its answer. Times are of the client. Adds to the JSON under
`benchmarks/results`, so that parts can be measured one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile

from benchmarks.__main__ import RESULTS, ROOT, commit, machine
from benchmarks.seeded import CONFIG
from tests.unit.storage.conftest import free_port

TEXTS = (
    "请进。",
    "明天下午见。",
    "清晨的阳光洒在湖面上。",
    "今天气温不高，风也很小，适合出门走走。",
    "清晨的阳光洒在安静的湖面上，几只白鹭从远处慢慢飞来。",
    "老人坐在门前的石阶上，手里捧着一杯热茶，听孩子们说学校里发生的事情。",
)
CLIP_S = 5.0
Row = dict[str, float]
_SAID = {"prompt_text": "你好，很高兴见到你。我说话不快，请你慢慢听。", "prompt_lang": "zh"}
# Full-size weights are made from their names, and would end a sentence anywhere.
_SERVE = (
    "from benchmarks.requests import fix_token_counts; fix_token_counts(); from sovits_service.cli import main; main()"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer: seconds to its first audio and to its end, and its seconds of speech."""

    first_s: float
    whole_s: float
    speech_s: float


@contextmanager
def replicas(pack: Path | None, voices: int, cores: list[list[int]]) -> Iterator[tuple[list[str], float]]:
    """The addresses of servers, each bound to its cores, and the seconds until the first was ready."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_voices(Path(folder), voices)
        urls, start_s = [], time.perf_counter()
        for own in cores:
            urls.append(stack.enter_context(_server(pack, Path(folder), own)))
        ready_s = [_wait_until_ready(url) - start_s for url in urls]
        yield urls, ready_s[0]


@contextmanager
def _server(pack: Path | None, folder: Path, cores: list[int]) -> Iterator[str]:
    environment = os.environ | {"SOVITS_REFERENCE_ROOTS": str(folder), "SOVITS_CACHE__BACKEND": "off"}
    environment |= {"SOVITS_LOG_LEVEL": "warning", "SOVITS_RATE_LIMIT": ""}
    environment |= {"SOVITS_GRAPHS_DIR": str(pack / "graphs")} if pack is not None else {}
    environment.pop("OMP_NUM_THREADS", None)  # the service counts the cores that it is bound to
    port = free_port()
    command = [sys.executable, "-c", _SERVE] if pack is not None else [sys.executable, "-m", "sovits_service"]
    command += ["serve", "-p", str(port), *(["-c", str(pack / CONFIG)] if pack is not None else [])]
    command = [
        sys.executable,
        "-c",
        f"import os; os.sched_setaffinity(0, {cores}); os.execv({command[0]!r}, {command})",
    ]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_until_ready(url: str) -> float:
    while True:
        try:
            if httpx.get(f"{url}/ready", timeout=30).status_code == 200:
                return time.perf_counter()
        except httpx.TransportError:
            pass
        time.sleep(0.02)


def write_voices(folder: Path, count: int) -> None:
    """Clips of 5 s that differ: a voice of the project at other speeds."""
    samples, rate_hz = soundfile.read(ROOT / "voices/female_calm.wav", dtype="float32")
    whole = np.resize(samples, int(CLIP_S * 1.2 * rate_hz))
    for number in range(count):
        positions = np.arange(int(CLIP_S * rate_hz)) * (0.9 + 0.3 * number / count)
        soundfile.write(folder / f"v{number}.wav", np.interp(positions, np.arange(len(whole)), whole), rate_hz)


async def ask(http: httpx.AsyncClient, url: str, voice: int, text: int) -> Heard:
    """Stream one sentence."""
    body = {"text": TEXTS[text], "text_lang": "zh", "ref_audio_path": f"v{voice}.wav", "cache": False, **_SAID}
    start_s, first_s, size = time.perf_counter(), 0.0, 0
    body |= {"streaming_mode": 3, "media_type": "raw"}
    async with http.stream("POST", f"{url}/tts", json=body) as answer:
        if answer.status_code != 200:
            raise SystemExit(f"{answer.status_code}: {(await answer.aread()).decode()}")
        async for block in answer.aiter_raw():
            first_s = first_s or time.perf_counter() - start_s
            size += len(block)
        rate_hz = int(answer.headers["x-sample-rate"])
    return Heard(first_s, time.perf_counter() - start_s, size / 2 / rate_hz)


async def share(http: httpx.AsyncClient, url: str, requests: int, wanted: int) -> tuple[list[list[Heard]], float]:
    """So many requests at a time, until `wanted` have been answered; by text, and the seconds that all took.

    A client's first answer does not count, since all clients begin at once.
    """
    heard: list[list[Heard]] = [[] for _ in TEXTS]
    first_s: list[float] = []
    is_over = asyncio.Event()

    async def client(number: int) -> None:
        await ask(http, url, 0, number % len(TEXTS))
        first_s.append(time.perf_counter())
        for turn in itertools.count(number):
            text = (turn + turn // len(TEXTS)) % len(TEXTS)
            heard[text].append(await ask(http, url, 0, text))
            if sum(map(len, heard)) >= wanted:
                is_over.set()

    clients = [asyncio.create_task(client(number)) for number in range(requests)]
    await is_over.wait()
    took_s = time.perf_counter() - first_s[0]
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return heard, took_s


async def measure_rows(url: str, counts: list[int], wanted: int) -> tuple[list[Row], list[float]]:
    """First audio and the rest, at each number of requests at once; and seconds of speech by text."""
    rows: list[Row] = []
    lengths: list[list[Heard]] = []
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as http:
        for text in range(len(TEXTS)):
            lengths.append([await ask(http, url, 0, text)])  # and all is warm
        for count in counts:
            by_text, took_s = await share(http, url, count, max(wanted, 2 * count))
            heard = [answer for answers in by_text for answer in answers]
            lengths = [kept + answers for kept, answers in zip(lengths, by_text, strict=True)]
            speech_s = sum(answer.speech_s for answer in heard)
            rows.append(
                {
                    "requests": count,
                    "answers": len(heard),
                    "first_audio_s": float(np.mean([answer.first_s for answer in heard])),
                    "rest_s": sum(answer.whole_s - answer.first_s for answer in heard) / speech_s,
                    "speech_s_per_s": speech_s / took_s,
                }
            )
            print({name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    return rows, [float(np.mean([answer.speech_s for answer in answers])) for answers in lengths]


async def measure_encoding(url: str, counts: list[int], voices: int) -> list[Row]:
    """How much later first audio comes with a new voice, beside so many requests, itself counted."""
    found = []
    fresh = itertools.count(1)
    async with httpx.AsyncClient(timeout=600) as http:
        for count in counts:
            before = await encoded(http, url)
            others = [asyncio.create_task(_speak_on(http, url)) for _ in range(count - 1)]
            await ask(http, url, 0, 0)
            warm_s, cold_s = [], []
            for number in range(voices):
                warm_s.append((await ask(http, url, 0, number % len(TEXTS))).first_s)
                cold_s.append((await ask(http, url, next(fresh), number % len(TEXTS))).first_s)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            after = await encoded(http, url)
            found.append(
                {
                    "requests": count,
                    "encode_s": float(np.mean(cold_s) - np.mean(warm_s)),
                    "encoder_s": (after[1] - before[1]) / (after[0] - before[0]),
                }
            )
            print({name: round(value, 3) for name, value in found[-1].items()}, flush=True)
    return found


async def _speak_on(http: httpx.AsyncClient, url: str) -> None:
    for turn in itertools.count():
        await ask(http, url, 0, turn % len(TEXTS))


async def encoded(http: httpx.AsyncClient, url: str) -> tuple[float, float]:
    """How many voices a server has encoded, and the seconds that took."""
    text = (await http.get(f"{url}/metrics")).text
    names = ("sovits_engine_prompts_encoded_total", "sovits_engine_prompt_encode_seconds_total")
    values = [re.search(rf"^{name} (\S+)$", text, re.MULTILINE) for name in names]
    assert all(values)
    return tuple(float(value[1]) for value in values if value)  # type: ignore[return-value]


def add(path: Path, model: str, figures: dict[str, object]) -> None:
    """Put figures of a model into the file; of rows and encoding, those of other numbers of requests stay."""
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": {}}
    report |= {"commit": commit(ROOT), "machine": machine()}
    known = report["models"].setdefault(model, {})
    for name, value in figures.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            merged = {row["requests"]: row for row in [*known.get(name, []), *value]}
            value = [merged[count] for count in sorted(merged)]
        known[name] = value
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the file under benchmarks/results")
    parser.add_argument("--pack", type=Path, help="full-size weights, made there if missing; else the demo's")
    parser.add_argument("--cores", type=int, default=1, help="that the server is bound to, from the first")
    parser.add_argument("--requests", type=int, nargs="*", default=[1, 2, 4, 8, 16], help="at once")
    parser.add_argument("--encoding", type=int, nargs="*", default=[1, 4], help="the same, for what a new voice takes")
    parser.add_argument("--answers", type=int, default=24, help="at each of them")
    parser.add_argument("--voices", type=int, default=6, help="new ones, for each number of --encoding")
    args = parser.parse_args()
    model = "demo" if args.pack is None else "full"
    if args.pack is not None:
        subprocess.run([sys.executable, "-m", "benchmarks.seeded", str(args.pack.absolute())], check=True, cwd=ROOT)
    pack = args.pack.absolute() if args.pack is not None else None
    with replicas(pack, 60, [list(range(args.cores))]) as ((url,), start_s):
        path = RESULTS / f"{args.name}.json"
        add(path, model, {"cores": args.cores, "start_s": start_s})
        if args.requests:
            rows, lengths = asyncio.run(measure_rows(url, args.requests, args.answers))
            add(path, model, {"rows": rows, "speech_s": lengths})
        if args.encoding:
            add(path, model, {"encoding": asyncio.run(measure_encoding(url, args.encoding, args.voices))})


if __name__ == "__main__":
    main()
