"""Two engines, an ingress and a proxy of Ray Serve on this machine, with tiny models: requests, and what kills what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.e2e.conftest import environment
from tests.e2e.tiny_server import clip, write_tiny
from tests.process_log import ProcessLog
from tests.tiny_pack import write_gpt
from tests.unit.storage.conftest import RedisServer, free_port

VOICES, CLIENTS = 6, 30
ENGINE, INGRESS, PROXY = "ServeReplica:sovits:SpeechEngine", "ServeReplica:sovits:SpeechIngress", "ProxyActor"
OPTIONS = """
cluster: {cpus: 4, object_store_bytes: 100000000}
ingress: {cpus: 0.5}
engine: {cpus: 1, min_replicas: 2, max_replicas: 2, health_check_s: 1}
"""
_MARK = "TESTED_FLEET"
_TEXTS = ("这个角色很好。", "今天天气很好。", "我们一起去公园吧。")


@dataclass
class Fleet:
    """A running application.

    Attributes:
        folder: that it was started in.
    """

    process: subprocess.Popen[bytes]
    log: ProcessLog
    folder: Path
    url: str
    variables: dict[str, str]

    def deploy(self, options: str) -> None:
        """The same application with other options, as `serve run` does it; returns when it is deployed."""
        (self.folder / "ray.yaml").write_text(options, encoding="utf-8")
        args = {"config": str(self.folder / "pack/tts_infer.yaml"), "ray_config": str(self.folder / "ray.yaml")}
        code = (
            "import ray; from ray import serve; from sovits_service.ray_app import app\n"
            f"ray.init(address='auto', log_to_driver=False); serve.run(app({args}), name='sovits', route_prefix='/')"
        )
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self.variables, check=True, timeout=120)

    def pids(self, title: str) -> list[int]:
        """The processes of this fleet with a title of Ray's."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                is_ours = f"{_MARK}={self.folder}".encode() in (entry / "environ").read_bytes()
                if is_ours and title.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue
        return sorted(found)

    def kill(self, title: str) -> int:
        """`kill -9` of one of them."""
        pid = self.pids(title)[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def metric(self, name: str) -> float:
        """One number of /metrics; 0 where it is not there."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def wait_for_replicas(self, count: int) -> None:
        """Until an ingress knows so many engines that are ready."""
        while True:
            try:
                if self.metric("sovits_engine_replicas") == count:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)


@contextmanager
def fleet(
    folder: Path, redis: RedisServer, options: str = OPTIONS, replicas: int = 2, voices: int = VOICES
) -> Iterator[Fleet]:
    """Starts one in a new folder; ends it and all its processes."""
    config = write_tiny(folder)
    write_gpt(config.parent / "other.ckpt", seed=5)
    for number in range(voices):
        (folder / f"voices/v{number}.wav").write_bytes(clip(number))
        (folder / f"voices/v{number}.yaml").write_text(f"ref_audio: v{number}.wav\n", encoding="utf-8")
    (folder / "ray.yaml").write_text(options, encoding="utf-8")
    port = free_port()
    variables = environment() | {
        _MARK: str(folder),
        "SOVITS_BUNDLED_VOICES": "false",
        "SOVITS_MAX_SEQ_TOKENS": "80",
        "SOVITS_ADMIN__ENABLED": "true",
        "SOVITS_WEIGHTS_ROOTS": str(config.parent),
        "SOVITS_SHARING__REDIS_URL": redis.url,
        "SOVITS_CACHE__BACKEND": "redis",
        "SOVITS_CACHE__REDIS_URL": redis.url,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-m", "sovits_service", "serve", "--ray", "--ray-config", "ray.yaml"]
    process = subprocess.Popen(
        [*command, "-c", str(config), "-p", str(port)], cwd=folder, stderr=subprocess.PIPE, env=variables
    )
    assert process.stderr is not None
    started = Fleet(process, ProcessLog(process.stderr), folder, f"http://127.0.0.1:{port}", variables)
    try:
        started.log.wait_for(r"listening on http")
        started.wait_for_replicas(replicas)
        yield started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            for pid in started.pids(""):  # none, where it ended well
                os.kill(pid, signal.SIGKILL)


def request_for(number: int) -> dict[str, object]:
    """One of 36 requests: a voice, a text, whole or streamed."""
    return {
        "text": _TEXTS[number // VOICES % len(_TEXTS)],
        "text_lang": "zh",
        "voice_id": f"v{number % VOICES}",
        "seed": 1 + number % VOICES,
        "media_type": "raw",
        "cache": False,
        "streaming_mode": number // (VOICES * len(_TEXTS)) % 2,
    }


REQUESTS = 2 * VOICES * len(_TEXTS)


@dataclass
class Load:
    """What clients got who ask again and again.

    Attributes:
        expected: all answers that are right, by request.
        outcomes: how often each came: `right`, `refused` (503 with Retry-After), `broken` (the connection), or another.
        failures: of each client, refusals and broken connections.
    """

    fleet: Fleet
    expected: dict[int, list[bytes]]
    clients: int = CLIENTS
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[int] = field(default_factory=Counter)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def until_right(self, more: int) -> None:
        """Until so many more answers were right."""
        goal = self.outcomes["right"] + more
        while self.outcomes["right"] < goal:
            time.sleep(0.02)

    def _ask(self, client: int) -> None:
        with httpx.Client(base_url=self.fleet.url, timeout=120) as http:
            turn = client
            while not self._is_over.is_set():
                turn += 7
                outcome = self._one(http, turn % REQUESTS)
                self.outcomes[outcome] += 1
                if outcome in ("refused", "broken"):
                    self.failures[client] += 1
                    time.sleep(0.2)

    def _one(self, http: httpx.Client, number: int) -> str:
        try:
            answer = http.post("/tts", json=request_for(number))
        except httpx.TransportError:
            return "broken"
        if answer.status_code == 503 and "retry-after" in answer.headers:
            return "refused"
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:200]}"
        return "right" if is_one_of(answer.content, self.expected[number]) else "wrong"


def is_one_of(sound: bytes, expected: list[bytes]) -> bool:
    """Whether a sound is one of these but for the last bit of its samples, which company may change."""
    import numpy as np

    samples = np.frombuffer(sound, "<i2").astype(int)
    candidates = [np.frombuffer(one, "<i2").astype(int) for one in expected if len(one) == len(sound)]
    return any(np.abs(samples - one).max(initial=0) <= 33 for one in candidates)
