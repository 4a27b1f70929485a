"""HuBERT, BERT and the speaker network from the folders and files that users have."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, HubertConfig, HubertModel

from sovits_service.errors import CheckpointError
from sovits_service.models import hubert
from sovits_service.models.bert import Bert
from sovits_service.models.checkpoint_encoders import load_bert, load_hubert
from sovits_service.models.checkpoint_models import load_speaker
from sovits_service.models.hubert import SAMPLE_RATE_HZ, TAIL_SILENCE_SAMPLES, Hubert
from sovits_service.models.onnx.hubert import OnnxHubert, write_graphs
from sovits_service.models.onnx.loading import ModelLoader
from sovits_service.models.onnx.store import GraphStore
from sovits_service.models.semantic_model import TextEncoder
from sovits_service.models.speaker import ERes2NetV2
from tests.unit.models import tiny

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我，。", "hello", "##o", "12", "##3"]


@pytest.fixture
def hubert_folder(tmp_path: Path) -> tuple[Path, HubertModel]:
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    model = HubertModel(config).eval()  # type: ignore[no-untyped-call]
    tiny_weights = {key: value.clone() for key, value in model.state_dict().items()}
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    torch.save(tiny_weights, tmp_path / "pytorch_model.bin")
    return tmp_path, model


def _respell(state: dict[str, torch.Tensor], spelling: str) -> dict[str, torch.Tensor]:
    """Weight norm as older (`weight_g`) or newer transformers write it."""
    new = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    old = ("weight_g", "weight_v")
    source, target = (new, old) if spelling == "weight_g" else (old, new)
    for a, b in zip(source, target, strict=True):
        state = {key.replace(a, b): value for key, value in state.items()}
    return state


@pytest.mark.parametrize("n_samples", [400, 16_000, 2 * SAMPLE_RATE_HZ - TAIL_SILENCE_SAMPLES, 40_001])
def test_padding_to_few_lengths_changes_no_feature(
    hubert_folder: tuple[Path, HubertModel], monkeypatch: pytest.MonkeyPatch, n_samples: int
) -> None:
    model, samples = load_hubert(hubert_folder[0]), torch.randn(1, n_samples) * 0.1
    padded = model(samples)
    monkeypatch.setattr(hubert, "_STEP_SAMPLES", 1)
    torch.testing.assert_close(padded, model(samples), atol=1e-5, rtol=0)


def _onnx_loader(graphs: Path) -> ModelLoader:
    return ModelLoader("onnx", "int8", torch.device("cpu"), torch.float32, GraphStore(graphs, 2**30), 1, 1)


@pytest.mark.parametrize("n_samples", [400, 16_000, 40_001])
def test_onnx_runtime_gives_the_features_of_torch(
    hubert_folder: tuple[Path, HubertModel], tmp_path: Path, n_samples: int
) -> None:
    samples = torch.randn(1, n_samples) * 0.1
    expected = load_hubert(hubert_folder[0])(samples)
    for _ in range(2):  # built, then kept
        model = _onnx_loader(tmp_path / "g").load_hubert(hubert_folder[0])
        assert isinstance(model, OnnxHubert)
        torch.testing.assert_close(model(samples), expected, atol=1e-4, rtol=0)
    assert len(list((tmp_path / "g").glob("hubert-*"))) == 1


_PEAK = """
import sys
from contextlib import nullcontext
from pathlib import Path
import torch
from sovits_service.models.onnx.hubert import OnnxHubert

folder, small = Path(sys.argv[1]), Path(sys.argv[2])
samples = torch.zeros(1, 16_000)
OnnxHubert(lambda: nullcontext(small))(samples)  # code and thread pools, once
Path("/proc/self/clear_refs").write_text("5")

def memory(name):
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

before = memory("VmHWM")
OnnxHubert(lambda: nullcontext(folder))(samples)
size = (folder / "weights.bin").stat().st_size
print((memory("VmHWM") - before) / size, (memory("VmRSS") - before) / size)
"""


def _can_reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _can_reset_peak(), reason="resets the high-water mark in /proc")
def test_encoding_a_clip_holds_half_of_huberts_weights(hubert_folder: tuple[Path, HubertModel], tmp_path: Path) -> None:
    small, big = tmp_path / "small", tmp_path / "big"
    small.mkdir()
    big.mkdir()
    write_graphs(load_hubert(hubert_folder[0]), small)
    config = json.loads((hubert_folder[0] / "config.json").read_text())
    write_graphs(Hubert(config | {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12}), big)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(big), str(small)], capture_output=True, text=True, check=True
    )
    most, kept = map(float, done.stdout.split())
    assert most < 0.5
    assert kept < 0.1


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_a_hubert_graph_that_is_lost_while_the_service_runs_is_built_again(
    hubert_folder: tuple[Path, HubertModel], tmp_path: Path, damage: str
) -> None:
    samples = torch.randn(1, 16_000) * 0.1
    model = _onnx_loader(tmp_path / "g").load_hubert(hubert_folder[0])
    expected = model(samples)
    (folder,) = (tmp_path / "g").glob("hubert-*")
    if damage == "deleted":
        shutil.rmtree(folder)
    else:
        weights = (folder / "weights.bin").read_bytes()
        (folder / "weights.bin").write_bytes(weights[: len(weights) // 2])
    assert torch.equal(model(samples), expected)


def test_a_hubert_whose_graph_does_not_run_or_cannot_be_kept_runs_on_torch(
    hubert_folder: tuple[Path, HubertModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    assert isinstance(_onnx_loader(tmp_path / "file").load_hubert(hubert_folder[0]), Hubert)
    monkeypatch.setattr("sovits_service.models.onnx.hubert_graph.CONTRIB", "com.example")
    assert isinstance(_onnx_loader(tmp_path / "g").load_hubert(hubert_folder[0]), Hubert)


@pytest.mark.parametrize("spelling", ["weight_g", "parametrizations"])
@pytest.mark.parametrize("prefix", ["", "hubert."])
def test_hubert_hears_the_same_whatever_its_files_spelling(
    hubert_folder: tuple[Path, HubertModel], spelling: str, prefix: str
) -> None:
    folder, original = hubert_folder
    state = _respell(torch.load(folder / "pytorch_model.bin"), spelling)
    assert any(spelling in key for key in state)
    torch.save({prefix + key: value for key, value in state.items()}, folder / "pytorch_model.bin")
    samples = torch.randn(1, 16_000) * 0.1
    with torch.no_grad():
        padded = torch.cat([samples, torch.zeros(1, TAIL_SILENCE_SAMPLES)], dim=1)
        expected = original(padded).last_hidden_state.transpose(1, 2)
    torch.testing.assert_close(load_hubert(folder)(samples), expected, atol=1e-5, rtol=1e-4)


def test_the_clip_is_followed_by_the_originals_silence() -> None:
    # parity: 0.3 s counted at 32 kHz and appended at 16 kHz.
    assert int(32_000 * 0.3) == TAIL_SILENCE_SAMPLES


def test_hubert_in_half_precision_and_from_safetensors(hubert_folder: tuple[Path, HubertModel]) -> None:
    from safetensors.torch import save_file

    folder, _ = hubert_folder
    samples = torch.randn(1, 8_000) * 0.1
    expected = load_hubert(folder)(samples)
    save_file(torch.load(folder / "pytorch_model.bin"), folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    assert torch.equal(load_hubert(folder)(samples), expected)
    half = load_hubert(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_a_damaged_hubert_folder_is_refused(hubert_folder: tuple[Path, HubertModel]) -> None:
    folder, _ = hubert_folder
    state = torch.load(folder / "pytorch_model.bin")
    del state["encoder.layers.1.attention.k_proj.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lacks 'encoder\.layers\.1\.attention\.k_proj\.weight'"):
        load_hubert(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"none of model\.safetensors, pytorch_model\.bin"):
        load_hubert(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not an object"):
        load_hubert(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_hubert(folder)


@pytest.fixture
def bert_folder(tmp_path: Path) -> tuple[Path, BertForMaskedLM]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=24,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()  # type: ignore[no-untyped-call]
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    torch.save(dict(model.state_dict()), tmp_path / "pytorch_model.bin")
    return tmp_path, model


def _expected(model: BertForMaskedLM, text: str) -> torch.Tensor:
    ids = torch.tensor([[2, *(VOCABULARY.index(character) for character in text), 3]])
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[-3][0, 1:-1]


@pytest.fixture(params=["torch", "onnx"])
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], TextEncoder]:
    """`load_bert` in either back end, in float32."""
    store = GraphStore(tmp_path_factory.mktemp("graphs"), 2**30)
    return ModelLoader(request.param, "float32", torch.device("cpu"), torch.float32, store, 1, 1).load_bert


def test_bert_gives_the_third_last_hidden_state_of_each_character(
    bert_folder: tuple[Path, BertForMaskedLM], load: Callable[[Path], TextEncoder]
) -> None:
    folder, original = bert_folder
    texts = ["今天天气很好，", "我。", "好"]
    features = load(folder)(texts)
    for text, vectors in zip(texts, features, strict=True):
        torch.testing.assert_close(vectors, _expected(original, text), atol=1e-5, rtol=1e-4)


def test_the_layers_that_are_not_needed_are_not_loaded(bert_folder: tuple[Path, BertForMaskedLM]) -> None:
    assert len(load_bert(bert_folder[0]).encoder.layer) == 2


def test_int8_features_do_not_depend_on_other_texts(bert_folder: tuple[Path, BertForMaskedLM], tmp_path: Path) -> None:
    folder, original = bert_folder
    loader = ModelLoader("onnx", "int8", torch.device("cpu"), torch.float32, GraphStore(tmp_path / "g", 2**30), 1, 1)
    for _ in range(2):  # built, then kept
        model = loader.load_bert(folder)
        text, others = "今天天气很好，", ["我。", "好" * 20]
        (alone,) = model([text])
        assert torch.equal(model([others[0], text, others[1]])[1], alone)
        expected = _expected(original, text)
        assert (alone - expected).norm() / expected.norm() < 0.02
    assert len(list((tmp_path / "g").iterdir())) == 1


def test_a_bert_whose_graph_does_not_run_here_runs_on_torch(
    bert_folder: tuple[Path, BertForMaskedLM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sovits_service.models.onnx.bert_graph.CONTRIB", "com.example")
    loader = ModelLoader("onnx", "int8", torch.device("cpu"), torch.float32, GraphStore(tmp_path / "g", 2**30), 1, 1)
    assert isinstance(loader.load_bert(bert_folder[0]), Bert)


def test_any_text_has_one_vector_per_character(
    bert_folder: tuple[Path, BertForMaskedLM], load: Callable[[Path], TextEncoder]
) -> None:
    model = load(bert_folder[0])
    texts = ["", " ", "HELLOo 好", "今𠮷天", "🙂👨‍👩‍👧", "é́\u0300", "\u200b\ufeff", "123", "今天" * 40, "\ud800"]
    for text, vectors in zip(texts, model(texts), strict=True):
        assert vectors.shape == (len(text), 32)
        assert vectors.isfinite().all()
    hello = model(["HELLOo 好"])[0]
    assert torch.equal(hello[0], hello[4])  # the characters of one token share its vector
    assert not hello[6].any()  # whitespace has none
    assert model([]) == []


def test_a_text_beyond_the_positions_is_read_in_pieces(
    bert_folder: tuple[Path, BertForMaskedLM], load: Callable[[Path], TextEncoder]
) -> None:
    folder, original = bert_folder
    text = "今天气很好我" * 6  # 36 characters, 22 fit
    vectors = load(folder)([text])[0]
    torch.testing.assert_close(vectors[:22], _expected(original, text[:22]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(vectors[22:], _expected(original, text[22:]), atol=1e-5, rtol=1e-4)


def test_a_tokenizer_json_is_as_good_as_a_vocabulary(
    bert_folder: tuple[Path, BertForMaskedLM], load: Callable[[Path], TextEncoder]
) -> None:
    folder, original = bert_folder
    (folder / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json or vocab\.txt"):
        load(folder)
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
    content: Any = {"normalizer": {"lowercase": True}, "model": {"type": "WordPiece", "vocab": vocabulary}}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    torch.testing.assert_close(load(folder)(["今天"])[0], _expected(original, "今天"), atol=1e-5, rtol=1e-4)
    del content["model"]["vocab"]["[CLS]"]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"lacks \[CLS\]"):
        load(folder)


def test_layer_norms_named_as_in_tensorflow_load(bert_folder: tuple[Path, BertForMaskedLM]) -> None:
    folder, original = bert_folder
    state = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value.half()
        for key, value in original.state_dict().items()
    }
    torch.save(state, folder / "pytorch_model.bin")
    torch.testing.assert_close(load_bert(folder)(["今天"])[0], _expected(original, "今天"), atol=1e-2, rtol=1e-2)


def test_the_speaker_file_loads_without_its_classifier(tmp_path: Path) -> None:
    state = tiny.seed(ERes2NetV2())
    state["seg_1.weight"], state["seg_1.bias"] = torch.zeros(192, 40960), torch.zeros(192)
    torch.save(state, tmp_path / "sv.ckpt")
    model = load_speaker(tmp_path / "sv.ckpt")
    assert model(torch.randn(1, 120, 80)).shape == (1, 20480)
    del state["fuse34.local_att.0.weight"]
    torch.save(state, tmp_path / "sv.ckpt")
    with pytest.raises(CheckpointError, match=r"speaker verification file lacks 'fuse34\.local_att\.0\.weight'"):
        load_speaker(tmp_path / "sv.ckpt")


@pytest.mark.parametrize(
    ("key", "value"), [("do_stable_layer_norm", True), ("feat_extract_norm", "layer"), ("hidden_act", "relu")]
)
def test_another_architecture_than_the_published_one_is_named(
    hubert_folder: tuple[Path, HubertModel], key: str, value: object
) -> None:
    path = hubert_folder[0] / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=f"the HuBERT folder's config.json has {key}"):
        load_hubert(hubert_folder[0])


def test_a_hubert_of_the_base_models_sizes_is_transformers_own() -> None:
    original = HubertModel(HubertConfig(num_hidden_layers=1, apply_spec_augment=False, mask_time_prob=0.0))
    original.eval()  # type: ignore[no-untyped-call]
    ours = Hubert({"num_hidden_layers": 1})
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    state = {key: value for key, value in original.state_dict().items() if "parametrizations" not in key}
    assert shapes.items() - {key: value.shape for key, value in state.items()}.items() == {
        ("encoder.pos_conv_embed.conv.weight", (768, 48, 128))
    }
