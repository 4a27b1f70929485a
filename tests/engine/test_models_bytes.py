"""`max_models_bytes`: how much memory loaded pairs of weights may take, and that nobody who speaks is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from sovits_service.service.build import build_service
from sovits_service.service.loaded_models import LoadedModels
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from tests.engine.test_model_store import REQUEST, settings, speak, weights, write_voice  # noqa: F401 - fixtures
from tests.tiny_pack import write_pack, write_sovits

NAMES = ("b.pth", "c.pth", "d.pth", "e.pth")


def pair_of(*parts: Any) -> Any:
    """A loaded pair that takes so much: (name, bytes) each."""
    return SimpleNamespace(parts=list(parts))


def test_the_pair_used_longest_ago_leaves_until_the_others_fit() -> None:
    loaded = LoadedModels(10, 100)
    pairs = {name: pair_of((name, size)) for name, size in (("a", 40), ("b", 30), ("c", 20))}
    for name, pair in pairs.items():
        loaded.add(name, pair)
    assert loaded.size_bytes == 90
    assert loaded.get("a") is pairs["a"]
    loaded.make_room(30, models=1, keep=[])
    assert loaded.models == [pairs["c"], pairs["a"]]
    loaded.make_room(100, models=1, keep=[pairs["c"]])
    assert loaded.models == [pairs["c"]], "what is kept stays, whether the new one fits or not"


def test_what_pairs_share_counts_once() -> None:
    gpt, loaded = SimpleNamespace(), LoadedModels(10, 100)
    first, second = pair_of((gpt, 60), ("x", 20)), pair_of((gpt, 60), ("y", 20))
    loaded.add("first", first)
    loaded.add("second", second)
    assert loaded.size_bytes == 100
    loaded.make_room(keep=[second])
    assert loaded.models == [first, second]
    loaded.make_room(20, models=1, keep=[second])
    assert loaded.models == [second]


def test_without_a_bound_bytes_do_not_count() -> None:
    loaded = LoadedModels(2, 0)
    for name in "ab":
        loaded.add(name, pair_of((name, 10**15)))
    loaded.make_room(10**15, keep=[])
    assert len(loaded.models) == 2
    loaded.make_room(models=1, keep=[])
    assert len(loaded.models) == 1


@pytest.fixture
async def start(tmp_path: Path, settings: ServiceSettings, weights: Path) -> AsyncIterator[Any]:  # noqa: F811
    """A service with a bound in bytes, as so many times what its first pair takes."""
    for seed, name in enumerate(NAMES):
        write_sovits(weights / name, seed=seed + 5)
    tts, services = load_tts_settings(write_pack(tmp_path / "pack")), []

    async def started(max_bytes: Any) -> Any:
        service = build_service(tts, settings.model_copy(update={"max_models": 9, "max_models_bytes": max_bytes}))
        services.append(service)
        await service.start()
        return service

    yield started
    for service in services:
        await service.stop(0.0)


async def first_sizes(start: Any) -> Any:
    """What a GPT and a SoVITS take."""
    (_, gpt_bytes), (_, sovits_bytes), _ = (await start(0))._models.current.parts
    assert gpt_bytes > 0
    assert sovits_bytes > 0
    return gpt_bytes, sovits_bytes


async def test_pairs_that_share_a_gpt_stay_as_long_as_their_bytes_allow(start: Any) -> None:
    gpt_bytes, sovits_bytes = await first_sizes(start)
    service = await start(gpt_bytes + 3 * sovits_bytes)
    for name in NAMES:
        await service.switches.weights(sovits=name)
        loaded = service._models._loaded
        assert loaded.size_bytes <= gpt_bytes + 3 * sovits_bytes
        assert service._models.current in loaded.models
    assert 2 <= len(loaded.models) <= 3
    assert all(model.gpt is service._models.current.gpt for model in loaded.models)


async def test_a_pair_larger_than_the_bound_is_loaded_alone(start: Any) -> None:
    with capture_logs() as logs:
        service = await start(1)
        before = await speak(service)
        await service.switches.weights(sovits="b.pth")
    assert len(service._models._loaded.models) == 1
    assert before.size
    assert (await speak(service)).size
    assert {entry["log_level"] for entry in logs if entry["event"] == "models_exceed_max_models_bytes"} == {"warning"}


async def test_a_switch_that_unloads_a_pair_does_not_interrupt_who_speaks_with_it(start: Any) -> None:
    service = await start(1)
    before = await speak(service)
    speaking = service._models.current
    running = await service.synthesize(REQUEST)  # its first fragment is there; the second is still to come
    for name in NAMES:
        await service.switches.weights(sovits=name)
    assert speaking not in service._models._loaded.models
    finished = np.concatenate([chunk.samples async for chunk in running.chunks])
    np.testing.assert_allclose(finished, before, atol=1e-3)


async def test_voices_with_pairs_of_their_own_take_turns_in_a_bound_that_holds_one(
    start: Any,
    settings: ServiceSettings,  # noqa: F811
) -> None:
    for name in NAMES[:2]:
        write_voice(settings.voices_roots[0], name[0], sovits_weights=name)
    service = await start(1)
    current = service._models.current
    alone = [await speak(service, voice_id=voice) for voice in "bc"]
    assert current in service._models._loaded.models, "the current pair stays while voices need others"
    assert len(service._models._loaded.models) == 2
    together = await asyncio.gather(*(speak(service, voice_id=voice) for voice in "bcbc"))
    for index, speech in enumerate(together):
        np.testing.assert_allclose(speech, alone[index % 2], atol=1e-3)
