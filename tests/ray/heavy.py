"""Replicas, Redis and the proxy of a Ray Serve application that die under 30 clients: `make test-ray`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.ray.fleet import (
    CLIENTS,
    ENGINE,
    INGRESS,
    OPTIONS,
    PROXY,
    REQUESTS,
    Fleet,
    Load,
    fleet,
    is_one_of,
    request_for,
)
from tests.unit.storage.conftest import RedisServer, redis_server

redis_server = pytest.fixture(scope="module")(redis_server.__wrapped__)

EVERYWHERE_S = 5.0
ALLOWED = {"right", "refused", "broken"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("ray") / "served", redis_server) as started:
        yield started


def say(running: Fleet, number: int) -> bytes:
    answer = httpx.post(f"{running.url}/tts", json=request_for(number), timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def expected(running: Fleet) -> dict[int, list[bytes]]:
    """What each request is answered while nothing happens. Voices differ."""
    answers = {number: [say(running, number)] for number in range(REQUESTS)}
    assert len({sounds[0] for sounds in answers.values()}) >= REQUESTS // 2
    return answers


def test_a_websocket_speaks_through_the_proxy(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    with connect(running.url.replace("http", "ws") + "/ws/tts") as socket:
        socket.send(json.dumps({"type": "start", "voice_id": "v1", "seed": 2, "text_lang": "zh"}))
        socket.send(json.dumps({"type": "text", "text": str(request_for(1)["text"])}))
        socket.send(json.dumps({"type": "end"}))
        sound = b"".join(message for message in socket if isinstance(message, bytes))
    assert is_one_of(sound, expected[1])


def test_a_client_that_goes_away_ends_its_work(running: Fleet) -> None:
    cancelled = running.metric("sovits_engine_cancelled_total")
    body = request_for(0) | {"text": "这个角色很好。" * 200, "streaming_mode": 1}
    with httpx.stream("POST", f"{running.url}/tts", json=body, timeout=120) as answer:
        next(answer.iter_raw())
    while running.metric("sovits_engine_cancelled_total") == cancelled:
        time.sleep(0.1)
    assert running.metric("sovits_engine_active_requests") == 0


def test_a_job_goes_on_when_its_ingress_and_an_engine_are_killed(running: Fleet) -> None:
    lines = [f"第{number}句话很好。" for number in range(40)]
    asked = {"text": "\n".join(lines), "text_lang": "zh", "voice_id": "v1", "format": "wav"}
    answer = httpx.post(f"{running.url}/jobs", json=asked, timeout=120)
    assert answer.status_code == 201, answer.text
    job_id = answer.json()["id"]

    def job_when(state: str, done: int) -> dict[str, Any]:
        while True:
            try:
                found = httpx.get(f"{running.url}/jobs/{job_id}", timeout=30)
            except httpx.TransportError:
                continue
            if found.status_code == 200:
                job: dict[str, Any] = found.json()
                if job["status"] == state and job["done"] >= done:
                    return job
                assert job["status"] != "failed", job["message"]
            else:
                assert (found.status_code, "retry-after" in found.headers) == (503, True)
            time.sleep(0.1)

    spoken = {f["number"]: f["duration_s"] for f in job_when("running", 5)["fragments"] if f["status"] == "done"}
    running.kill(INGRESS)
    running.kill(ENGINE)
    job = job_when("done", len(lines))
    assert job["failed"] == 0
    assert {number: job["fragments"][number]["duration_s"] for number in spoken} == spoken
    audio = httpx.get(f"{running.url}/jobs/{job_id}/audio", timeout=120)
    assert (audio.status_code, audio.headers["content-type"]) == (200, "audio/wav")
    running.wait_for_replicas(2)


def test_kill_9_of_an_engine(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    with Load(running, expected) as load:
        load.until_right(100)
        killed = running.kill(ENGINE)
        since_s = time.monotonic()
        load.until_right(1)
        answered_s = time.monotonic() - since_s
        while killed in running.pids(ENGINE) or len(running.pids(ENGINE)) < 2:
            time.sleep(0.05)
        running.wait_for_replicas(2)
        recovered_s = time.monotonic() - since_s
        load.until_right(100)
    print(f"engine killed: next answer after {answered_s:.2f} s, two replicas again after {recovered_s:.1f} s")
    print(f"{dict(load.outcomes)}; failures by client {sorted(load.failures.values(), reverse=True)}")
    assert set(load.outcomes) <= ALLOWED
    # Clients of the other replica notice nothing, and nobody is refused again and again.
    assert len(load.failures) < CLIENTS
    assert max(load.failures.values(), default=0) <= 3


def test_kill_9_of_redis(running: Fleet, expected: dict[int, list[bytes]], redis_server: RedisServer) -> None:
    with Load(running, expected) as load:
        load.until_right(60)
        redis_server.stop()
        load.until_right(60)
        redis_server.start()
        load.until_right(60)
    print(f"Redis killed: {dict(load.outcomes)}")
    assert set(load.outcomes) == {"right"}


def test_kill_9_of_an_ingress(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    with Load(running, expected) as load:
        load.until_right(60)
        running.kill(INGRESS)
        since_s = time.monotonic()
        while not load.outcomes["refused"]:
            time.sleep(0.01)
        load.until_right(1)
        print(f"ingress killed: next answer after {time.monotonic() - since_s:.1f} s")
        load.until_right(60)
    print(dict(load.outcomes))
    assert set(load.outcomes) <= ALLOWED


def test_kill_9_of_the_proxy(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    with Load(running, expected) as load:
        load.until_right(60)
        running.kill(PROXY)
        since_s = time.monotonic()
        while not load.outcomes["broken"]:
            time.sleep(0.01)
        load.until_right(1)
        print(f"proxy killed: next answer after {time.monotonic() - since_s:.1f} s")
        load.until_right(60)
    print(dict(load.outcomes))
    assert set(load.outcomes) <= ALLOWED


def test_a_rolling_switch_of_weights(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    before = {number: sounds[0] for number, sounds in expected.items()}
    answer = httpx.get(f"{running.url}/set_gpt_weights", params={"weights_path": "other.ckpt"}, timeout=60)
    assert answer.status_code == 200, answer.text
    time.sleep(EVERYWHERE_S)
    after = {number: say(running, number) for number in range(REQUESTS)}
    assert sum(after[number] != before[number] for number in range(REQUESTS)) > REQUESTS // 2
    both = {number: [before[number], after[number]] for number in range(REQUESTS)}
    with Load(running, both) as load:  # and back, under load: each answer is of the one or of the other
        load.until_right(60)
        answer = httpx.get(
            f"{running.url}/set_gpt_weights", params={"weights_path": str(running.folder / "pack/gpt.ckpt")}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        since_s = time.monotonic()
        while time.monotonic() - since_s < EVERYWHERE_S:
            load.until_right(1)
    assert set(load.outcomes) == {"right"}
    for number in range(REQUESTS):
        assert is_one_of(say(running, number), [before[number]])


def test_replicas_scale_with_speech_and_lose_no_answer(running: Fleet, expected: dict[int, list[bytes]]) -> None:
    few = "min_replicas: 1, upscale_delay_s: 1, downscale_delay_s: 2, queued_speech_s: 8"
    running.deploy(OPTIONS.replace("min_replicas: 2", few))
    running.wait_for_replicas(1)
    with Load(running, expected) as load:
        since_s = time.monotonic()
        running.wait_for_replicas(2)
        print(f"two engines after {time.monotonic() - since_s:.0f} s of load: {dict(load.outcomes)}")
        load.until_right(60)
    with Load(running, expected, clients=2) as later:
        since_s = time.monotonic()
        running.wait_for_replicas(1)
        print(f"one engine {time.monotonic() - since_s:.0f} s after it: {dict(later.outcomes)}")
        later.until_right(10)
    assert set(load.outcomes) == set(later.outcomes) == {"right"}
