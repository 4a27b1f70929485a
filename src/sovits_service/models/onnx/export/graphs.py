"""Loaded models in, their ONNX files in a folder out: a graph and its weights for each part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from sovits_service.models.bert import Bert as BertModule
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.hubert import SAMPLE_RATE_HZ
from sovits_service.models.hubert import Hubert as HubertModule
from sovits_service.models.onnx.bert_graph import BertGraph
from sovits_service.models.onnx.export.bert import Bert
from sovits_service.models.onnx.export.dit import Dit
from sovits_service.models.onnx.export.gpt import FusedGpt, Gpt
from sovits_service.models.onnx.export.hubert import Hubert
from sovits_service.models.onnx.export.layers import OPSET, State
from sovits_service.models.onnx.export.ports import ports
from sovits_service.models.onnx.export.reference import SPEAKER_RATE_HZ, Speaker, Style, build_mel
from sovits_service.models.onnx.export.sovits import build_features, build_latents
from sovits_service.models.onnx.export.vocoders import BigVgan, Hifigan
from sovits_service.models.onnx.graph import GraphBuilder, WeightsFile
from sovits_service.models.sovits.bigvgan import BigVgan as BigVganModule
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan as HifiganModule
from sovits_service.models.sovits.spec import MelSpec
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import FloatArray


def write_gpt(model: TextToSemantic, folder: Path, *, is_fused: bool) -> None:
    """Write `gpt_prefill.onnx` and `gpt_step.onnx`, which share their weights; fused: in ONNX Runtime's operators."""
    state = _state(model)
    with _weights(folder, "gpt") as weights:
        for name in ("gpt_prefill.onnx", "gpt_step.onnx"):
            graph = GraphBuilder(weights)
            if is_fused:
                fused = FusedGpt(graph, state, model.config)
                fused.prefill() if name == "gpt_prefill.onnx" else fused.decode()
            else:
                plain = Gpt(graph, state, model.config)
                plain.prefill() if name == "gpt_prefill.onnx" else plain.step()
            _save(graph, folder, name)


def write_bert(model: BertModule, folder: Path, *, is_fused: bool) -> None:
    """Write `bert.onnx`, and `tokenizer.json` beside it."""
    with _weights(folder, "bert") as weights:
        graph = GraphBuilder(weights)
        if is_fused:
            BertGraph(_state(model), model.sizes, "float32", graph).build()
        else:
            Bert(graph, _state(model), model.sizes).build()
        _save(graph, folder, "bert.onnx")
    model.reader.tokenizer.save(str(folder / "tokenizer.json"))


def write_hubert(hubert: HubertModule, sovits: Vits | CfmSynthesizer, folder: Path) -> None:
    """Write `hubert.onnx`, which ends in the codebook of the SoVITS."""
    own = {name: value for name, value in _state(sovits).items() if name.startswith(("ssl_proj.", "quantizer."))}
    with _weights(folder, "hubert") as weights:
        graph = GraphBuilder(weights)
        Hubert(graph, {**_state(hubert), **own}, hubert.sizes, sovits.config.ssl_stride).build()
        _save(graph, folder, "hubert.onnx", SAMPLE_RATE_HZ)


def write_speaker(model: ERes2NetV2, filters: FloatArray, folder: Path) -> None:
    """Write `speaker_encoder.onnx`, which makes its filter bank with Kaldi's mel filters by itself."""
    with _weights(folder, "speaker_encoder") as weights:
        graph = Speaker(GraphBuilder(weights), _state(model), filters).build()
        _save(graph, folder, "speaker_encoder.onnx", SPEAKER_RATE_HZ)


def write_sovits(model: Vits | CfmSynthesizer, folder: Path) -> None:
    """Write `style_encoder.onnx`, `sovits.onnx` and what follows: `vocoder.onnx`, or `cfm_step.onnx` in v3 and v4."""
    state, config = _state(model), model.config
    with _weights(folder, "style_encoder") as weights:
        graph = Style(GraphBuilder(weights), state, config).build()
        _save(graph, folder, "style_encoder.onnx", config.sampling_rate)
    with _weights(folder, "sovits") as weights:
        graph = GraphBuilder(weights)
        if isinstance(model, Vits):
            build_latents(graph, state, config)
        else:
            bridge = model.wns1.enc
            kernel = state["wns1.enc.in_layers.0.weight"].shape[2]
            channels = model.cfm.estimator.config.text_channels
            build_features(graph, state, config, channels, kernel, len(bridge.in_layers))
        _save(graph, folder, "sovits.onnx")
    if isinstance(model, Vits):
        with _weights(folder, "vocoder") as weights:
            graph = Hifigan(GraphBuilder(weights), state, model.dec.config, "dec.").build()
            _save(graph, folder, "vocoder.onnx", config.sampling_rate)
        return
    with _weights(folder, "cfm_step") as weights:
        _save(Dit(GraphBuilder(weights), state, model.cfm.estimator.config).build(), folder, "cfm_step.onnx")


def write_mel(mel: MelSpec, filters: FloatArray, folder: Path) -> None:
    """Write `reference_mel.onnx` of v3 or v4."""
    with _weights(folder, "reference_mel") as weights:
        _save(build_mel(GraphBuilder(weights), mel, filters), folder, "reference_mel.onnx", mel.sample_rate_hz)


def write_vocoder(model: BigVganModule | HifiganModule, rate_hz: int, folder: Path) -> None:
    """Write `vocoder.onnx` of v3 or v4."""
    with _weights(folder, "vocoder") as weights:
        graph = GraphBuilder(weights)
        if isinstance(model, BigVganModule):
            BigVgan(graph, _state(model), model.config).build()
        else:
            Hifigan(graph, _state(model), model.config).build()
        _save(graph, folder, "vocoder.onnx", rate_hz)


def _state(model: nn.Module) -> State:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@contextmanager
def _weights(folder: Path, name: str) -> Iterator[WeightsFile]:
    weights = WeightsFile(folder / f"{name}.weights")
    try:
        yield weights
    finally:
        weights.close()


def _save(graph: GraphBuilder, folder: Path, name: str, rate_hz: int = 0) -> None:
    graph.describe(ports(name, rate_hz))
    graph.save(folder / name, OPSET)
