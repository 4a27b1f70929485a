"""The pairs of weights that stay loaded, by number and by bytes; the one used longest ago leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from torch import nn

from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.reference_checker import ReferenceChecker
from sovits_service.models.semantic_model import SemanticModel
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.spec import VersionSpec
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import ModelVersion

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file as it was when it was looked at: another file under the same name is another one."""

    path: Path
    modified_ns: int
    size_bytes: int

    @classmethod
    def at(cls, path: Path) -> WeightsFile:
        status = path.stat()
        return cls(path, status.st_mtime_ns, status.st_size)


Pair = tuple[WeightsFile, WeightsFile]  # of a GPT and a SoVITS


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A GPT and a SoVITS that speak together, and the worker that runs them.

    Attributes:
        background_worker: for what nobody waits for; it is made at the first call, which takes memory and time.
        checker: of reference clips.
        weights_hash: of both files, and how they are computed: with it, results of one pair, or of another back end
            or precision, are never taken for another's.
        cache_bytes: what the worker's KV cache and graphs take from the start; on a CPU nothing, since it grows with
            what runs.
    """

    gpt: SemanticModel
    vits: Vits | CfmSynthesizer
    worker: ModelWorker
    background_worker: Callable[[], ModelWorker]
    checker: ReferenceChecker
    weights_hash: str
    cache_bytes: int

    @property
    def spec(self) -> VersionSpec:
        return self.vits.config.spec

    @property
    def version(self) -> ModelVersion:
        return self.spec.version

    @property
    def can_super_sample(self) -> bool:
        return isinstance(self.worker.decoder, CfmWaveDecoder) and self.worker.decoder.super_sampler is not None

    @property
    def parts(self) -> list[tuple[Any, int]]:
        """What of it takes memory, and how many bytes. Pairs may share a part."""
        return [
            (self.gpt, self.gpt.weights_bytes),
            (self.vits, weights_bytes(self.vits)),
            (self.worker, self.cache_bytes),
        ]


class LoadedModels:
    """The loaded pairs, in the order of their last use.

    Args:
        max_models: pairs that stay.
        max_bytes: that they take together; 0 sets no bound. A pair that is needed is loaded however large it is.
    """

    def __init__(self, max_models: int, max_bytes: int) -> None:
        self._max_models = max_models
        self._max_bytes = max_bytes
        self._models: OrderedDict[Pair, Model] = OrderedDict()

    @property
    def models(self) -> list[Model]:
        """Used longest ago first."""
        return list(self._models.values())

    @property
    def size_bytes(self) -> int:
        """Of weights and caches; a part that several pairs share counts once."""
        return sum({id(part): size for model in self.models for part, size in model.parts}.values())

    def get(self, pair: Pair) -> Model | None:
        """The model of a pair, which is in use now."""
        if pair in self._models:
            self._models.move_to_end(pair)
        return self._models.get(pair)

    def add(self, pair: Pair, model: Model) -> None:
        self._models[pair] = model

    def make_room(self, needed_bytes: int = 0, *, models: int = 0, keep: Collection[Model | None]) -> None:
        """Forget models until so many more, of so many bytes together, may be loaded; never those to `keep`."""
        for pair, model in list(self._models.items()):
            if self._fits(needed_bytes, models):
                return
            if model not in keep:
                del self._models[pair]
        if self._max_bytes and self.size_bytes > self._max_bytes:
            log.warning(
                "models_exceed_max_models_bytes", bytes=self.size_bytes, advice="raise it; nothing more can be unloaded"
            )

    def _fits(self, needed_bytes: int, models: int) -> bool:
        has_room = not self._max_bytes or self.size_bytes + needed_bytes <= self._max_bytes
        return has_room and len(self._models) + models <= self._max_models


def weights_bytes(model: nn.Module) -> int:
    """What parameters and buffers of a module take."""
    tensors: Iterable[Any] = (*model.parameters(), *model.buffers())
    return sum(tensor.nbytes for tensor in tensors)
