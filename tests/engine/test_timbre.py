"""A clip for the timbre alone: the reference gives the tokens before the speech, the other clip all that sounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.deadline import Deadline
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import ModelVersion
from tests.engine.conftest import WatchedEngine, _randomised, collect, joined, options, segment, voice
from tests.engine.test_engine import Recorder
from tests.tiny_sizes import CFM, VITS

MANNER, TIMBRE = voice(1, 3.0), voice(2, 4.0)
SPEAKER_CHANNELS = 320


def with_codebook(model: Any) -> Any:
    codes = torch.randn(64, 16, generator=torch.Generator().manual_seed(4))
    model.quantizer.vq.layers[0]._codebook.embed.copy_(codes)
    return model


@pytest.fixture(scope="module")
def encoders(vits: Vits, hubert: Hubert) -> dict[str, PromptEncoder]:
    torch.manual_seed(5)
    pro = with_codebook(
        _randomised(Vits(replace(VITS, version="v2Pro", speaker_embedding_channels=SPEAKER_CHANNELS)), 5)
    )
    speaker = _randomised(ERes2NetV2(channels=4, base_width=64, expansion=1, n_blocks=(1, 1, 1, 1)), 6)
    v4 = with_codebook(_randomised(CfmSynthesizer(CFM), 7))
    return {
        "v2": PromptEncoder(vits, hubert, None),
        "v2Pro": PromptEncoder(pro, hubert, speaker),
        "v4": PromptEncoder(v4, hubert, None),
    }


@pytest.mark.parametrize("version", ["v2", "v2Pro", "v4"])
def test_tokens_come_from_the_one_clip_and_all_that_sounds_from_the_other(encoders: Any, version: ModelVersion) -> None:
    encoder = encoders[version]
    manner, timbre = encoder.encode([MANNER]), encoder.encode([TIMBRE])
    both = encoder.encode([MANNER], TIMBRE)
    assert both.prompt_tokens.tolist() == manner.prompt_tokens.tolist() != timbre.prompt_tokens.tolist()
    assert torch.equal(both.style_embedding, timbre.style_embedding)
    assert not torch.equal(both.style_embedding, manner.style_embedding)
    if version == "v4":  # the mel and the tokens that go before the speech are those of one clip
        assert torch.equal(both.ref_mel, timbre.ref_mel)
        assert both.mel_tokens.tolist() == timbre.prompt_tokens.tolist()
    else:
        assert both.ref_mel is both.mel_tokens is None
    assert manner.mel_tokens is None


def test_the_speaker_embedding_counts_in_the_timbre(encoders: Any, hubert: Hubert) -> None:
    pro = encoders["v2Pro"]
    muted = PromptEncoder(pro._vits, hubert, _constant_speaker())
    assert not torch.allclose(
        muted.encode([MANNER], TIMBRE).style_embedding, pro.encode([MANNER], TIMBRE).style_embedding, atol=1e-4
    )


def _constant_speaker() -> Any:
    speaker = ERes2NetV2(channels=4, base_width=64, expansion=1, n_blocks=(1, 1, 1, 1)).requires_grad_(False).eval()
    for parameter in speaker.parameters():
        parameter.zero_()
    return speaker


def test_the_timbre_replaces_the_reference_in_the_mean(encoders: Any) -> None:
    encoder, further = encoders["v2"], voice(3)
    mean = (encoder.encode([TIMBRE]).style_embedding + encoder.encode([further]).style_embedding) / 2
    torch.testing.assert_close(encoder.encode([MANNER, further], TIMBRE).style_embedding, mean)


def test_a_voice_is_remembered_with_its_timbre_and_never_taken_for_another(encoders: Any) -> None:
    encoder = encoders["v2"]
    third = voice(9)
    assert encoder.known([third], TIMBRE) is None
    prompt = encoder.encode([third], TIMBRE)
    assert encoder.known([third], TIMBRE) is prompt
    assert encoder.known([third]) is None
    assert encoder.known([TIMBRE, third]) is None
    assert encoder.known([third, TIMBRE]) is None


async def test_the_same_words_in_the_same_manner_in_another_timbre(engine: WatchedEngine, worker: ModelWorker) -> None:
    recorder = Recorder(worker)
    speech, tokens = [], []
    for timbre in (None, TIMBRE):
        chunks = engine.synthesize(
            engine.admit(), worker, [segment(1)], segment(2), [MANNER], options(5), Deadline(60.0), timbre=timbre
        )
        speech.append(joined(await collect(chunks)))
        tokens.append(list(recorder.tokens[5, 0]))
    assert tokens[0] == tokens[1]
    assert len(speech[0]) == len(speech[1])
    assert np.abs(speech[0] - speech[1]).max() > 0.01
