"""A changed lexicon in a running service: later requests are read with it, earlier answers are not served for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon import Lexicon
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import SynthesisRequest
from tests.tiny_pack import write_pack


@pytest.fixture
def look_s() -> float:
    """How often the service looks by itself: here, never while a test runs."""
    return 3600.0


@pytest.fixture
async def service(tmp_path: Path, look_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SpeechService]:
    monkeypatch.setattr("sovits_service.service.upkeep._LEXICON_POLL_INTERVAL_S", look_s)
    settings = ServiceSettings(
        voices_roots=(tmp_path / "voices",),
        bundled_voices=False,
        reference_roots=(Path(__file__).parents[2] / "voices",),
        upload_dir=tmp_path / "uploads",
        lexicon_path=tmp_path / "lexicon.yaml",
        max_seq_tokens=80,
        cache={"dir": tmp_path / "cache"},  # type: ignore[arg-type]
        objects={"dir": tmp_path / "objects"},  # type: ignore[arg-type]
    )
    service = build_service(load_tts_settings(write_pack(tmp_path / "pack")), settings)
    await service.start()
    yield service
    await service.stop(0)


REQUEST = SynthesisRequest(text="这个角色", text_lang="zh", ref_audio="female_calm.wav", seed=3)


async def speak(service: SpeechService) -> list[float]:
    synthesis = await service.synthesize(REQUEST)
    return [float(sample) for chunk in [chunk async for chunk in synthesis.chunks] for sample in chunk.samples]


async def test_a_changed_lexicon_counts_for_later_requests_alone(service: SpeechService, tmp_path: Path) -> None:
    before, place = await speak(service), await service.fingerprint(REQUEST)
    (tmp_path / "lexicon.yaml").write_text("zh:\n  角色: jiao3 se4\n", encoding="utf-8")
    assert await speak(service) == before, "nothing was taken yet"
    await service.switches.refresh_lexicon()
    assert await speak(service) != before
    assert (await service.fingerprint(REQUEST)).model_hashes != place.model_hashes
    (tmp_path / "lexicon.yaml").write_text("", encoding="utf-8")
    await service.switches.refresh_lexicon()
    assert (await service.fingerprint(REQUEST)) == place
    assert await speak(service) == before


async def test_a_wrong_lexicon_changes_nothing_and_is_named_by_line(service: SpeechService, tmp_path: Path) -> None:
    before, place = await speak(service), await service.fingerprint(REQUEST)
    (tmp_path / "lexicon.yaml").write_text("zh:\n  角色: jiao se\n", encoding="utf-8")
    with capture_logs() as lines:
        await service.switches.refresh_lexicon()
    assert ["line 2" in line["reason"] for line in lines if line["log_level"] == "warning"] == [True]
    assert (await service.fingerprint(REQUEST)) == place
    assert await speak(service) == before


@pytest.mark.parametrize("look_s", [0.01])
async def test_it_looks_by_itself(service: SpeechService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = asyncio.Event()
    use_lexicon = Frontend.use_lexicon

    def use_and_tell(self: Frontend, lexicon: Lexicon) -> None:
        use_lexicon(self, lexicon)
        taken.set()

    place = await service.fingerprint(REQUEST)
    monkeypatch.setattr(Frontend, "use_lexicon", use_and_tell)
    written = tmp_path / "written.yaml"
    written.write_text("zh:\n  角色: jiao3 se4\n", encoding="utf-8")
    written.rename(tmp_path / "lexicon.yaml")  # at once, so that no look finds half of it
    await taken.wait()
    assert await service.fingerprint(REQUEST) != place
