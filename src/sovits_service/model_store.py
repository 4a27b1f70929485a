"""Which models are loaded: configured files in, a lane of the engine out."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from sovits_service.engine.lane import Counters, Lane
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.errors import InvalidRequestError
from sovits_service.models.bert import Bert
from sovits_service.models.checkpoint_encoders import load_bert, load_hubert
from sovits_service.models.checkpoint_models import load_gpt, load_speaker, load_vits
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.spec import VersionSpec
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.settings import ServiceSettings, TtsSettings
from sovits_service.storage.references import find_under
from sovits_service.types import ModelVersion

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A GPT and a SoVITS that speak together, and the lane that runs them.

    Attributes:
        weights_hash: SHA-256 of both files: with it, results of one pair are never taken for another's.
    """

    spec: VersionSpec
    gpt: TextToSemantic
    vits: Vits
    lane: Lane
    weights_hash: str

    @property
    def version(self) -> ModelVersion:
        return self.spec.version


class ModelStore:
    """Loads models and hands out the current one; a switch takes effect for later requests alone.

    A model that is replaced lives on until the last request that uses it has ended.

    Args:
        counters: where the lanes count what they do.
    """

    def __init__(self, tts: TtsSettings, settings: ServiceSettings, counters: Counters) -> None:
        self._tts = tts
        self._settings = settings
        self._counters = counters
        self._lock = threading.Lock()  # one load at a time: a second would hold the weights twice
        self._current: Model | None = None
        self._encoders: tuple[Hubert, Bert | None] | None = None
        self._speaker: ERes2NetV2 | None = None
        self._gpt_path = tts.t2s_weights_path
        self._vits_path = tts.vits_weights_path
        self._device, self._dtype = choose_device(tts.device, is_half=tts.is_half)

    @property
    def current(self) -> Model:
        """The model that new requests get."""
        assert self._current is not None, "load_configured() comes first"
        return self._current

    @property
    def device(self) -> torch.device:
        return self._device

    def load_configured(self) -> None:
        """Load the configured files. Blocks.

        Raises:
            SettingsError: files are missing; all are named.
            CheckpointError: a file cannot be used.
        """
        self._tts.require_files()
        self.switch(self._gpt_path, self._vits_path)

    def switch(self, gpt_path: Path | None = None, vits_path: Path | None = None) -> None:
        """Load other weights and make them current; what is not named stays. Blocks.

        Raises:
            CheckpointError: the file cannot be used; the current model stays.
        """
        with self._lock:
            before = self._current
            gpt = load_gpt(gpt_path, device=self._device, dtype=self._dtype) if gpt_path else self.current.gpt
            vits = load_vits(vits_path, device=self._device, dtype=self._dtype) if vits_path else self.current.vits
            self._gpt_path, self._vits_path = gpt_path or self._gpt_path, vits_path or self._vits_path
            spec = vits.config.spec
            self._current = Model(spec, gpt, vits, self._lane(gpt, vits), self._hash_weights())
            log.info("model_loaded", version=spec.version, device=str(self._device), replaced=before is not None)

    def registered(self, name: str) -> Path:
        """The weights file that a name stands for: a configured one, or one under the weights roots.

        Raises:
            InvalidRequestError: anything else, in the same words whether or not there is such a file.
        """
        configured = {str(path): path for path in (self._tts.t2s_weights_path, self._tts.vits_weights_path)}
        if name in configured:
            return configured[name]
        found = find_under(name, self._settings.weights_roots)
        if found is None:
            raise InvalidRequestError(
                "weights_path is none of the registered files; put the file into a folder of weights_roots "
                "(configs/service.yaml)"
            )
        return found

    def _lane(self, gpt: TextToSemantic, vits: Vits) -> Lane:
        if self._encoders is None:
            self._encoders = self._load_encoders()
        hubert, bert = self._encoders
        speaker = None
        if vits.config.speaker_embedding_channels:
            if self._speaker is None:
                self._speaker = load_speaker(self._tts.sv_path, device=self._device, dtype=self._dtype)
            speaker = self._speaker
        return Lane(
            SemanticRunner(gpt, self._settings.max_running, self._settings.max_seq_tokens),
            TextFeatures(bert, self._device, self._dtype),
            PromptEncoder(vits, hubert, speaker),
            VitsWaveDecoder(vits, vits.config.sampling_rate),
            self._counters,
        )

    def _load_encoders(self) -> tuple[Hubert, Bert | None]:
        hubert = load_hubert(self._tts.cnhuhbert_base_path, device=self._device, dtype=self._dtype)
        bert = None
        if self._tts.bert_base_path is not None:
            bert = load_bert(self._tts.bert_base_path, device=self._device, dtype=self._dtype)
        return hubert, bert

    def _hash_weights(self) -> str:
        digest = hashlib.sha256()
        for path in (self._gpt_path, self._vits_path):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def choose_device(device: str, *, is_half: bool) -> tuple[torch.device, torch.dtype]:
    """The device and dtype that are there: float32 on the CPU in place of CUDA, or of half precision, that is not."""
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        log.warning("no_cuda", advice="device: cuda is configured but torch sees none; going on in float32 on the CPU")
        return torch.device("cpu"), torch.float32
    if wanted.type == "cpu" and is_half:
        log.warning("no_half_on_cpu", advice="is_half: true is for CUDA; going on in float32 on the CPU")
        return wanted, torch.float32
    return wanted, torch.float16 if is_half else torch.float32
