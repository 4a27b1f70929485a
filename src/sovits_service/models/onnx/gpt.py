"""The GPT on ONNX Runtime: the calls of `SemanticModel`, on graphs built from the same weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from sovits_service.models.gpt import GptConfig, Head, TextToSemantic, attention_to_text, prefix_mask
from sovits_service.models.kv_cache import CachedPrefix, KvCache
from sovits_service.models.onnx.quantize import BLOCK
from sovits_service.models.onnx.sessions import SESSION_ERRORS, open_session
from sovits_service.types import FloatArray

GraphPrecision = Literal["float32", "int8"]

CONFIG, DECODE, PREFILL, PROOF = "config.json", "decode.onnx", "prefill.onnx", "proof.onnx"
ATTENTION = "attention.onnx"
FORMAT = 5  # of the graphs: another number, and kept ones are built again
_CPU = torch.device("cpu")
_HIDDEN = -1e30  # added to the score of a key that a query may not look at
_PROOF_TOKENS = 4


def can_quantize(config: GptConfig) -> bool:
    """Whether the matrices can be cut into the blocks that share a scale."""
    return config.width % BLOCK == 0 and config.feed_forward % BLOCK == 0


def write_graphs(
    model: TextToSemantic, precision: GraphPrecision, folder: Path, *, has_exact_products: bool = False
) -> None:
    """Write the graphs of a model, and its sizes, into an empty folder.

    Args:
        model: in float32 on the CPU.
        has_exact_products: as `products_are_exact` says of the processor.
    """
    # The library that writes graphs is imported where one is built, not at every start.
    from sovits_service.models.onnx.gpt_graph import write_gpt

    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_gpt(state, model.config, precision, folder, has_exact_products=has_exact_products)
    (folder / CONFIG).write_text(json.dumps(asdict(model.config)), encoding="utf-8")


def read_config(folder: Path) -> GptConfig:
    """The sizes of the model whose graphs a folder holds."""
    return GptConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))


class OnnxGpt:
    """The graphs of one GPT, opened.

    Args:
        folder: what `write_graphs` has written; it may be deleted afterwards.
        precision: that the graphs were written in.
        threads: that a step may use.
        prefill_threads: that a prefill may use, whose bits do not depend on it; None for as many as a step.

    Raises:
        SESSION_ERRORS: the graphs cannot be run here.
    """

    backend: Literal["onnx"] = "onnx"
    device = _CPU

    def __init__(
        self, folder: Path, precision: GraphPrecision, threads: int, prefill_threads: int | None = None
    ) -> None:
        self.config = read_config(folder)
        # Each of the two sessions has the weights that it uses, which are nearly all.
        self.weights_bytes = 2 * sum(file.stat().st_size for file in folder.iterdir())
        self.precision = precision
        self.decoder = open_session(folder / DECODE, threads)
        self.prefiller = open_session(folder / PREFILL, prefill_threads or threads)
        self._folder, self._threads = folder, threads
        self._attention: tuple[int, onnxruntime.InferenceSession | None] | None = None

    @torch.inference_mode()
    def text_attention(
        self,
        phoneme_ids: torch.Tensor,
        bert: torch.Tensor,
        tokens: torch.Tensor,
        heads: Sequence[Head],
    ) -> Iterator[FloatArray]:
        layers = sorted({head.layer for head in heads})
        inputs = prefill_inputs(phoneme_ids, bert, tokens)  # the spoken tokens in place of a prompt's
        wanted = [f"{part}_{i}" for i in layers for part in ("queries", "keys")]
        found = [torch.from_numpy(array) for array in self.prefiller.run(wanted, inputs)]
        text_length = len(phoneme_ids)
        for layer, queries, keys in zip(layers, found[::2], found[1::2], strict=True):
            of_tokens = self._heads(queries[text_length:])
            for head in heads:
                if head.layer == layer:
                    yield attention_to_text(of_tokens[:, head.number], keys[0, head.number, :text_length])

    @torch.inference_mode()
    def text_attention_after(
        self, prefix: CachedPrefix, text_length: int, tokens: torch.Tensor, heads: Sequence[Head]
    ) -> list[FloatArray] | None:
        layer, length = heads[0].layer, len(tokens)
        session = self._attention_session(layer)
        if session is None:
            return None
        mask = np.zeros((1, 1, length, prefix.length + length), np.float32)
        mask[0, 0, :, prefix.length :] = np.triu(np.full((length, length), _HIDDEN, np.float32), 1)
        inputs = {
            "tokens": tokens.numpy(),
            "positions": np.arange(length) + prefix.length - text_length,
            "mask": mask,
            **{f"keys_{index}": keys[None].numpy() for index, keys in enumerate(prefix.keys)},
            **{f"values_{index}": values[None].numpy() for index, values in enumerate(prefix.values)},
        }
        (queries,) = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})
        of_tokens = self._heads(torch.from_numpy(queries))
        of_text = prefix.keys[layer, :, :text_length]
        return [attention_to_text(of_tokens[:, head.number], of_text[head.number]) for head in heads]

    def _heads(self, rows: torch.Tensor) -> torch.Tensor:
        """(T, width) to (T, heads, head_dim)."""
        return rows.view(len(rows), self.config.heads, -1)

    def _attention_session(self, layer: int) -> onnxruntime.InferenceSession | None:
        """The queries of a layer, with the weights of it and of those below alone; None where they are gone."""
        if self._attention is None or self._attention[0] != layer:
            from sovits_service.models.onnx.beginning import open_beginning

            session = None
            with contextlib.suppress(OSError, *SESSION_ERRORS):
                session = open_beginning(self._folder / ATTENTION, layer, self._threads)
            self._attention = layer, session
        return self._attention[1]

    def open_slots(self, slots: int, capacity_tokens: int) -> OnnxSlots:
        return OnnxSlots(self.config, self.decoder, self.prefiller, slots, capacity_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What a decode step of so many rows reads and writes, bound once."""

    binding: onnxruntime.IOBinding
    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    bound: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]


class OnnxSlots:
    """Caches that the graphs read and write in place, and a binding for each number of rows (`SemanticSlots`)."""

    device, dtype = _CPU, torch.float32

    def __init__(
        self,
        config: GptConfig,
        decoder: onnxruntime.InferenceSession,
        prefiller: onnxruntime.InferenceSession,
        slots: int,
        capacity_tokens: int,
    ) -> None:
        self.count, self.capacity_tokens = slots, capacity_tokens
        self._config = config
        self._decoder = decoder
        self._prefiller = prefiller
        self._outputs = ["logits", *(f"{part}_{i}" for i in range(config.layers) for part in ("keys", "values"))]
        self.cache = KvCache(
            layers=config.layers,
            slots=slots,
            heads=config.heads,
            capacity_tokens=capacity_tokens,
            head_dim=config.width // config.heads,
            device=_CPU,
            dtype=torch.float32,
        )
        self._steps: dict[int, _Step] = {}

    def prefill(
        self, phoneme_ids: torch.Tensor, bert: torch.Tensor, prompt_tokens: torch.Tensor, slot: int
    ) -> torch.Tensor:
        logits, *entries = self._prefiller.run(self._outputs, prefill_inputs(phoneme_ids, bert, prompt_tokens))
        for index in range(self._config.layers):
            keys, values = entries[2 * index : 2 * index + 2]
            self.cache.write_prefix(index, slot, torch.from_numpy(keys[0]), torch.from_numpy(values[0]))
        return torch.from_numpy(logits[0])

    def decode_step(
        self, tokens: torch.Tensor, token_positions: torch.Tensor, cache_positions: torch.Tensor, bound: int
    ) -> torch.Tensor:
        rows = tokens.shape[0]
        step = self._steps.get(rows)
        if step is None:
            step = self._steps[rows] = self._bind(rows)
        step.tokens[:] = tokens.numpy()
        step.positions[:] = token_positions.numpy()
        step.lengths[:] = cache_positions.numpy()
        step.bound[0] = bound
        self._decoder.run_with_iobinding(step.binding)
        return torch.from_numpy(step.logits)

    def clear(self, slot: int) -> None:
        self.cache.clear(slot)

    def _bind(self, rows: int) -> _Step:
        binding = self._decoder.io_binding()
        step = _Step(
            binding,
            tokens=np.zeros(rows, np.int64),
            positions=np.zeros(rows, np.int64),
            lengths=np.zeros(rows, np.int32),
            bound=np.zeros(1, np.int32),
            logits=np.zeros((rows, self._config.semantic_vocab), np.float32),
        )
        for name in ("tokens", "positions", "lengths", "bound"):
            array = getattr(step, name)
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        logits = step.logits
        binding.bind_output("logits", "cpu", 0, logits.dtype, logits.shape, logits.ctypes.data)
        for part, cache in (("keys", self.cache.keys), ("values", self.cache.values)):
            for index, layer in enumerate(cache):
                # The first rows of a layer lie together; input and output are the same memory, so nothing is copied.
                place = ("cpu", 0, np.float32, (rows, *layer.shape[1:]), layer.data_ptr())
                binding.bind_input(f"{part}_{index}", *place)
                binding.bind_output(f"new_{part}_{index}", *place)
        return step


def prefill_inputs(
    phoneme_ids: torch.Tensor, bert: torch.Tensor, prompt_tokens: torch.Tensor
) -> dict[str, npt.NDArray[Any]]:
    """What the graph of a prefill takes."""
    visible = prefix_mask(phoneme_ids.shape[0], prompt_tokens.shape[0], _CPU)
    mask = torch.zeros(visible.shape).masked_fill_(~visible, _HIDDEN)
    return {
        "phoneme_ids": phoneme_ids.numpy(),
        "bert": bert.numpy(),
        "prompt_tokens": prompt_tokens.numpy(),
        "mask": mask[None, None].numpy(),
    }


def rows_are_independent(folder: Path, threads: int, slots: int) -> bool:
    """Whether this processor's kernels give a row the same bits alone and with others, at all numbers of rows.

    Runs one layer and the output layer, which hold a matrix of every shape that the model has. Other instruction sets
    have other kernels, and some sum a row in another order when there are more.

    Raises:
        SESSION_ERRORS: the graph cannot be run here.
    """
    config = replace(read_config(folder), layers=1)
    session = open_session(folder / PROOF, threads)
    tokens = torch.arange(slots) % config.semantic_vocab
    lengths = torch.arange(slots) % (_PROOF_TOKENS - 1)
    noise = torch.randn(2, config.width, generator=torch.Generator().manual_seed(0))

    def logits(first: int, last: int) -> torch.Tensor:
        """Of these sequences, in as many rows."""
        batch = OnnxSlots(config, session, session, last - first, _PROOF_TOKENS)
        head_dim = config.width // config.heads
        for cache, values in zip((batch.cache.keys, batch.cache.values), noise, strict=True):
            cache[:] = values.view(config.heads, 1, head_dim)
        rows = slice(first, last)
        return batch.decode_step(tokens[rows], lengths[rows], lengths[rows], _PROOF_TOKENS)

    alone = torch.cat([logits(row, row + 1) for row in range(slots)])
    return all(torch.equal(logits(0, rows), alone[:rows]) for rows in range(2, slots + 1))
