"""Weights that change while the service runs: who speaks with which, what stays loaded, what is freed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from structlog.testing import capture_logs

from sovits_service.engine.counters import Counters
from sovits_service.engine.device_queue import CudaQueue, set_up_cuda
from sovits_service.errors import CheckpointError, InvalidRequestError, SettingsError
from sovits_service.service import weights as weights_files
from sovits_service.service.build import build_service
from sovits_service.service.device_choice import choose_backend, choose_device
from sovits_service.service.model_store import ModelStore
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import SamplingParams, SynthesisRequest
from tests.engine.recorded_cuda import RecordedCuda
from tests.tiny_pack import write_gpt, write_pack, write_sovits

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
REQUEST = SynthesisRequest(
    text="你好，世界。今天天气很好。",
    text_lang="zh",
    voice_id="tone",
    seed=1,
    sampling=SamplingParams(max_new_tokens=30),
)


def write_voice(folder: Path, voice_id: str, pitch_hz: float = 220.0, **keys: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times_s = np.arange(4 * 16_000) / 16_000
    soundfile.write(folder / f"{voice_id}.wav", 0.3 * np.sin(2 * np.pi * pitch_hz * times_s), 16_000)
    template = {"ref_audio": f"{voice_id}.wav", **keys}
    (folder / f"{voice_id}.yaml").write_text(yaml.safe_dump(template), encoding="utf-8")


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    write_voice(tmp_path / "voices", "tone")
    return ServiceSettings(
        voices_roots=(tmp_path / "voices",),
        bundled_voices=False,
        upload_dir=tmp_path / "uploads",
        weights_roots=(tmp_path / "weights",),
        graphs_dir=tmp_path / "graphs",
        max_models=2,
        max_seq_tokens=400,
    )


@pytest.fixture
def weights(tmp_path: Path) -> Any:
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
async def service(tmp_path: Path, settings: ServiceSettings, weights: Path) -> AsyncIterator[Any]:
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), settings)
    await service.start()
    yield service
    await service.stop(0.0)


async def speak(service: SpeechService, **changes: object) -> np.ndarray:
    synthesis = await service.synthesize(replace(REQUEST, **changes))
    return np.concatenate([chunk.samples async for chunk in synthesis.chunks])


async def test_a_switch_takes_effect_for_later_requests_alone(service: SpeechService, weights: Path) -> None:
    write_sovits(weights / "other.pth", seed=5)
    before = await speak(service)
    running = await service.synthesize(REQUEST)  # its first fragment exists; the second is still to come
    await service.switches.weights(sovits="other.pth")
    finished = np.concatenate([chunk.samples async for chunk in running.chunks])
    np.testing.assert_allclose(finished, before, atol=1e-3)
    after = await speak(service)
    assert after.shape != before.shape or np.abs(after - before).max() > 1e-3


async def test_switching_back_gives_the_same_speech_again(service: SpeechService, weights: Path) -> None:
    write_gpt(weights / "other.ckpt", seed=5)
    before = await speak(service)
    original = str(service._models._gpt_path)
    await service.switches.weights(gpt="other.ckpt")
    assert not np.array_equal(await speak(service), before)
    await service.switches.weights(gpt=original)
    np.testing.assert_allclose(await speak(service), before, atol=1e-3)


async def test_models_on_a_cuda_device_share_its_streams_however_many_are_loaded(
    tmp_path: Path, settings: ServiceSettings, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch has 32 of each priority, and hands them out again; a capture must have its stream to itself."""
    cuda = RecordedCuda()
    monkeypatch.setattr("sovits_service.service.model_store.open_queue", lambda device: CudaQueue(device, cuda))
    on_torch = settings.model_copy(update={"backend": "torch", "max_models": 1})
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), on_torch)
    await service.start()
    try:
        before = await speak(service)
        streams, captures = len(cuda.streams), cuda.captures
        write_sovits(weights / "other.pth", seed=5)
        await service.switches.weights(sovits="other.pth")
        assert cuda.captures == 2 * captures, "each captures the same again"
        assert not cuda.underway
        assert "replay" in cuda.log
        assert len(cuda.streams) == streams
        assert len(await speak(service)) > 0 < len(before)
    finally:
        await service.stop(0.0)


async def test_voices_with_weights_of_their_own_speak_side_by_side(
    service: SpeechService, settings: ServiceSettings, weights: Path
) -> None:
    write_gpt(weights / "a.ckpt", seed=7)
    write_sovits(weights / "a.pth", seed=8)
    write_voice(settings.voices_roots[0], "own", gpt_weights="a.ckpt", sovits_weights="a.pth")
    alone = [await speak(service), await speak(service, voice_id="own")]
    assert alone[0].shape != alone[1].shape or np.abs(alone[0] - alone[1]).max() > 1e-3
    together = await asyncio.gather(*(speak(service, voice_id=voice) for voice in ("tone", "own") * 4))
    for index, speech in enumerate(together):
        np.testing.assert_allclose(speech, alone[index % 2], atol=1e-3)


async def test_a_voice_whose_weights_are_not_registered_is_refused(
    service: SpeechService, settings: ServiceSettings, tmp_path: Path
) -> None:
    write_gpt(tmp_path / "elsewhere.ckpt")
    write_voice(settings.voices_roots[0], "own", gpt_weights=str(tmp_path / "elsewhere.ckpt"))
    with pytest.raises(InvalidRequestError, match="registered"):
        await speak(service, voice_id="own")


async def test_memory_of_old_models_is_freed_over_20_switches(service: SpeechService, weights: Path) -> None:
    names = [f"{n}.pth" for n in range(4)]
    for seed, name in enumerate(names):
        write_sovits(weights / name, seed=seed)
    seen = []
    for turn in range(20):
        await service.switches.weights(sovits=names[turn % 4])
        seen.append(weakref.ref(service._models.current.vits))
        seen.append(weakref.ref(service._models.current.worker))
        await speak(service)
    await asyncio.to_thread(service._engine.stop, 60.0)  # its thread has ended, and with it what the last step held
    gc.collect()
    alive = {id(model) for reference in seen if (model := reference()) is not None}
    assert len(alive) <= 2 * 2  # two pairs may stay: a model and a worker each


async def test_the_pair_that_was_used_longest_ago_leaves_first(service: SpeechService, weights: Path) -> None:
    for name in ("b.pth", "c.pth"):
        write_sovits(weights / name, seed=ord(name[0]))
    first = service._models.current
    await service.switches.weights(sovits="b.pth")
    assert service._models.pair("", "b.pth") is service._models.current
    await service.switches.weights(sovits="c.pth")
    assert len(service._models._loaded.models) == 2
    assert first not in service._models._loaded.models


async def test_room_is_made_before_a_new_model_is_built(
    service: SpeechService, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.pth", "c.pth"):
        write_sovits(weights / name, seed=ord(name[0]))
    await service.switches.weights(sovits="b.pth")
    resident: list[Any] = []
    build = vars(weights_files)["build_sovits"]

    def counted(*args: Any, **keys: Any) -> Any:
        resident.append([model is service._models.current for model in service._models._loaded.models])
        return build(*args, **keys)

    monkeypatch.setattr(weights_files, "build_sovits", counted)
    await service.switches.weights(sovits="c.pth")
    assert resident == [[True]], "the current model stays until the new one has been built, no other does"


GIB = 2**30


@pytest.mark.parametrize(
    ("kv_cache", "device", "free_bytes", "slots"),
    [
        ("fixed", CUDA, 80 * GIB, 16),
        ("auto", CPU, 80 * GIB, 16),
        ("auto", CUDA, 80 * GIB, 64),
        ("auto", CUDA, 3 * GIB, 18),  # 21 without what graphs take
        ("auto", CUDA, 1 * GIB, 1),
    ],
)
def test_the_cache_takes_what_is_free_where_it_is_told_to(
    kv_cache: Any, device: torch.device, free_bytes: Any, slots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServiceSettings(max_running=16, max_seq_tokens=1024, kv_cache=kv_cache, kv_reserve_bytes=2 * GIB)
    models = ModelStore(load_tts_settings(write_pack(tmp_path / "pack")), settings, Counters())
    models._device, models._loader = device, replace(models._loader, dtype=torch.float16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    gpt = SimpleNamespace(config=SimpleNamespace(layers=24, width=512, feed_forward=2048))  # published: 48 KiB a token
    assert models._slots(gpt) == slots


async def test_a_file_that_was_replaced_is_loaded_anew(service: SpeechService, weights: Path) -> None:
    write_sovits(weights / "x.pth", seed=1)
    await service.switches.weights(sovits="x.pth")
    before = await speak(service)
    write_sovits(weights / "x.pth", seed=2)
    await service.switches.weights(sovits="x.pth")
    after = await speak(service)
    assert after.shape != before.shape or np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize("name", ["../secret.pth", "/etc/passwd", "nothing.pth", "a\0b", "x" * 5000])
async def test_a_path_of_a_client_reaches_no_loader(service: SpeechService, tmp_path: Path, name: str) -> None:
    write_sovits(tmp_path / "secret.pth")
    with pytest.raises(InvalidRequestError, match="registered") as refused:
        await service.switches.weights(sovits=name)
    assert str(tmp_path) not in str(refused.value)


async def test_a_damaged_file_leaves_the_current_model_as_it_is(service: SpeechService, weights: Path) -> None:
    before = await speak(service)
    (weights / "bad.pth").write_bytes(b"01\x03\x04 nothing of use")
    with pytest.raises(CheckpointError):
        await service.switches.weights(sovits="bad.pth")
    np.testing.assert_allclose(await speak(service), before, atol=1e-3)


async def test_a_gpt_file_in_place_of_a_sovits_file_is_refused(service: SpeechService, weights: Path) -> None:
    write_gpt(weights / "gpt.pth")
    with pytest.raises(CheckpointError):
        await service.switches.weights(sovits="gpt.pth")


async def test_a_missing_configured_file_stops_the_start_and_is_named(
    tmp_path: Path, settings: ServiceSettings
) -> None:
    config = write_pack(tmp_path / "pack")
    (tmp_path / "pack/gpt.ckpt").unlink()
    (tmp_path / "pack/sovits.pth").unlink()
    service = build_service(load_tts_settings(config), settings)
    with pytest.raises(SettingsError, match=r"gpt\.ckpt[\s\S]*sovits\.pth"):
        await service.start()


def put_card(monkeypatch: pytest.MonkeyPatch, name: str = "NVIDIA GeForce RTX 4090", capability: Any = (8, 9)) -> None:
    """A CUDA card, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(("device", "is_half"), [("cuda", True), ("cuda:1", False), ("cpu", True)])
def test_without_cuda_it_warns_once_and_runs_in_float32_on_the_cpu(
    device: torch.device, is_half: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with capture_logs() as logs:
        assert choose_device(device, is_half=is_half) == (torch.device("cpu"), torch.float32)
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("is_half", [True, False])
def test_auto_takes_what_is_there_without_a_word(is_half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_device("auto", is_half=is_half) == (torch.device("cpu"), torch.float32)
        put_card(monkeypatch)
        dtype = torch.float16 if is_half else torch.float32
        assert choose_device("auto", is_half=is_half) == (torch.device("cuda"), dtype)
    assert logs == []


def test_with_cuda_half_precision_is_taken_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    put_card(monkeypatch)
    assert choose_device("cuda", is_half=True) == (torch.device("cuda"), torch.float16)
    assert choose_device("cuda", is_half=False) == (torch.device("cuda"), torch.float32)


@pytest.mark.parametrize(
    ("name", "capability"), [("NVIDIA GeForce GTX 1660 Ti", (7, 5)), ("NVIDIA GeForce GTX 1080", (6, 1))]
)
def test_a_card_without_usable_half_precision_runs_in_float32_and_says_so(
    name: str, capability: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_card(monkeypatch, name, capability)
    with capture_logs() as logs:
        assert choose_device("cuda:1", is_half=True) == (torch.device("cuda:1"), torch.float32)
    assert [entry["event"] for entry in logs] == ["no_half_on_this_card"]
    assert choose_device("cuda:1", is_half=False) == (torch.device("cuda:1"), torch.float32)


def test_float32_on_cuda_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    try:
        set_up_cuda()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)


async def test_a_first_voice_that_cannot_speak_does_not_prevent_start(
    settings: ServiceSettings, tmp_path: Path
) -> None:
    write_voice(settings.voices_roots[0], "aaa", gpt_weights="gone.ckpt")
    write_voice(settings.voices_roots[0], "tone")
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), settings)
    with capture_logs() as lines:
        await service.start()
    try:
        assert service.is_ready
        assert [(line["voice"], line["reason"]) for line in lines if line["event"] == "warm_up_failed"] == [
            ("aaa", "InvalidRequestError")
        ]
        assert service._engine.stats().counters.tokens > 0  # the next voice did the warming up
    finally:
        await service.stop(0.0)


async def test_a_folder_that_cannot_be_swept_is_counted_and_the_service_starts(
    settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Any, prefix: Any, older_than_s: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(LocalObjects, "sweep", refused)
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), settings)
    await service.start()
    try:
        assert service.is_ready
        assert service.periodic_failures["sweep_objects"] == 1
    finally:
        await service.stop(0.0)


@pytest.mark.parametrize(
    ("keys", "device", "dtype", "expected"),
    [
        ({}, CPU, torch.float32, ("onnx", "int8")),
        ({"precision": "float32"}, CPU, torch.float32, ("onnx", "float32")),
        ({"backend": "onnx", "precision": "int8"}, CPU, torch.float32, ("onnx", "int8")),
        ({"backend": "torch"}, CPU, torch.float32, ("torch", "float32")),
        ({}, CUDA, torch.float16, ("torch", "float16")),
        ({}, CUDA, torch.float32, ("torch", "float32")),
        ({"backend": "torch"}, CUDA, torch.float16, ("torch", "float16")),
        ({"precision": "bfloat16"}, CPU, torch.float32, ("torch", "bfloat16")),
        ({"precision": "bfloat16"}, CUDA, torch.float16, ("torch", "bfloat16")),
    ],
)
def test_back_end_and_precision_follow_the_device_unless_they_are_chosen(
    keys: Any, device: torch.device, dtype: torch.dtype, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_card(monkeypatch)
    assert choose_backend(ServiceSettings(**keys), device, dtype) == expected


@pytest.mark.parametrize(
    ("keys", "device", "advice"),
    [
        ({"backend": "onnx"}, CUDA, "set backend: torch, or device: cpu"),
        ({"precision": "int8"}, CUDA, "set precision: auto"),
        ({"backend": "torch", "precision": "int8"}, CPU, "needs backend: onnx"),
        ({"backend": "onnx", "precision": "bfloat16"}, CPU, "bfloat16 needs backend: torch"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(keys: Any, device: torch.device, advice: Any) -> None:
    with pytest.raises(SettingsError, match=advice):
        choose_backend(ServiceSettings(**keys), device, torch.float32)


def test_a_card_without_bfloat16_goes_on_without_it_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    put_card(monkeypatch, "NVIDIA GeForce RTX 2080 Ti", (7, 5))
    with capture_logs() as logs:
        chosen = choose_backend(ServiceSettings(precision="bfloat16"), CUDA, torch.float16)
    assert chosen == ("torch", "float16")
    assert [entry["event"] for entry in logs] == ["no_bfloat16_on_this_card"]


@pytest.mark.parametrize(("backend", "expected"), [("torch", "torch"), ("auto", "onnx")])
async def test_a_service_speaks_in_either_back_end_and_their_answers_are_not_mixed(
    tmp_path: Path, settings: ServiceSettings, backend: Any, expected: Any
) -> None:
    tts = load_tts_settings(write_pack(tmp_path / "pack"))
    service = build_service(tts, settings.model_copy(update={"backend": backend}))
    assert service.computation == {}
    await service.start()
    try:
        assert service.computation == {"backend": expected, "precision": "float32"}  # 16 wide: no blocks of 32
        assert (await speak(service)).size
        assert any(expected in part for part in (await service.fingerprint(REQUEST)).model_hashes)
    finally:
        await service.stop(0.0)


@pytest.mark.parametrize(
    ("keys", "has_instructions", "dtype"),
    [
        ({}, True, torch.bfloat16),
        ({}, False, torch.float32),
        ({"precision": "float32"}, True, torch.float32),
        ({"backend": "torch"}, True, torch.float32),
    ],
)
async def test_the_generator_is_rounded_where_the_processor_gains_by_it(
    tmp_path: Path,
    settings: ServiceSettings,
    monkeypatch: pytest.MonkeyPatch,
    keys: Any,
    has_instructions: Any,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr("sovits_service.service.model_store.has_bfloat16_instructions", lambda: has_instructions)
    store = ModelStore(load_tts_settings(write_pack(tmp_path / "pack")), settings.model_copy(update=keys), Counters())
    await asyncio.to_thread(store.load_configured)
    assert {weight.dtype for weight in store.current.vits.dec.resblocks.parameters()} == {dtype}
    assert ("bfloat16" in store.current.weights_hash) == (dtype == torch.bfloat16)
