"""GPT, BERT and HuBERT from weights files: in the back end and precision asked for, or the nearest that works."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from sovits_service.models.checkpoint_encoders import load_bert, load_hubert, read_tokenizer, weights_file
from sovits_service.models.checkpoint_models import load_gpt
from sovits_service.models.onnx import bert as onnx_bert
from sovits_service.models.onnx import gpt as onnx_gpt
from sovits_service.models.onnx import hubert as onnx_hubert
from sovits_service.models.onnx import probe
from sovits_service.models.onnx.bert import OnnxBert
from sovits_service.models.onnx.gpt import GraphPrecision, OnnxGpt
from sovits_service.models.onnx.hubert import OnnxHubert
from sovits_service.models.onnx.sessions import SESSION_ERRORS
from sovits_service.models.onnx.store import GraphStore
from sovits_service.models.semantic_model import Backend, ContentEncoder, Precision, SemanticModel, TextEncoder

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """Loads what either back end can run.

    Attributes:
        backend, precision: what is asked for; int8 is of ONNX Runtime alone, bfloat16 of torch.
        device, dtype: of the torch back end; ONNX Runtime runs on the CPU. With bfloat16 `dtype` is HuBERT's alone.
        store: where built graphs are kept.
        threads: that a step of ONNX Runtime may use, beside which waves are made.
        slots: the largest batch, up to which a row must not depend on the others.
        threads_alone: that BERT and a prefill may use, for which a listener waits; None for as many as a step.
    """

    backend: Backend
    precision: Precision
    device: torch.device
    dtype: torch.dtype
    store: GraphStore
    threads: int
    slots: int
    threads_alone: int | None = None

    @property
    def text_dtype(self) -> torch.dtype:
        """Of GPT and BERT with torch."""
        return torch.bfloat16 if self.precision == "bfloat16" else self.dtype

    def load_gpt(self, path: Path) -> SemanticModel:
        """Load a GPT file. Blocks; the first time, graphs are built.

        Raises:
            CheckpointError: the file cannot be used.
        """
        for precision in self._candidates():
            model = self._open_gpt(path, precision)
            if model is not None:
                return model
        return load_gpt(path, device=self.device, dtype=self.text_dtype)

    def load_bert(self, folder: Path) -> TextEncoder:
        """Load a BERT folder. Blocks; the first time, a graph is built.

        Raises:
            CheckpointError: the folder cannot be used.
        """
        for precision in self._candidates()[:1]:
            tokenizer = read_tokenizer(folder)
            digest = self._hash(weights_file(folder, "BERT"), folder / "config.json")
            key = f"bert-{digest}-{precision}-{onnx_bert.FORMAT}"

            def build(target: Path, precision: GraphPrecision = precision) -> None:
                onnx_bert.write_graph(load_bert(folder), precision, target)

            try:
                with self.store.open(key, build) as graphs:
                    return OnnxBert(graphs, tokenizer, self.threads_alone or self.threads)
            except SESSION_ERRORS as error:
                log.warning("bert_graph_does_not_run", precision=precision, reason=type(error).__name__)
        return load_bert(folder, device=self.device, dtype=self.text_dtype)

    def load_hubert(self, folder: Path) -> ContentEncoder:
        """Load a HuBERT folder, in float32 on a CPU: its features choose tokens. Blocks; builds graphs the first time.

        Raises:
            CheckpointError: the folder cannot be used.
        """
        if self.backend == "onnx":
            key = f"hubert-{self._hash(weights_file(folder, 'HuBERT'), folder / 'config.json')}-{onnx_hubert.FORMAT}"

            def build(target: Path) -> None:
                onnx_hubert.write_graphs(load_hubert(folder), target)

            try:
                with self.store.open(key, build) as graphs:
                    for _ in onnx_hubert.open_graphs(graphs, self.threads):
                        pass  # it runs here
                if graphs.exists():  # it is opened for each voice, so one that could not be kept is of no use
                    return OnnxHubert(lambda: self.store.open(key, build))
            except SESSION_ERRORS as error:
                log.warning("hubert_graph_does_not_run", reason=type(error).__name__)
        return load_hubert(folder, device=self.device, dtype=self.dtype)

    def _has_exact_products(self) -> bool:
        with self.store.open(f"probe-{probe.FORMAT}", probe.write_probe) as folder:
            return probe.products_are_exact(folder, self.threads)

    def _candidates(self) -> Sequence[GraphPrecision]:
        if self.backend == "torch":
            return ()
        return ("int8", "float32") if self.precision == "int8" else ("float32",)

    def _open_gpt(self, path: Path, precision: GraphPrecision) -> OnnxGpt | None:
        """The model on ONNX Runtime; None, and a line in the log, where that would not be right or does not work."""
        try:
            is_exact = precision == "int8" and self._has_exact_products()
            key = f"gpt-{self._hash(path)}-{precision}-{onnx_gpt.FORMAT}{'-exact' if is_exact else ''}"

            def build(folder: Path) -> None:
                onnx_gpt.write_graphs(load_gpt(path), precision, folder, has_exact_products=is_exact)

            with self.store.open(key, build) as folder:
                if precision == "int8" and not onnx_gpt.can_quantize(onnx_gpt.read_config(folder)):
                    log.info("gpt_not_quantized", reason="its sizes are no multiples of a block of 32 weights")
                    return None
                if not onnx_gpt.rows_are_independent(folder, self.threads, self.slots):
                    log.warning("gpt_rows_depend_on_others", precision=precision, advice="the next precision is taken")
                    return None
                return OnnxGpt(folder, precision, self.threads, self.threads_alone or self.threads)
        except SESSION_ERRORS as error:
            log.warning("gpt_graphs_do_not_run", precision=precision, reason=type(error).__name__)
            return None

    def _hash(self, *paths: Path) -> str:
        digest = hashlib.sha256()
        for path in filter(Path.exists, paths):  # what is missing and needed is told when the file is read
            digest.update(bytes.fromhex(self.store.digests.of(path)))
        return digest.hexdigest()[:32]
