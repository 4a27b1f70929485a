"""The GPT on ONNX Runtime against the reference on torch, and what a row may depend on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.models.checkpoint_models import load_gpt
from sovits_service.models.gpt import BERT_WIDTH, GptConfig, Head, TextToSemantic
from sovits_service.models.onnx import gpt as onnx_gpt
from sovits_service.models.onnx import probe
from sovits_service.models.onnx.gpt import GraphPrecision, OnnxGpt, rows_are_independent, write_graphs
from sovits_service.models.onnx.graph import CONTRIB, FLOAT, GraphBuilder, WeightsFile
from sovits_service.models.onnx.loading import ModelLoader
from sovits_service.models.onnx.quantize import BLOCK, quantize
from sovits_service.models.onnx.sessions import open_session
from sovits_service.models.onnx.store import GraphStore
from sovits_service.models.semantic_model import Backend, Precision, SemanticModel, SemanticSlots
from sovits_service.types import FloatArray
from tests.tiny_pack import write_gpt

SLOTS, CAPACITY = 8, 96
SIZES = GptConfig(width=64, heads=4, layers=3, feed_forward=128, phoneme_vocab=732, semantic_vocab=1025)
ONNX: tuple[GraphPrecision, ...] = ("float32", "int8")
# A share of the largest logit. Two roundings to 8 bits in each product of six in a row leave about one per cent.
BOUNDS = {"float32": 1e-5, "int8": 0.03}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In half precision, as users have them."""
    return write_gpt(tmp_path_factory.mktemp("gpt") / "gpt.ckpt", config=SIZES)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> TextToSemantic:
    return load_gpt(checkpoint)


@pytest.fixture(scope="module")
def folders(reference: TextToSemantic, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    written: dict[str, Path] = {}
    for precision in ONNX:
        written[precision] = tmp_path_factory.mktemp(precision)
        write_graphs(reference, precision, written[precision])
    return written


@pytest.fixture(params=ONNX)
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> OnnxGpt:
    return OnnxGpt(folders[request.param], request.param, 1)


@torch.inference_mode()
def prefill(slots: SemanticSlots, slot: int, seed: int) -> tuple[torch.Tensor, int, int]:
    """A sequence with sizes of its own; logits, and how many tokens and entries there are."""
    draw = torch.Generator().manual_seed(seed)
    n_text, n_prompt = 10 + 3 * seed, 4 * seed
    ids = torch.randint(0, SIZES.phoneme_vocab, (n_text,), generator=draw)
    bert = torch.randn(n_text, 1024, generator=draw)
    prompt = torch.randint(0, 1024, (n_prompt,), generator=draw)
    return slots.prefill(ids, bert, prompt, slot).clone(), n_prompt, n_text + n_prompt


@torch.inference_mode()
def speak(model: SemanticModel, seeds: dict[int, int], steps: int) -> dict[int, torch.Tensor]:
    """Greedy tokens' logits of the sequences `seeds`, by slot: (1 + steps, vocab), decoded together."""
    slots = model.open_slots(SLOTS, CAPACITY)
    rows = max(seeds) + 1
    tokens, positions = torch.zeros(rows, dtype=torch.int64), torch.zeros(2, rows, dtype=torch.int64)
    found: dict[int, list[torch.Tensor]] = {}
    for slot, seed in seeds.items():
        logits, n_tokens, n_entries = prefill(slots, slot, seed)
        found[slot], tokens[slot] = [logits], logits.argmax()
        positions[:, slot] = torch.tensor([n_tokens, n_entries])
    for _ in range(steps):
        logits = slots.decode_step(tokens, positions[0], positions[1], int(positions[1].max()) + 1).clone()
        tokens = logits.argmax(1)
        positions += 1
        for slot in seeds:
            found[slot].append(logits[slot])
    return {slot: torch.stack(rows) for slot, rows in found.items()}


def test_logits_are_those_of_the_reference(model: OnnxGpt, reference: TextToSemantic) -> None:
    seeds = {0: 3, 1: 0, 2: 2, 5: 1}  # 1 has no prompt; 3 and 4 are free slots between
    expected, actual = speak(reference, seeds, 12), speak(model, seeds, 12)
    for slot in seeds:
        # Up to the first step at which int8 chooses another token, the two have heard the same.
        same = int((actual[slot].argmax(1) == expected[slot].argmax(1)).long().cumprod(0).sum())
        assert same >= 6
        if model.precision == "float32":
            assert same == 13
        error = (actual[slot][:same] - expected[slot][:same]).abs().max() / expected[slot].abs().max()
        assert error < BOUNDS[model.precision]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_prefill_has_the_same_bits_on_any_number_of_threads(
    folders: dict[str, Path], precision: GraphPrecision
) -> None:
    inputs = (torch.arange(60), torch.randn(60, BERT_WIDTH, generator=torch.Generator().manual_seed(1)))
    logits = [
        OnnxGpt(folders[precision], precision, 1, threads)
        .open_slots(1, CAPACITY)
        .prefill(inputs[0] % 50, inputs[1], torch.arange(20) % 50, 0)
        for threads in (1, 2, 3)
    ]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_a_row_has_the_same_bits_alone_and_with_others_and_in_any_slot(model: OnnxGpt) -> None:
    alone = speak(model, {0: 2}, 10)[0]
    for company in ({0: 2, 1: 1}, {0: 0, 1: 2, 2: 3}, {slot: slot % 4 for slot in range(SLOTS)}, {3: 1, 7: 2}):
        slot = next(slot for slot, seed in company.items() if seed == 2)
        assert torch.equal(speak(model, company, 10)[slot], alone)


def test_the_cache_is_written_in_place_and_a_cleared_slot_is_empty(model: OnnxGpt) -> None:
    slots = model.open_slots(SLOTS, CAPACITY)
    _, n_tokens, n_entries = prefill(slots, 1, 2)
    keys = slots.cache.keys
    assert keys[:, 1, :, :n_entries].abs().sum(dim=(1, 3)).min() > 0
    before, place = keys.clone(), keys.data_ptr()
    slots.decode_step(torch.tensor([0, 5]), torch.tensor([0, n_tokens]), torch.tensor([0, n_entries]), n_entries + 1)
    assert keys.data_ptr() == place
    changed = (keys != before).any(dim=(0, 2, 4))  # (slots, entries)
    assert changed.nonzero().tolist() == [[0, 0], [1, n_entries]]
    slots.clear(1)
    assert not keys[:, 1].any()


def test_float32_holds_the_checkpoints_numbers_as_they_are(checkpoint: Path, folders: dict[str, Path]) -> None:
    """fp16 is exact in float32, and nothing is rounded again on the way."""
    weight = torch.load(checkpoint, weights_only=True)["weight"]["model.h.layers.1.linear1.weight"]
    assert weight.dtype == torch.float16
    content = (folders["float32"] / "weights.bin").read_bytes()
    assert weight.float().t().contiguous().numpy().tobytes() in content


def test_quantised_blocks_are_within_half_a_step_and_zeros_stay_zeros() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4 * BLOCK)).astype(np.float32)
    weight[2, :BLOCK] = 0
    steps, scales = quantize(weight)
    restored = (steps.astype(np.float32) - 128) * scales[:, :, None]
    error = np.abs(restored.reshape(weight.shape) - weight).reshape(6, 4, BLOCK)
    # One end of the range is a step short: there the error is up to a whole step.
    assert (error <= np.abs(scales)[:, :, None] * 1.001).all()
    assert (error <= np.abs(scales)[:, :, None] * 0.501).mean() > 0.98
    assert not restored.reshape(weight.shape)[2, :BLOCK].any()


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_wide_model_is_prefilled_in_int8_as_well(tmp_path: Path, is_exact: bool) -> None:
    wide = GptConfig(width=512, heads=8, layers=2, feed_forward=640, phoneme_vocab=732, semantic_vocab=1025)
    reference = load_gpt(write_gpt(tmp_path / "wide.ckpt", config=wide))
    (tmp_path / "graphs").mkdir()
    write_graphs(reference, "int8", tmp_path / "graphs", has_exact_products=is_exact)
    assert rows_are_independent(tmp_path / "graphs", 1, SLOTS)
    models: list[Any] = [reference, OnnxGpt(tmp_path / "graphs", "int8", 1)]
    slots = [model.open_slots(2, CAPACITY) for model in models]
    (expected, _, entries), (actual, _, _) = (prefill(each, 1, 3) for each in slots)
    assert (actual - expected).abs().max() < BOUNDS["int8"] * expected.abs().max()
    for part in ("keys", "values"):
        wanted, kept = (getattr(each.cache, part)[:, 1, :, :entries] for each in slots)
        error = (kept - wanted).abs().max() / wanted.abs().max()
        assert 0 < error < BOUNDS["int8"]


def test_each_row_is_rounded_to_its_own_steps(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    weights = WeightsFile(tmp_path / "weights.bin")
    builder = GraphBuilder(weights)
    builder.op("Identity", [builder.linear(builder.input("x", FLOAT, ["N", 64]), "w", weight, None, "rows")], "y")
    builder.output("y", FLOAT, ["N", 48])
    builder.save(tmp_path / "graph.onnx")
    weights.close()
    sizes = np.array([[1], [0], [1e4], [1e-4]], np.float32)
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32) * sizes
    session = open_session(tmp_path / "graph.onnx", 1)
    (y,) = session.run(None, {"x": x})
    expected = x @ weight.T
    assert (np.abs(y - expected).max(axis=1) <= 0.02 * np.abs(expected).max(axis=1)).all()
    assert not y[1].any()
    for row in range(4):
        assert np.array_equal(session.run(None, {"x": x[row : row + 1]})[0], y[row : row + 1])


def test_the_probe_tells_kernels_that_overflow_from_exact_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe.write_probe(tmp_path)
    found = probe.products_are_exact(tmp_path, 1)
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        assert found
    # Sums that are not those of the weights in the graph are what an overflow gives.
    monkeypatch.setattr(probe, "_weight", lambda: np.full((64, 32), 126, np.int8))
    assert not probe.products_are_exact(tmp_path, 1)


def test_the_proof_holds_here(folders: dict[str, Path]) -> None:
    assert all(rows_are_independent(folder, 1, SLOTS) for folder in folders.values())


def _dynamic(
    builder: GraphBuilder, x: str, name: str, weight: FloatArray, bias: FloatArray | None, *, block: int
) -> str:
    """A product whose 8-bit scale comes from all rows together."""
    scale = np.abs(weight).max() / 127
    steps = builder.weight(f"{name}.dynamic", lambda: np.rint(weight.T / scale).astype(np.int8))
    step = builder.constant(f"{name}.scale", np.array(scale, np.float32))
    inputs = [x, steps, step, builder.constant("none", np.array(0, np.int8))]
    inputs += [] if bias is None else [builder.weight(f"{name}.bias", lambda: bias)]
    return builder.op("DynamicQuantizeMatMul", inputs, domain=CONTRIB)


@pytest.fixture
def load(checkpoint: Path, tmp_path: Path) -> Callable[[Backend, Precision], SemanticModel]:
    store = GraphStore(tmp_path / "graphs", 2**30)

    def load(backend: Backend, precision: Precision, path: Path = checkpoint) -> SemanticModel:
        return ModelLoader(backend, precision, torch.device("cpu"), torch.float32, store, 1, SLOTS).load_gpt(path)

    return load


@pytest.mark.parametrize(("backend", "precision"), [("torch", "float32"), ("onnx", "float32"), ("onnx", "int8")])
def test_loads_what_is_asked_for(load: Callable[..., SemanticModel], backend: Backend, precision: Precision) -> None:
    for _ in range(2):  # built, then kept
        model = load(backend, precision)
        assert (model.backend, model.precision, model.config) == (backend, precision, SIZES)
        assert len(speak(model, {0: 1}, 1)[0]) == 2


def test_where_int8_kernels_mix_rows_float32_is_taken(
    load: Callable[..., SemanticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GraphBuilder, "_block_product", _dynamic)
    model = load("onnx", "int8")
    assert (model.backend, model.precision) == ("onnx", "float32")


def test_sizes_that_have_no_blocks_are_taken_in_float32(load: Callable[..., SemanticModel], tmp_path: Path) -> None:
    model = load("onnx", "int8", write_gpt(tmp_path / "tiny.ckpt"))  # 16 wide
    assert (model.backend, model.precision) == ("onnx", "float32")


def test_graphs_that_do_not_run_leave_the_torch_back_end(
    load: Callable[..., SemanticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sovits_service.models.onnx.graph.CONTRIB", "com.example")
    monkeypatch.setattr("sovits_service.models.onnx.gpt_graph.CONTRIB", "com.example")
    model = load("onnx", "int8")
    assert (model.backend, model.precision) == ("torch", "float32")


def test_graphs_of_another_format_are_built_anew(
    load: Callable[..., SemanticModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load("onnx", "float32")
    monkeypatch.setattr(onnx_gpt, "FORMAT", onnx_gpt.FORMAT + 1)
    load("onnx", "float32")
    assert len(list((tmp_path / "graphs").glob("gpt-*"))) == 2


def said() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nine phonemes, their features, and twenty tokens."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, SIZES.phoneme_vocab, (9,), generator=draw)
    tokens = torch.randint(0, 1024, (20,), generator=draw)
    return ids, torch.randn(9, 1024, generator=draw), tokens


def attention(model: SemanticModel, heads: list[Head]) -> dict[Head, FloatArray]:
    return dict(zip(heads, model.text_attention(*said(), heads), strict=True))


def attention_after(model: SemanticModel, heads: list[Head], first: int) -> list[FloatArray] | None:
    """That of the tokens from `first` on, the others being those of a prompt that was prefilled."""
    ids, bert, tokens = said()
    slots = model.open_slots(2, 40)
    slots.prefill(ids, bert, tokens[:first], 1)
    prefix = slots.cache.read_prefix(1, len(ids) + first, 1 + heads[0].layer)
    slots.clear(1)
    return model.text_attention_after(prefix, len(ids), tokens[first:], heads)


def test_attention_behind_a_cached_prefix_is_that_of_a_whole_pass(model: OnnxGpt, reference: TextToSemantic) -> None:
    heads = [Head(layer, number) for layer in range(SIZES.layers) for number in range(SIZES.heads)]
    whole = attention(reference, heads)
    assert all(weights.shape == (20, 9) and np.allclose(weights.sum(axis=1), 1) for weights in whole.values())
    bound = {"float32": 1e-5, "int8": 0.01}[model.precision]
    for layer, first in ((0, 0), (0, 13), (1, 13), (2, 7), (2, 0)):
        of_layer = [head for head in heads if head.layer == layer]
        for found in (attention_after(reference, of_layer, first), attention_after(model, of_layer, first)):
            assert found is not None
            for head, weights in zip(of_layer, found, strict=True):
                np.testing.assert_allclose(weights, whole[head][first:], atol=bound)
    everywhere = attention(model, heads)
    assert all(np.allclose(everywhere[head], whole[head], atol=bound) for head in heads)


def test_where_the_folder_of_the_graphs_is_gone_only_a_whole_pass_tells(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders["float32"], tmp_path / "graphs")
    model, kept = OnnxGpt(tmp_path / "graphs", "float32", 1), OnnxGpt(folders["float32"], "float32", 1)
    shutil.rmtree(tmp_path / "graphs")
    assert attention_after(model, [Head(1, 2)], 5) is None
    found, expected = (attention(gpt, [Head(1, 2)])[Head(1, 2)] for gpt in (model, kept))
    np.testing.assert_allclose(found, expected, atol=1e-5)
