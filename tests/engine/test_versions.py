"""All six versions in one running service, switched as clients do: one file after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sovits_service.engine.aligner import Aligner
from sovits_service.errors import CheckpointError, InvalidRequestError
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings
from sovits_service.text.symbols import pause_ids
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import ModelVersion
from tests.engine.test_model_store import REQUEST, speak, write_voice
from tests.tiny_pack import GPT, write_gpt, write_pack
from tests.tiny_versions import write_companions, write_lora, write_sovits

PROMPTED = {"prompt_text": "你好。", "prompt_lang": "zh", "cfm_steps": 4}


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A service whose pretrained folder holds every version."""
    root = tmp_path / "pretrained_models"
    config = write_pack(root / "demo")
    write_companions(root)
    write_gpt(root / "v1.ckpt", config=replace(GPT, phoneme_vocab=512))
    write_gpt(root / "v2.ckpt")
    for version in VERSIONS:
        write_sovits(root / f"{version}.pth", version)
    write_voice(tmp_path / "voices", "tone")
    settings = ServiceSettings(
        voices_roots=(tmp_path / "voices",),
        bundled_voices=False,
        upload_dir=tmp_path / "uploads",
        weights_roots=(root,),
        max_seq_tokens=400,
    )
    service = build_service(load_tts_settings(config), settings)
    await service.start()
    yield service
    await service.stop(0.0)


async def test_a_running_service_goes_through_all_versions_and_back(service: SpeechService) -> None:
    rates = {}
    for version in ("v2", "v2Pro", "v3", "v2ProPlus", "v4", "v1", "v2"):
        await service.switches.weights(gpt="v1.ckpt" if version == "v1" else "v2.ckpt")
        await service.switches.weights(sovits=f"{version}.pth")
        assert service.version == version
        synthesis = await service.synthesize(replace(REQUEST, **PROMPTED))
        samples = np.concatenate([chunk.samples async for chunk in synthesis.chunks])
        assert np.abs(samples).max() > 0
        rates[version] = synthesis.sample_rate_hz
    assert rates == {version: spec.output_rate_hz for version, spec in VERSIONS.items()}


async def test_half_a_switch_leaves_the_old_pair_speaking(service: SpeechService) -> None:
    before = await speak(service)
    await service.switches.weights(gpt="v1.ckpt")
    assert service.version == "v2"
    np.testing.assert_allclose(await speak(service), before, atol=1e-3)
    await service.switches.weights(sovits="v1.pth")
    assert service.version == "v1"
    assert len(await speak(service))


async def test_a_prompt_is_required_with_v3_and_v4(service: SpeechService) -> None:
    for version in ("v3", "v4"):
        await service.switches.weights(sovits=f"{version}.pth")
        with pytest.raises(InvalidRequestError, match="prompt_text is required"):
            await speak(service)


async def test_korean_is_refused_by_v1_with_its_languages(service: SpeechService) -> None:
    await service.switches.weights(gpt="v1.ckpt")
    await service.switches.weights(sovits="v1.pth")
    with pytest.raises(InvalidRequestError, match="ko is not supported"):
        await speak(service, text="안녕하세요", text_lang="ko")


@pytest.mark.parametrize("version", ["v3", "v4"])
async def test_a_lora_file_finds_its_base_and_speaks(
    service: SpeechService, tmp_path: Path, version: ModelVersion
) -> None:
    root = tmp_path / "pretrained_models"
    name = VERSIONS[version].flow_matching.lora_base
    base = write_sovits(root / name, version)
    write_lora(root / "mine.pth", version, base)
    await service.switches.weights(sovits=name)
    plain = _query_weight(service)
    await service.switches.weights(sovits="mine.pth")
    assert service.version == version
    assert (_query_weight(service) - plain).abs().max() > 0.1
    assert len(await speak(service, **PROMPTED))


def _query_weight(service: SpeechService) -> Any:
    vits: Any = service._models.current.vits
    return vits.cfm.estimator.transformer_blocks[0].attn.to_q.weight


async def test_a_lora_file_without_its_base_names_it(service: SpeechService, tmp_path: Path) -> None:
    root = tmp_path / "pretrained_models"
    write_lora(root / "mine.pth", "v4", root / "v4.pth")
    with pytest.raises(CheckpointError, match=r"s2Gv4\.pth.*download v4"):
        await service.switches.weights(sovits="mine.pth")
    assert service.version == "v2"


async def test_a_missing_vocoder_is_named_with_the_command_that_gets_it(service: SpeechService, tmp_path: Path) -> None:
    Path(tmp_path / "pretrained_models/gsv-v4-pretrained/vocoder.pth").unlink()
    with pytest.raises(CheckpointError, match=r"vocoder\.pth.*download v4"):
        await service.switches.weights(sovits="v4.pth")
    assert len(await speak(service))


async def test_words_have_times_and_references_are_checked_in_every_version(service: SpeechService) -> None:
    """Random weights: sizes and places, no heads that anybody chose."""
    for version in ("v1", "v2Pro", "v3", "v4"):
        await service.switches.weights(gpt="v1.ckpt" if version == "v1" else "v2.ckpt")
        await service.switches.weights(sovits=f"{version}.pth")
        model = service._models.current
        model.worker.judge.aligner = Aligner(model.gpt, pause_ids(model.spec.symbols), [(0, 0), (0, 1)])
        synthesis = await service.synthesize(replace(REQUEST, **PROMPTED, timestamps="char"))
        chunks = [chunk async for chunk in synthesis.chunks]
        words = [word for chunk in chunks for word in chunk.words]
        assert "".join(word.text for word in words) == "".join(c for c in REQUEST.text if c.isalpha())
        times = [time_s for word in words for time_s in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert times[-1] <= sum(len(chunk.samples) for chunk in chunks) / synthesis.sample_rate_hz + 0.001
        report = await service.voices.check("tone")
        assert "transcript" in report.not_checked
        assert {finding.code for finding in report.findings} <= {"noise", "bandwidth", "sample_rate", "speakers"}
