"""`sovits-service serve` from its start to its end, with the shipped model."""

from __future__ import annotations

import io
import re
import signal
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served, run_command, start_server

SENTENCE = {"text": "你好，很高兴认识你。", "text_lang": "zh", "voice_id": "female_calm", "seed": 1}
LONG = {**SENTENCE, "text": "今天天气不错，我们出去走走吧。" * 60, "streaming_mode": 1}
PATIENCE_S = 180.0  # a busy machine is not a failure

Start = Callable[..., Served]


@pytest.fixture
def start(checkout: Path) -> Iterator[Start]:
    """Starts servers that are gone after the test."""
    running: list[Served] = []

    def begin(**variables: str) -> Served:
        running.append(start_server(checkout, variables=variables))
        return running[-1]

    yield begin
    for served in running:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()


def refuses_new_work(served: Served) -> bool:
    return httpx.get(f"{served.url}/ready", timeout=PATIENCE_S).status_code == 503


def test_a_life_from_start_to_sigterm(start: Start) -> None:
    """Alive while it loads, ready when it speaks; SIGTERM refuses new work, finishes what runs, and ends with 0."""
    served = start()
    assert httpx.get(f"{served.url}/health", timeout=PATIENCE_S).status_code == 200
    early = httpx.post(f"{served.url}/tts", json=SENTENCE, timeout=PATIENCE_S)
    assert early.status_code == 503
    assert int(early.headers["Retry-After"]) >= 1
    served.wait_until_ready()
    answer = httpx.post(f"{served.url}/tts", json=SENTENCE, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (32_000, 1, 2)
        assert sound.getnframes() > 16_000
        assert len(answer.content) == 44 + 2 * sound.getnframes()

    refused: list[httpx.Response] = []
    received = 0
    text = "你好，很高兴认识你。今天天气不错，我们出去走走吧。" * 3
    with httpx.stream("POST", f"{served.url}/tts", json={**LONG, "text": text}, timeout=120) as running:
        assert running.status_code == 200
        for data in running.iter_raw():
            received += len(data)
            if not refused:
                served.process.send_signal(signal.SIGTERM)
                served.log.wait_for("draining")
                assert refuses_new_work(served)
                refused.append(httpx.post(f"{served.url}/tts", json=SENTENCE, timeout=PATIENCE_S))
    assert [answer.status_code for answer in refused] == [503]
    assert received > 3 * len(answer.content)
    assert served.process.wait(timeout=60) == 0


def test_control_restarts_and_drains_and_a_second_signal_ends_at_once(start: Start) -> None:
    served = start(SOVITS_ADMIN__ENABLED="true", SOVITS_DRAIN_S="1000")
    assert httpx.get(f"{served.url}/control", params={"command": "restart"}, timeout=PATIENCE_S).json() == {
        "message": "success"
    }
    served.wait_until_listening()
    served.wait_until_ready()
    speaking, broken = threading.Event(), threading.Event()

    def listen_to_the_end() -> None:
        try:
            with httpx.stream("POST", f"{served.url}/tts", json=LONG, timeout=1000) as answer:
                for _ in answer.iter_raw():
                    speaking.set()
        except httpx.TransportError:
            broken.set()

    client = threading.Thread(target=listen_to_the_end)
    client.start()
    assert speaking.wait(120)
    assert httpx.get(f"{served.url}/control", params={"command": "exit"}, timeout=PATIENCE_S).json() == {
        "message": "success"
    }
    assert refuses_new_work(served)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=60) == 0
    client.join(60)
    assert broken.is_set()


def test_it_can_be_ended_while_it_loads(start: Start) -> None:
    assert start().end() == 0


def test_a_damaged_model_is_one_line_and_exit_code_1(checkout: Path) -> None:
    (checkout / "me.pth").write_bytes(b"01\x03\x04 not a checkpoint")
    config = checkout / "configs/tts_infer.yaml"
    text = config.read_text(encoding="utf-8").replace("pretrained_models/demo/sovits.pth", "me.pth")
    config.write_text(text, encoding="utf-8")
    result = run_command(checkout, "serve", "-p", "0")
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "SoVITS" in errors[0]
    assert "Traceback" not in result.stderr


def test_control_is_locked_as_shipped(server: Served) -> None:
    answer = httpx.get(f"{server.url}/control", params={"command": "exit"}, timeout=PATIENCE_S)
    assert answer.status_code == 403
    assert httpx.get(f"{server.url}/ready", timeout=PATIENCE_S).status_code == 200


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_every_streaming_mode_speaks(server: Served, mode: int) -> None:
    request: dict[str, Any] = {**SENTENCE, "streaming_mode": mode, "media_type": "raw"}
    answer = httpx.post(f"{server.url}/tts", json=request, timeout=120)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > 32_000


def test_a_client_that_leaves_frees_its_place(server: Served) -> None:
    def active_requests() -> float:
        found = re.search(
            r"^\S*active_requests (\S+)$", httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text, re.MULTILINE
        )
        assert found is not None
        return float(found[1])

    def speak(request_id: str) -> AbstractContextManager[httpx.Response]:
        body, headers = {**LONG, "seed": 7}, {"X-Request-ID": request_id}
        return httpx.stream("POST", f"{server.url}/tts", json=body, headers=headers, timeout=120)

    for request_id in ("leaves", "comes-after"):
        with speak(request_id) as answer:
            pieces = answer.iter_raw(1024)  # kept: a generator that is thrown away closes the connection
            next(pieces)
            assert answer.status_code == 200
            assert active_requests() == 1
        server.log.wait_for(rf"client gone.*request_id={request_id}\b")


@pytest.mark.parametrize(("flags", "warns"), [((), True), (("--insecure",), False)])
def test_an_open_address_without_keys_asks_for_insecure(checkout: Path, flags: tuple[str, ...], warns: bool) -> None:
    served = start_server(checkout, "-a", "0.0.0.0", *flags)
    assert served.end() == 0
    assert ("--insecure" in served.log.wait_for_end()) is warns
