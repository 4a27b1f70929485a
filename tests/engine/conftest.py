"""A tiny model of every part, with random weights, and an engine that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.cores import Threads
from sovits_service.engine.engine import Engine
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import JobOptions
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.onnx.gpt import OnnxGpt, write_graphs
from sovits_service.models.semantic_model import SemanticModel
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import AudioChunk, LanguageRun, ReferenceAudio, SamplingParams, Segment
from tests.tiny_sizes import GPT, HUBERT, VITS

SLOTS = 16
# What a test runs in that asks for it: pytest.mark.parametrize("backend", BACKENDS, indirect=True)
BACKENDS = ("torch-float32", "onnx-float32", "onnx-int8")
CPU = torch.device("cpu")


def _randomised(model: Any, seed: int) -> Any:
    """Weights large enough that different inputs give different outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 / max(1.0, parameter[0].numel() ** 0.5) if parameter.dim() > 1 else 0.1
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def gpt() -> TextToSemantic:
    torch.manual_seed(1)
    return _randomised(TextToSemantic(GPT), 1)


@pytest.fixture(scope="session")
def speakers(gpt: TextToSemantic, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SemanticModel]:
    """The same weights in every back end and precision."""
    models: dict[str, SemanticModel] = {"torch-float32": gpt}
    for precision in ("float32", "int8"):
        folder = tmp_path_factory.mktemp(precision)
        write_graphs(gpt, precision, folder)
        models[f"onnx-{precision}"] = OnnxGpt(folder, precision, threads=1)
    return models


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "torch-float32")


@pytest.fixture
def speaker(speakers: Any, backend: Any) -> SemanticModel:
    return speakers[backend]


@pytest.fixture(scope="session")
def vits() -> Vits:
    torch.manual_seed(2)
    model: Any = Vits(VITS)
    model.remove_weight_norm()
    _randomised(model, 2)
    model.quantizer.vq.layers[0]._codebook.embed.copy_(torch.randn(64, 16, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.fixture(scope="session")
def hubert() -> Hubert:
    torch.manual_seed(3)
    return _randomised(Hubert(HUBERT), 3)


@pytest.fixture
def make_worker(speaker: Any, vits: Vits, hubert: Hubert) -> Any:
    def make(
        engine: Engine, *, slots: int = SLOTS, capacity_tokens: int = 400, is_background: bool = False
    ) -> ModelWorker:
        return ModelWorker(
            SemanticRunner(speaker, slots, capacity_tokens),
            TextFeatures(None, CPU, torch.float32),
            PromptEncoder(vits, hubert, None),
            VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40),
            engine.counters,
            is_background=is_background,
        )

    return make


class WatchedEngine(Engine):
    """An engine that tells tests when its state may have changed, so that they need not look again and again."""

    def __init__(self, *, max_jobs: int, threads: Threads | None = None) -> None:
        super().__init__(max_jobs=max_jobs, threads=threads)
        self._watchers: set[Callable[[], object]] = set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; it is looked at after each round of the loop, and when a place is free."""
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._watchers.add(tell)
        try:
            while not condition():
                await changed.wait()
                changed.clear()
        finally:
            self._watchers.remove(tell)

    def release_places(self, count: int) -> None:
        super().release_places(count)
        self._tell()

    def _take_inbox(self) -> None:  # a round begins, so the one before is over
        self._tell()
        super()._take_inbox()

    def _tell(self) -> None:
        for tell in tuple(self._watchers):
            tell()


@pytest.fixture
def engine() -> Iterator[Any]:
    engine = WatchedEngine(max_jobs=64)
    engine.start()
    yield engine
    engine.stop(0.0)


@pytest.fixture
def worker(engine: Engine, make_worker: Callable[..., ModelWorker]) -> Any:
    return make_worker(engine)


def segment(seed: int, length: int = 12) -> Segment:
    """A sentence of random phonemes."""
    ids = np.random.default_rng(seed).integers(0, GPT.phoneme_vocab, length)
    return Segment((LanguageRun("zh", "字" * length, tuple(ids.tolist()), (1,) * length),))


def voice(seed: int, duration_s: float = 3.0) -> ReferenceAudio:
    """A reference clip with a pitch of its own."""
    times_s = np.arange(int(duration_s * 8_000)) / 8_000
    rng = np.random.default_rng(seed)
    samples = sum(rng.random() * np.sin(2 * np.pi * rng.uniform(100, 2000) * times_s) for _ in range(4)) / 4
    return ReferenceAudio(samples.astype(np.float32), 8_000, f"voice-{seed}")


def options(
    seed: int = 1, *, streaming_mode: int = 0, speed: float = 1.0, max_new_tokens: int | None = 60, **kwargs: int
) -> JobOptions:
    # The random model hardly ever ends by itself.
    sampling = SamplingParams(max_new_tokens=max_new_tokens)
    return JobOptions(sampling, seed=seed, streaming_mode=streaming_mode, speed=speed, **kwargs)


async def collect(chunks: Any) -> list[AudioChunk]:
    return [chunk async for chunk in chunks]


def joined(chunks: list[AudioChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])
