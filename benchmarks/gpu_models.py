"""Models of the published sizes, with random weights made on their device: no file, no download, seconds to build."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.counters import Counters
from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.models.checkpoint import Checkpoint
from sovits_service.models.checkpoint_models import build_gpt, build_sovits, fill, without_weights
from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import V4_VOCODER, Hifigan
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import FloatArray, LanguageRun, ModelVersion, ReferenceAudio, Segment
from tests import tiny_sizes

PREFILL_ROWS = 4  # as on CUDA, also where a CPU stands for it
MANIFESTS = Path(__file__).parents[1] / "tests/data/golden/models"
GPT = GptConfig(width=512, heads=16, layers=24, feed_forward=2048, phoneme_vocab=732, semantic_vocab=1025)


@dataclass(frozen=True, slots=True)
class Maker:
    """Builds models on a device.

    Attributes:
        is_tiny: of sizes for a trial on a CPU.
        queue: of the device, for all models, as in the service.
    """

    device: torch.device
    dtype: torch.dtype
    is_tiny: bool
    queue: DeviceQueue

    def gpt(self, dtype: torch.dtype | None = None) -> TextToSemantic:
        """In the bench's dtype, or another."""
        config = tiny_sizes.GPT if self.is_tiny else GPT
        with without_weights():
            shapes = {key: value.shape for key, value in TextToSemantic(config).state_dict().items()}
        return build_gpt(config, self._state(shapes), device=self.device, dtype=dtype or self.dtype)

    def vits(self, version: ModelVersion = "v2Pro") -> Vits:
        if not self.is_tiny:
            return cast("Vits", self._sovits(version))
        with without_weights():
            model = Vits(tiny_sizes.VITS, weight_norm=False)
        return self._filled(model, "SoVITS")

    def cfm(self) -> tuple[CfmSynthesizer, Hifigan]:
        """v4 and its vocoder."""
        with without_weights():
            vocoder = Hifigan(tiny_sizes.VOCODER if self.is_tiny else V4_VOCODER)
        if not self.is_tiny:
            return cast("CfmSynthesizer", self._sovits("v4")), self._filled(vocoder, "v4 vocoder")
        with without_weights():
            model = CfmSynthesizer(tiny_sizes.CFM)
        return self._filled(model, "SoVITS"), self._filled(vocoder, "v4 vocoder")

    def hubert(self) -> Hubert:
        with without_weights():
            model = Hubert(tiny_sizes.HUBERT if self.is_tiny else {})
        return self._filled(model, "HuBERT")

    def speaker(self) -> ERes2NetV2:
        with without_weights():
            model = ERes2NetV2()
        return self._filled(model, "speaker verification")

    def worker(
        self,
        gpt: TextToSemantic,
        slots: int,
        counters: Counters,
        version: ModelVersion = "v2Pro",
        *,
        is_deterministic: bool = True,
        max_batch: int = 1,
        captures_waves: bool = True,
    ) -> ModelWorker:
        """A worker with models of its own but for the GPT; `max_batch` windows of waves are made together."""
        decoder: Any
        queue = self.queue if captures_waves else None
        if version == "v4":
            model, vocoder = self.cfm()
            encoder = PromptEncoder(model, self.hubert(), None, resample=resample)
            decoder = CfmWaveDecoder(model, vocoder, max_batch=max_batch, queue=queue)
        else:
            vits = self.vits(version)
            speaker = self.speaker() if vits.config.speaker_embedding_channels else None
            encoder = PromptEncoder(vits, self.hubert(), speaker, resample=resample)
            decoder = VitsWaveDecoder(vits, vits.config.sampling_rate, max_batch=max_batch, queue=queue)
        runner = SemanticRunner(
            gpt,
            slots,
            self.capacity_tokens,
            queue=self.queue,
            is_deterministic=is_deterministic,
            prefill_rows=PREFILL_ROWS,
        )
        self.queue.wait()  # until the weights are there
        return ModelWorker(runner, TextFeatures(None, self.device, self.dtype), encoder, decoder, counters)

    @property
    def capacity_tokens(self) -> int:
        return 400 if self.is_tiny else 1024

    def segment(self, seed: int, length: int = 50) -> Segment:
        """A sentence of random phonemes."""
        vocab = (tiny_sizes.GPT if self.is_tiny else GPT).phoneme_vocab
        ids = np.random.default_rng(seed).integers(0, vocab, length)
        return Segment((LanguageRun("zh", "字" * length, tuple(ids.tolist()), (1,) * length),))

    def voice(self, seed: int) -> ReferenceAudio:
        """A clip of 3 s."""
        times_s = np.arange(3 * 32_000) / 32_000
        rng = np.random.default_rng(seed)
        samples = sum(rng.random() * np.sin(2 * np.pi * rng.uniform(100, 4000) * times_s) for _ in range(4)) / 4
        return ReferenceAudio(np.asarray(samples, dtype=np.float32), 32_000, f"voice-{seed}")

    def _sovits(self, version: ModelVersion) -> Vits | CfmSynthesizer:
        manifest = json.loads((MANIFESTS / f"sovits_{version}.json").read_text(encoding="utf-8"))
        shapes = {key: shape for key, (shape, _) in manifest["state_dict"].items()}
        checkpoint = Checkpoint(self._state(shapes), manifest["config"], version)
        return build_sovits(checkpoint, device=self.device, dtype=self.dtype)

    def _filled(self, model: Any, what: str) -> Any:
        shapes = {key: value.shape for key, value in cast("nn.Module", model).state_dict().items()}
        return fill(model, self._state(shapes), what, self.device, self.dtype)

    def _state(self, shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
        """Weights in a scale that keeps activations near 1, as `tools.parity.seeded_tensor` has them."""
        generator = torch.Generator(self.device).manual_seed(0)

        def weight(key: str, shape: tuple[int, ...]) -> Tensor:
            normal = torch.randn(shape, generator=generator, device=self.device)
            if key.endswith(("running_var", "inited", "cluster_size", "weight_g", "original0", "inv_freq")):
                return torch.ones_like(normal)
            if len(shape) >= 2 and not key.endswith("embed"):
                return normal / math.sqrt(math.prod(shape[1:]))
            return 0.05 * normal + (1.0 if key.endswith(("weight", "gamma")) else 0.0)

        return {key: weight(key, tuple(shape)) for key, shape in shapes.items()}


def resample(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """By straight lines: good enough for what is only measured, and without a library."""
    places = np.arange(0, len(samples), from_hz / to_hz)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
