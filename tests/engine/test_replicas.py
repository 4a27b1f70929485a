"""Two replicas that share uploads and voices through one S3 store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sovits_service.errors import InvalidRequestError, UnknownVoiceError
from sovits_service.service.build import build_service
from sovits_service.setting_sections import ObjectSettings
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import Voice
from tests.engine.test_model_store import REQUEST, speak, write_voice
from tests.tiny_pack import write_pack
from tests.unit.storage.conftest import s3_url  # noqa: F401 - a fixture
from tests.unit.storage.test_objects import bucket as new_bucket


@pytest.fixture
async def replicas(tmp_path: Path, s3_url: str) -> AsyncIterator[Any]:  # noqa: F811
    config = load_tts_settings(write_pack(tmp_path / "pack"))
    name_of_bucket = new_bucket(s3_url)
    services = []
    for name in ("one", "two"):
        settings = ServiceSettings(
            voices_roots=(tmp_path / name / "voices",),
            bundled_voices=False,
            upload_dir=tmp_path / name / "uploads",
            max_seq_tokens=400,
            cache={"backend": "off"},
            objects=ObjectSettings(
                backend="s3",
                bucket=name_of_bucket,
                endpoint_url=s3_url,
                access_key_id="key",
                secret_access_key="secret",
                share_voices=True,
            ),
        )
        write_voice(tmp_path / name / "voices", "local")
        service = build_service(config, settings)
        await service.start()
        services.append(service)
    yield services
    for service in services:
        await service.stop(0.0)


def clip(tmp_path: Path) -> bytes:
    write_voice(tmp_path / "clip", "clip", pitch_hz=330.0)
    return (tmp_path / "clip/clip.wav").read_bytes()


async def test_an_upload_to_one_replica_speaks_on_the_other(replicas: Any, tmp_path: Path) -> None:
    one, two = replicas
    stored = await one.voices.add_reference(clip(tmp_path))
    request = {"voice_id": None, "ref_audio": stored.path}
    here = await speak(one, **request)
    there = await speak(two, **request)
    np.testing.assert_allclose(there, here, atol=1e-3)
    fingerprints = [await service.fingerprint(replace(REQUEST, **request)) for service in (one, two)]
    assert fingerprints[0].reference_hashes == fingerprints[1].reference_hashes


async def test_replicas_follow_written_and_deleted_voices(replicas: Any, tmp_path: Path) -> None:
    one, two = replicas
    stored = await one.voices.add_reference(clip(tmp_path))
    await one.voices.put(Voice("eve", stored.path))
    with pytest.raises(UnknownVoiceError):
        await two.voices.get("eve")
    await two._library.voices.follow()
    assert len(await speak(two, voice_id="eve"))
    await one.voices.delete("eve")
    await two._library.voices.follow()
    with pytest.raises(UnknownVoiceError):
        await two.voices.get("eve")
    assert [voice.voice_id for voice in await two.voices.all()] == ["local"]


async def test_what_no_replica_has_is_refused_as_ever(replicas: Any) -> None:
    for name in ("uploads/" + "0" * 64 + ".wav", "../../etc/passwd"):
        with pytest.raises(InvalidRequestError):
            await speak(replicas[1], voice_id=None, ref_audio=name)
