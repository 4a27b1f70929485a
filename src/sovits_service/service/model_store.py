"""Loaded models: builds the engine's workers from configured files, and evicts the least recently used."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog
import torch

from sovits_service.cores import choose_threads
from sovits_service.engine.aligner import Aligner
from sovits_service.engine.cfm_decoder import CfmWaveDecoder
from sovits_service.engine.counters import Counters
from sovits_service.engine.device_queue import open_queue, set_up_cuda
from sovits_service.engine.guard import Guard
from sovits_service.engine.judge import Judge
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.reference_checker import ReferenceChecker
from sovits_service.engine.semantic_runner import SemanticRunner, captured_bytes
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder, WaveDecoder, windows_together
from sovits_service.errors import CheckpointError, InvalidRequestError
from sovits_service.models.checkpoint_models import load_speaker, load_super_sampler
from sovits_service.models.gpt import GptConfig
from sovits_service.models.onnx.loading import ModelLoader
from sovits_service.models.onnx.store import GraphStore
from sovits_service.models.semantic_model import ContentEncoder, SemanticModel, TextEncoder
from sovits_service.models.sovits.bigvgan import BigVgan
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.text_attention import text_attention
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.models.super_sampling import SuperSampler
from sovits_service.native_memory import return_free_memory
from sovits_service.service.device_choice import choose_backend, choose_device, has_bfloat16_instructions
from sovits_service.service.loaded_models import LoadedModels, Model, Pair, WeightsFile
from sovits_service.service.weights import load_sovits, load_vocoder
from sovits_service.settings import ServiceSettings
from sovits_service.storage.head_choices import HeadChoices
from sovits_service.storage.voices.clip_names import find_under
from sovits_service.text.symbols import pause_ids
from sovits_service.threads import run_in
from sovits_service.tts_settings import TtsSettings
from sovits_service.types import ModelVersion, Voice

log = structlog.get_logger(__name__)
_MAX_AUTO_SLOTS = 64  # each step on CUDA spans all of them


class ModelStore:
    """Loads pairs of weights and keeps the latest used ones.

    A request holds the model that it began with: what is evicted or replaced meanwhile lives on until its last request
    has ended, and then frees its memory.

    Args:
        counters: where the workers count what they do.

    Attributes:
        pool: one thread, for the methods that block.
        configuration_hash: of the files that are configured and of this release: with it, answers of one configuration
            are never taken for another's.
    """

    def __init__(self, tts: TtsSettings, settings: ServiceSettings, counters: Counters) -> None:
        self._tts = tts
        self._settings = settings
        self._counters = counters
        # Apart from asyncio's own pool, which has the short work on files: loading weights does not stop that.
        self.pool = ThreadPoolExecutor(1, "sovits-models")
        release = importlib.metadata.version("sovits-service")
        self.configuration_hash = hashlib.sha256((release + tts.model_dump_json()).encode()).hexdigest()
        self._lock = threading.Lock()  # one load at a time: a second would hold the weights twice
        self._loaded = LoadedModels(settings.max_models, settings.max_models_bytes)
        self._gpts: WeakValueDictionary[WeightsFile, SemanticModel] = WeakValueDictionary()
        self._vits: WeakValueDictionary[WeightsFile, Vits | CfmSynthesizer] = WeakValueDictionary()
        self._encoders: tuple[ContentEncoder, TextEncoder | None] | None = None
        self._speaker: ERes2NetV2 | None = None
        self._vocoders: dict[ModelVersion, BigVgan | Hifigan] = {}
        self._gpt_path = tts.t2s_weights_path
        self._vits_path = tts.vits_weights_path
        self._current: Model | None = None
        self._device, self._dtype = choose_device(tts.device, is_half=tts.is_half and settings.precision != "float32")
        if self._device.type == "cuda":
            set_up_cuda()
        self._queue = open_queue(self._device)
        threads = choose_threads(settings.threads)
        if threads is not None:
            torch.set_num_threads(threads.beside)
        backend, precision = choose_backend(settings, self._device, self._dtype)
        self._uses_bfloat16 = precision == "int8" and has_bfloat16_instructions()
        store = GraphStore(settings.graphs_dir, settings.graphs_max_bytes)
        self._digests = store.digests
        self._head_choices = HeadChoices(settings.graphs_dir / "alignment_heads.json")
        self._loader = ModelLoader(
            backend=backend,
            precision=precision,
            device=self._device,
            dtype=self._dtype,
            store=store,
            threads=torch.get_num_threads(),
            threads_alone=threads.alone if threads is not None else torch.get_num_threads(),
            slots=settings.max_running,
        )

    @property
    def current(self) -> Model:
        """The model of requests whose voice names none."""
        assert self._current is not None, "load_configured() comes first"
        return self._current

    @property
    def computation(self) -> Mapping[str, str]:
        """The back end and the precision of the current GPT, as they are; empty while it loads."""
        if self._current is None:
            return {}
        return {"backend": self._current.gpt.backend, "precision": self._current.gpt.precision}

    @property
    def slots(self) -> int:
        """How many sequences the current model decodes together."""
        return self._current.worker.slots if self._current is not None else self._settings.max_running

    def device_memory_bytes(self) -> int:
        """What torch holds of a CUDA device's memory; 0 on the CPU, where the process's own memory says it."""
        return torch.cuda.memory_reserved(self._device) if self._device.type == "cuda" else 0

    def load_configured(self) -> None:
        """Load the configured files. Blocks.

        Raises:
            SettingsError: files are missing; all are named.
            CheckpointError: a file cannot be used.
        """
        self._tts.require_files()
        self.switch()

    def switch(self, gpt: str | None = None, sovits: str | None = None) -> None:
        """Make other weights the current ones, for later requests; what is not named stays. Blocks.

        Clients switch one file after the other: a file that does not fit its counterpart waits for one that does, and
        the current model stays until then.

        Raises:
            InvalidRequestError: a name is not registered.
            CheckpointError: a file cannot be used; the current model stays.
        """
        gpt_path = self._registered(gpt) if gpt else self._gpt_path
        vits_path = self._registered(sovits) if sovits else self._vits_path
        with self._lock:
            try:
                self._current = self._load(gpt_path, vits_path)
            except _MismatchError:
                if self._current is None:
                    raise
                log.warning("weights_wait_for_their_counterpart")
            self._gpt_path, self._vits_path = gpt_path, vits_path
            self._unload(keep=[self._current])

    def pair(self, gpt: str = "", sovits: str = "") -> Model:
        """The model of a voice that names its own weights; the current ones stand in for a name left out. Blocks.

        Raises:
            InvalidRequestError: a name is not registered.
            CheckpointError: a file cannot be used.
        """
        if not gpt and not sovits:
            return self.current
        gpt_path = self._registered(gpt) if gpt else self._gpt_path
        vits_path = self._registered(sovits) if sovits else self._vits_path
        with self._lock:
            return self._load(gpt_path, vits_path)

    async def of(self, voice: Voice | None) -> Model:
        """The model that speaks for a voice, or for requests that name none; raises as `pair`."""
        if voice is None or not (voice.gpt_weights or voice.sovits_weights):
            return self.current
        return await run_in(self.pool, lambda: self.pair(voice.gpt_weights, voice.sovits_weights))

    def close(self) -> None:
        """Begin nothing more in the pool."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def require_registered(self, name: str) -> None:
        """Raise an InvalidRequestError where a voice could not have weights of this name. Reads no weights."""
        self._registered(name)

    def _registered(self, name: str) -> Path:
        """The weights file that a name stands for: a configured one, or one under the weights roots."""
        configured = {str(path): path for path in (self._tts.t2s_weights_path, self._tts.vits_weights_path)}
        found = configured.get(name) or find_under(name, self._settings.weights_roots)
        if found is None:
            raise InvalidRequestError(
                "the weights are not among the registered files; put the file into a folder of weights_roots "
                "(configs/service.yaml)"
            )
        return found

    def _load(self, gpt_path: Path, vits_path: Path) -> Model:
        key = (WeightsFile.at(gpt_path), WeightsFile.at(vits_path))
        model = self._loaded.get(key)
        if model is None:
            self._unload(self._estimate(key), models=1, keep=[self._current])  # before the new one takes its memory
            if self._encoders is None:  # first: where BERT's graph is built, its weights are the most that is ever held
                self._encoders = self._load_encoders()
                return_free_memory()
            gpt, vits = self._load_gpt(key[0]), self._load_vits(key[1])
            require_fit(gpt.config, vits)
            digests = [self._digests.of(path) for path in (gpt_path, vits_path)]
            weights_hash = "-".join([*digests, gpt.backend, gpt.precision, *["bfloat16"] * self._uses_bfloat16])
            aligner = self._aligner(gpt, vits, "-".join(digests))
            worker, background_worker, checker = self._open_workers(gpt, vits, aligner)
            self._queue.wait()  # until the weights are there: those who use them work on other streams
            cache_bytes = 0
            if self._device.type == "cuda":
                graphs_bytes = captured_bytes(gpt.config, self._settings.max_seq_tokens)
                cache_bytes = worker.slots * self._slot_bytes(gpt) + graphs_bytes
            model = Model(gpt, vits, worker, background_worker, checker, weights_hash, cache_bytes)
            log.info(
                "model_loaded",
                version=model.version,
                device=str(self._device),
                backend=gpt.backend,
                precision=gpt.precision,
            )
            self._loaded.add(key, model)
            return_free_memory()
            self._unload(keep=[model, self._current])
        return model

    def _estimate(self, pair: Pair) -> int:
        """What a pair will take, as far as is known before it is loaded: files, and a cache as large as the others'."""
        (gpt_file, vits_file), caches = pair, [model.cache_bytes for model in self._loaded.models]
        gpt_bytes = 0 if gpt_file in self._gpts else gpt_file.size_bytes
        vits_bytes = 0 if vits_file in self._vits else vits_file.size_bytes
        return gpt_bytes + vits_bytes + max(caches, default=0)

    def _unload(self, needed_bytes: int = 0, *, models: int = 0, keep: Sequence[Model | None]) -> None:
        self._loaded.make_room(needed_bytes, models=models, keep=keep)
        self._queue.free_memory()

    def _load_gpt(self, file: WeightsFile) -> SemanticModel:
        gpt = self._gpts.get(file)
        if gpt is None:
            gpt = self._gpts[file] = self._loader.load_gpt(file.path)
        return gpt

    def _load_vits(self, file: WeightsFile) -> Vits | CfmSynthesizer:
        vits = self._vits.get(file)
        if vits is None:
            roots = self._settings.weights_roots
            vits = self._vits[file] = load_sovits(file.path, self._tts, roots, self._device, self._dtype)
            if self._uses_bfloat16 and isinstance(vits, Vits):
                vits.dec.use_bfloat16()
        return vits

    def _vocoder(self, version: ModelVersion) -> BigVgan | Hifigan:
        vocoder = self._vocoders.get(version)
        if vocoder is None:
            vocoder = self._vocoders[version] = load_vocoder(self._tts, version, self._device, self._dtype)
        return vocoder

    def _aligner(self, gpt: SemanticModel, vits: Vits | CfmSynthesizer, weights_hash: str) -> Aligner:
        remember = functools.partial(self._head_choices.remember, weights_hash)
        marks, encoder = pause_ids(vits.config.spec.symbols), functools.partial(text_attention, vits)
        return Aligner(gpt, marks, self._head_choices.of(weights_hash), remember, encoder)

    def _open_workers(
        self, gpt: SemanticModel, vits: Vits | CfmSynthesizer, aligner: Aligner
    ) -> tuple[ModelWorker, Callable[[], ModelWorker], ReferenceChecker]:
        """The worker of a pair, what makes the one of its background, and what checks references with it."""
        assert self._encoders is not None
        hubert, bert = self._encoders
        speaker = None
        if vits.config.speaker_embedding_channels:
            if self._speaker is None:
                self._speaker = load_speaker(self._tts.sv_path, device=self._device, dtype=self._dtype)
            speaker = self._speaker
        prompts, settings = PromptEncoder(vits, hubert, speaker), self._settings
        decoder: WaveDecoder[Any]
        max_batch = windows_together(self._device, is_deterministic=settings.deterministic)
        if isinstance(vits, Vits):
            decoder = VitsWaveDecoder(vits, vits.config.sampling_rate, max_batch=max_batch, queue=self._queue)
        else:
            vocoder, super_sampler = self._vocoder(vits.config.version), self._super_sampler(vits)
            decoder = CfmWaveDecoder(vits, vocoder, super_sampler, max_batch=max_batch, queue=self._queue)

        def open_worker(slots: int, *, is_background: bool) -> ModelWorker:
            runner = SemanticRunner(
                gpt, slots, settings.max_seq_tokens, queue=self._queue, is_deterministic=settings.deterministic
            )
            features = TextFeatures(bert, self._device, self._loader.text_dtype)
            return ModelWorker(
                runner,
                features,
                prompts,
                decoder,
                self._counters,
                is_background=is_background,
                judge=Judge(prompts, self._counters, Guard(pause_ids(vits.config.spec.symbols)), aligner),
            )

        background = functools.cache(lambda: open_worker(settings.jobs.slots, is_background=True))
        features, marks = TextFeatures(bert, self._device, self._loader.text_dtype), pause_ids(vits.config.spec.symbols)
        checker = ReferenceChecker(prompts, features, aligner, self._queue, marks)
        return open_worker(self._slots(gpt), is_background=False), background, checker

    def _slots(self, gpt: SemanticModel) -> int:
        """How many slots the KV cache gets.

        Weights are loaded and waves captured: what is free is for it, for what decoding captures, and for requests.
        """
        settings = self._settings
        if settings.kv_cache == "fixed" or self._device.type != "cuda":
            return settings.max_running
        self._queue.free_memory()
        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        room_bytes = free_bytes - settings.kv_reserve_bytes - captured_bytes(gpt.config, settings.max_seq_tokens)
        slots = min(_MAX_AUTO_SLOTS, room_bytes // self._slot_bytes(gpt))
        log.info("kv_cache", slots=max(1, slots), free_bytes=free_bytes)
        return max(1, slots)

    def _slot_bytes(self, gpt: SemanticModel) -> int:
        """Of one slot of a KV cache on CUDA."""
        token_bytes = 2 * gpt.config.layers * gpt.config.width * self._loader.text_dtype.itemsize
        return token_bytes * self._settings.max_seq_tokens

    def _super_sampler(self, vits: CfmSynthesizer) -> SuperSampler | None:
        """The network that takes v3's 24 kHz to 48 kHz, where its file is there."""
        path = self._tts.super_sampling_path
        if vits.config.version != "v3" or not path.exists():
            return None
        return load_super_sampler(path, device=self._device)

    def _load_encoders(self) -> tuple[ContentEncoder, TextEncoder | None]:
        bert = None
        if self._tts.bert_base_path is not None:
            bert = self._loader.load_bert(self._tts.bert_base_path)
        return self._loader.load_hubert(self._tts.cnhuhbert_base_path), bert


class _MismatchError(CheckpointError):
    """A GPT and a SoVITS that know different phonemes."""


def require_fit(gpt: GptConfig, vits: Vits | CfmSynthesizer) -> None:
    """v1 models know other phonemes than all later ones; the GPT's vocabulary tells which it was trained on.

    Raises:
        CheckpointError: the two do not go together.
    """
    is_v1_gpt = gpt.phoneme_vocab < VERSIONS["v2"].n_phonemes
    if is_v1_gpt != (vits.config.spec.symbols == "v1"):
        raise _MismatchError(
            f"the GPT is of {'v1' if is_v1_gpt else 'v2 or later'} and the SoVITS of {vits.config.version}; "
            "they know different phonemes: choose a pair"
        )
