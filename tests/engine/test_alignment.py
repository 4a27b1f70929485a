"""When phonemes are said, against stored speech of the demonstration model, whose tokens tell what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile
import torch

from sovits_service.engine.aligner import ENCODER, Aligner, Utterance, best_heads
from sovits_service.engine.alignment import (
    Alignment,
    align,
    goes_along,
    head_score,
    loudness_db,
    monotonic_path,
    pause_score,
)
from sovits_service.models.checkpoint_models import load_gpt, load_vits
from sovits_service.models.gpt import BERT_WIDTH, Head, TextToSemantic
from sovits_service.models.onnx.gpt import OnnxGpt, write_graphs
from sovits_service.models.semantic_model import SemanticModel
from sovits_service.models.sovits.text_attention import text_attention
from sovits_service.models.sovits.vits import Vits
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import pause_ids
from sovits_service.types import ReferenceAudio
from tools.parity import seeded_tensor

ROOT = Path(__file__).parents[2]
STORED: list[dict[str, Any]] = json.loads((ROOT / "tests/data/spoken_tokens.json").read_text(encoding="utf-8"))
TOKEN_MS = 40
Model = TypeVar("Model", bound=torch.nn.Module)


@cache
def demo_gpt() -> TextToSemantic:
    return load_gpt(ROOT / "pretrained_models/demo/gpt.ckpt")


@pytest.fixture(scope="module", params=["torch", "onnx"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SemanticModel]:
    if request.param == "torch":
        yield demo_gpt()
        return
    folder = tmp_path_factory.mktemp("graphs")
    write_graphs(demo_gpt(), "int8", folder)
    yield OnnxGpt(folder, "int8", 1)


def utterance(spoken: dict[str, Any], frontend: Frontend) -> Utterance:
    voice = VoiceFolder([ROOT / "voices"]).get(spoken["voice"])
    prompt = frontend.transcript(voice.prompt_text, voice.prompt_lang, "v2")
    (segment,) = frontend.segments(spoken["text"], spoken["lang"], "v2", "cut0")
    phonemes = len(prompt.phoneme_ids) + len(segment.phoneme_ids)
    samples, rate_hz = soundfile.read(ROOT / "voices" / voice.ref_audio, dtype="float32")
    return Utterance(
        segment,
        torch.zeros(phonemes, BERT_WIDTH),
        prompt,
        torch.tensor(spoken["prompt_tokens"]),
        spoken["tokens"],
        ReferenceAudio(samples, rate_hz, "clip"),
    )


def border_errors_ms(alignment: Alignment, spoken: dict[str, Any]) -> list[int]:
    known = [(i, times) for i, times in enumerate(spoken["truth"]) if times is not None]
    begins = [abs(int(alignment.starts[i]) - start) * TOKEN_MS for i, (start, _) in known]
    return begins + [abs(int(alignment.ends[i]) - end) * TOKEN_MS for i, (_, end) in known]


def assert_borders_are_found(aligner: Aligner, frontend: Frontend, *, least_confidence: float) -> list[Alignment]:
    """Returns the alignments of the stored utterances."""
    alignments: list[Alignment] = []
    errors_ms: list[int] = []
    for spoken in STORED:
        alignment = aligner.align(utterance(spoken, frontend))
        assert alignment is not None
        assert alignment.confidence > least_confidence
        alignments.append(alignment)
        errors_ms += border_errors_ms(alignment, spoken)
    assert np.median(errors_ms) <= 60
    assert np.mean(np.array(errors_ms) <= 120) >= 0.9
    return alignments


def test_demo_speech_is_aligned_as_its_tokens_say(model: SemanticModel) -> None:
    frontend = Frontend()
    kept: list[list[tuple[int, int]]] = []
    aligner = Aligner(model, pause_ids("v2"), remember=lambda heads: kept.append(list(heads)))
    assert_borders_are_found(aligner, frontend, least_confidence=0.7)
    assert len(kept) == 1
    again = Aligner(model, pause_ids("v2"), kept[0]).align(utterance(STORED[0], frontend))
    assert again is not None
    assert again.confidence > 0.7


@pytest.mark.parametrize("heads", [[(1, 0)], [(1, 0), (1, 1), (1, 2)]])
def test_times_behind_a_cached_prefix_are_those_of_a_whole_pass(
    model: SemanticModel, heads: list[tuple[int, int]]
) -> None:
    frontend, aligner, slots = Frontend(), Aligner(model, pause_ids("v2"), heads), model.open_slots(1, 400)
    for spoken in STORED[:4]:
        said = utterance(spoken, frontend)
        assert said.prompt is not None
        ids = torch.tensor(said.prompt.phoneme_ids + said.segment.phoneme_ids)
        slots.prefill(ids, said.bert, said.prompt_tokens, 0)
        prefix = slots.cache.read_prefix(0, len(ids) + len(said.prompt_tokens), aligner.layers)
        slots.clear(0)
        expected, found = aligner.align(said), aligner.align(replace(said, prefix=prefix))
        assert expected is not None
        assert found is not None
        assert found.path.tolist() == expected.path.tolist()
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_swallowed_words_have_no_tokens_and_said_twice_costs() -> None:
    frontend, aligner = Frontend(), Aligner(demo_gpt(), pause_ids("v2"))
    spoken = STORED[0]
    whole = aligner.align(utterance(spoken, frontend))
    assert whole is not None
    known = [times for times in spoken["truth"] if times is not None]
    start, end = known[4][0], known[9][1]
    tokens = spoken["tokens"]
    swallowed = aligner.align(utterance({**spoken, "tokens": tokens[:start] + tokens[end:]}, frontend))
    twice = aligner.align(utterance({**spoken, "tokens": tokens[:end] + tokens[start:]}, frontend))
    assert swallowed is not None
    assert twice is not None
    assert np.count_nonzero(swallowed.starts == swallowed.ends) >= np.count_nonzero(whole.starts == whole.ends) + 3
    assert twice.cost.sum() > 2 * whole.cost.sum()


def name_seeded(model: Model) -> Model:
    """With weights out of their names, as those of the goldens: of the right sizes, and never trained."""
    state = model.state_dict()
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in state.items()}
    model.load_state_dict({name: seeded_tensor(name, state[name].shape, kinds[name], "s") for name in state})
    return model.eval()


@cache
def demo_vits() -> Vits:
    return load_vits(ROOT / "pretrained_models/demo/sovits.pth")


def test_weights_that_were_never_trained_are_not_sure() -> None:
    frontend = Frontend()
    gpt, vits = name_seeded(TextToSemantic(demo_gpt().config)), name_seeded(Vits(demo_vits().config))
    aligner = Aligner(
        gpt, pause_ids("v2"), (), lambda heads: pytest.fail("nothing is to be kept"), partial(text_attention, vits)
    )
    assert all(aligner.align(utterance(spoken, frontend)) is None for spoken in STORED)
    assert aligner.heads == []


def test_the_gpt_is_taken_where_it_is_as_sure_as_the_encoder() -> None:
    aligner = Aligner(demo_gpt(), pause_ids("v2"), encoder=partial(text_attention, demo_vits()))
    assert aligner.align(utterance(STORED[0], Frontend())) is not None
    assert {head.layer for head in aligner.heads} == {1}
    assert aligner.layers == 2


def test_the_encoder_tells_times_where_the_gpt_is_not_sure() -> None:
    frontend, gpt, kept = Frontend(), name_seeded(TextToSemantic(demo_gpt().config)), list[Sequence[tuple[int, int]]]()
    encoder = partial(text_attention, demo_vits())
    aligner = Aligner(gpt, pause_ids("v2"), (), kept.append, encoder)
    alignments = assert_borders_are_found(aligner, frontend, least_confidence=0.5)
    assert {layer for layer, _ in kept[0]} == {ENCODER}
    assert aligner.layers == 0, "nothing of the GPT is read"
    again = Aligner(gpt, pause_ids("v2"), kept[0], encoder=encoder).align(utterance(STORED[-1], frontend))
    assert again is not None
    assert again.path.tolist() == alignments[-1].path.tolist()


def test_without_a_prompt_heads_are_not_chosen_but_those_known_serve() -> None:
    frontend = Frontend()
    spoken = utterance(STORED[0], frontend)
    phonemes = len(spoken.segment.phoneme_ids)
    alone = Utterance(
        spoken.segment, torch.zeros(phonemes, BERT_WIDTH), None, torch.zeros(0, dtype=torch.int64), spoken.tokens
    )
    assert Aligner(demo_gpt(), pause_ids("v2")).align(alone) is None
    alignment = Aligner(demo_gpt(), pause_ids("v2"), [(1, 0)]).align(alone)
    assert alignment is not None
    assert alignment.prompt_attention.max() == 0
    assert Aligner(demo_gpt(), pause_ids("v2"), [(1, 0)]).align(Utterance(*_without_tokens(alone))) is None


def _without_tokens(alone: Utterance) -> tuple[Any, ...]:
    return alone.segment, alone.bert, alone.prompt, alone.prompt_tokens, []


def test_the_path_is_the_best_of_all_monotone_ones() -> None:
    rng = np.random.default_rng(0)
    for tokens, phonemes in ((1, 1), (1, 4), (5, 1), (6, 4), (7, 5)):
        rows = np.log(rng.random((tokens, phonemes)) ** 4 + 1e-3).astype(np.float32)
        path = monotonic_path(rows)
        assert np.all(np.diff(path) >= 0)
        assert _gain(rows, path) == pytest.approx(max(_gain(rows, np.array(p)) for p in _monotone(tokens, phonemes)))


def _monotone(tokens: int, phonemes: int, least: int = 0) -> Iterator[list[int]]:
    if tokens == 0:
        yield []
        return
    for first in range(least, phonemes):
        for rest in _monotone(tokens - 1, phonemes, first):
            yield [first, *rest]


def _gain(rows: np.ndarray, path: np.ndarray) -> float:
    skipped = path[0] + rows.shape[1] - 1 - path[-1] + np.maximum(np.diff(path) - 1, 0).sum()
    return float(rows[np.arange(len(path)), path].sum() - 3.0 * skipped)


def test_a_sharp_diagonal_scores_and_an_even_head_does_not() -> None:
    said = np.repeat(np.eye(10, dtype=np.float32), 3, axis=0)
    assert head_score(said) == pytest.approx(1.0)
    assert head_score(np.full((30, 10), 0.1, np.float32)) < 0.35
    assert goes_along(said)
    assert not goes_along(said[::-1])
    assert not goes_along(np.full((30, 10), 0.1, np.float32))
    alignment = align(said)
    assert alignment.starts.tolist() == list(range(0, 30, 3))
    assert alignment.ends.tolist() == list(range(3, 33, 3))
    assert alignment.confidence == pytest.approx(1.0)


def test_pauses_tell_this_phoneme_from_the_next() -> None:
    path = np.repeat(np.arange(6), 4)
    is_pause = np.array([False, False, True, False, False, True])
    level = np.where(is_pause[path], -60.0, -20.0).astype(np.float32)
    assert pause_score(path, is_pause, level) == pytest.approx(1.0)
    assert pause_score(np.minimum(path + 1, 5), is_pause, level) < 0.7
    assert pause_score(path, np.zeros(6, bool), level) == 0.0


def test_loudness_is_told_for_every_token_beyond_the_clip_too() -> None:
    samples = np.concatenate([np.full(1280, 0.5, np.float32), np.zeros(640, np.float32)])
    level = loudness_db(samples, 32_000, 4)
    assert level[0] == pytest.approx(-6.0, abs=0.1)
    assert level[1:].max() == pytest.approx(-60.0)


def test_of_heads_that_are_as_good_those_of_the_lowest_layer_are_taken() -> None:
    scores = {Head(0, 0): 0.3, Head(1, 0): 0.8, Head(1, 1): 0.5, Head(2, 0): 0.85, Head(1, 2): 0.82}
    assert best_heads(scores) == [Head(1, 0), Head(1, 2)]
    assert best_heads({Head(0, 0): 0.2}) == []
    assert best_heads({}) == []
