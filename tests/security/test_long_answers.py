"""A small text never becomes hours of audio: pauses, answers and the files behind links are bounded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest

from sovits_service.audio.join import with_pauses
from sovits_service.errors import InvalidRequestError
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.types import AudioChunk
from tests.security.real_service import running, say


async def test_pauses_are_bounded_for_a_fragment_and_for_an_answer(tmp_path: Path) -> None:
    voice = {"voice_id": "operators", "response": "url"}
    async with running(tmp_path, max_text_characters=20_000, max_seq_tokens=200) as (_, client):
        one = await say(client, "ann", text="你好。" + "[pause:10]" * 990, **voice)
        assert one.status_code == 200, one.text
        assert one.json()["duration_s"] < 60
        kept_bytes = sum(file.stat().st_size for file in (tmp_path / "objects").rglob("*.wav"))
        assert kept_bytes < 4_000_000
        for fields in (
            {"text": "你好。[pause:10]" * 990},
            {"text": "你好。" * 990, "fragment_interval": 10},
            {"text": "你好。[pause:10]" * 990, "streaming_mode": 1},
        ):
            many = await say(client, "ann", **voice, **fields)
            assert many.status_code == 400
            assert "the pauses are " in many.json()["message"]
            assert "at most 600 s" in many.json()["message"]
        assert sum(file.stat().st_size for file in (tmp_path / "objects").rglob("*.wav")) == kept_bytes


async def test_an_answer_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, max_audio_s=0.5) as (_, client):
        answer = await say(client, "ann", voice_id="operators", text="你好。[pause:1]再见。")
        assert answer.status_code == 400
        assert answer.json()["message"] == "the speech is longer than 0 s; send the text in parts"


async def test_the_duration_counts_speech_and_pauses() -> None:
    is_closed = False

    async def speech() -> AsyncGenerator[AudioChunk, None]:
        nonlocal is_closed
        try:
            while True:
                yield AudioChunk(np.zeros(100, dtype=np.float32), 100)
        finally:
            is_closed = True

    source = speech()
    heard_s = 0.0
    with pytest.raises(InvalidRequestError, match="longer than 10 s"):  # noqa: PT012 - it breaks off on the way
        async for chunk in with_pauses(await anext(source), source, [1.0] * 100, 10.0):
            heard_s += len(chunk.samples) / 100
    assert heard_s == 10.0
    assert is_closed


async def test_the_oldest_linked_files_leave_first_and_nothing_else(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "objects", max_linked_bytes=3500)
    await objects.put("voices/eve.yaml", b"x" * 5000)
    for number in range(10):
        await objects.put(f"audio/{number}.wav", bytes(1000))
        linked = [info.size_bytes for info in await objects.entries("audio/")]
        assert sum(linked) == min(number + 1, 3) * 1000
    assert [info.key for info in await objects.entries("")] == [
        *(f"audio/{number}.wav" for number in (7, 8, 9)),
        "voices/eve.yaml",
    ]
    with pytest.raises(InvalidRequestError, match="without response: url"):
        await objects.put("audio/large.wav", bytes(3501))
    # Another process may have written meanwhile: what is there counts, not what this one remembers.
    (tmp_path / "objects/audio/theirs.wav").write_bytes(bytes(3000))
    await objects.put("audio/new.wav", bytes(1000))
    assert sum(info.size_bytes for info in await objects.entries("audio/")) <= 3500
