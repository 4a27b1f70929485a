"""The guard over HTTP with the shipped model: what a client is told, what is cached, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served
from tests.e2e.test_say import say

TEXT = "今天天气很好，我们去公园走走。"  # two fragments


def ask(server: Served, **changes: Any) -> httpx.Response:
    body = {"text": TEXT, "text_lang": "zh", "voice_id": "female_calm", "seed": 3, "cache": False, **changes}
    return httpx.post(f"{server.url}/tts", json=body, timeout=300)


def metric(server: Served, name: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith(f"{name} ")]
    return float(value)


def test_off_looks_at_nothing_and_flag_gives_the_same_bytes(server: Served) -> None:
    before = metric(server, "sovits_engine_takes_total")
    off, flag = ask(server), ask(server, guard="flag")
    assert "x-takes" not in off.headers
    assert flag.headers["x-takes"] == "2"
    assert flag.content == off.content
    assert metric(server, "sovits_engine_takes_total") == before + 2
    assert metric(server, "sovits_engine_takes_missing_total") >= 0


def test_candidates_are_all_taken_and_the_same_again(server: Served) -> None:
    once, again = (ask(server, candidates=3) for _ in range(2))
    assert once.status_code == 200
    assert once.headers["x-takes"] == "6"
    assert once.content == again.content


@pytest.mark.parametrize("mode", [0, 1])
def test_a_prompt_that_leaks_is_reported_and_taken_again(server: Served, mode: int) -> None:
    """A transcript that the clip does not say makes the model read it too, in one fragment or another."""
    wrong = "这段话和录音里说的完全不是一回事，而且长得多，后面还有很多很多的字。"
    found = [
        ask(
            server,
            guard="retry",
            seed=seed,
            prompt_text=wrong,
            prompt_lang="zh",
            timestamps="word",
            streaming_mode=mode,
        )
        for seed in range(3)
    ]
    for answer in found:
        assert answer.status_code == 200
        said = answer.json() if mode == 0 else _last_event(answer.text)
        assert said["takes"] >= 2
        assert all(fault["fragment"] in (0, 1) for fault in said["faults"])
        if mode == 0:
            assert ("fragment" in answer.headers.get("x-warnings", "")) == bool(said["faults"])


def _last_event(events: str) -> dict[str, Any]:
    name, data = events.strip().split("\n\n")[-1].split("\n", 1)
    assert name == "event: done"
    content: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return content


def test_each_mode_has_a_place_of_its_own_in_the_cache(server: Served) -> None:
    states = [
        ask(server, cache=True, seed=77, **fields).headers["x-cache"]
        for fields in ({}, {"guard": "flag"}, {"guard": "flag"}, {"candidates": 2}, {"guard": "off"})
    ]
    assert states == ["miss", "miss", "hit", "miss", "hit"]
    kept = ask(server, cache=True, seed=77, guard="flag")
    assert kept.headers["x-cache"] == "hit"
    assert kept.headers["x-takes"] == "2"


def test_the_guard_may_be_unquoted_off(server: Served) -> None:
    assert ask(server, guard=False).status_code == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guard": "always"}, "guard must be off, flag or retry"),
        ({"guard": 3}, "guard must be off, flag or retry"),
        ({"guard": True}, "guard must be off, flag or retry"),
        ({"candidates": 0}, "candidates"),
        ({"candidates": 9}, "candidates"),
    ],
)
def test_what_cannot_be_asked_is_refused(server: Served, fields: dict[str, Any], message: str) -> None:
    answer = ask(server, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_say_takes_a_mode(checkout: Path) -> None:
    result = say(checkout, TEXT, "--guard", "retry", "--seed", "3", "-o", "guarded.wav")
    assert result.returncode == 0, result.stderr
    assert (checkout / "guarded.wav").stat().st_size > 50_000
    result = say(checkout, TEXT, "--guard", "always", "-o", "refused.wav")
    assert result.returncode != 0
    assert "guard must be off, flag or retry" in result.stderr
