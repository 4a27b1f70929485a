"""What one user does to a voice never comes out as another voice's speech, from the cache or otherwise."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sovits_service.types import Fingerprint, SynthesisRequest, Voice
from tests.security.real_service import clip, put_voice, running, say, upload


@pytest.mark.parametrize("streaming_mode", [0, 1, 2])
async def test_a_voice_that_flips_between_clips_poisons_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming_mode: int
) -> None:
    """The voice gets its other clip each time just after the place in the cache was chosen."""
    clips = {220.0: clip(220.0), 440.0: clip(440.0)}
    async with running(tmp_path) as (service, client):
        paths = {pitch: (await upload(client, "ann", data)).json()["path"] for pitch, data in clips.items()}
        assert (await put_voice(client, "ann", "flip", ref_audio_path=paths[220.0])).status_code == 200
        for pitch, path in paths.items():
            assert (await put_voice(client, "ann", f"still-{pitch:.0f}", ref_audio_path=path)).status_code == 200
        fingerprint, turns = service.fingerprint, itertools.cycle([paths[440.0], paths[220.0]])

        async def flip_after(request: SynthesisRequest) -> Fingerprint:
            found = await fingerprint(request)
            await service.voices.put(Voice("flip", next(turns), owner="ann"))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(service, "fingerprint", flip_after)
            for text in ("你好。", "再见。"):
                answer = await say(client, "ann", voice_id="flip", text=text, streaming_mode=streaming_mode)
                assert (answer.status_code, answer.headers["x-cache"]) == (200, "miss")
        states = set()
        for pitch in paths:
            for text in ("你好。", "再见。"):
                fields = {"voice_id": f"still-{pitch:.0f}", "text": text, "streaming_mode": streaming_mode}
                cached = await say(client, "bob", **fields)
                states.add(cached.headers["x-cache"])
                # A stream is kept as a whole file.
                fresh = await say(client, "bob", **fields, cache=False)
                assert cached.content[44:] == fresh.content[44:], (pitch, text)
        assert "hit" in states


async def test_a_clip_that_changes_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (service, client):
        request = SynthesisRequest("你好。", "zh", voice_id="operators", seed=1)
        resolved = await service.resolve(request)
        key = await service.fingerprint(resolved)
        before = [chunk.samples async for chunk in (await service.synthesize(resolved)).chunks]
        (tmp_path / "voices/operators.wav").write_bytes(clip(700.0))
        after = [chunk.samples async for chunk in (await service.synthesize(resolved)).chunks]
        assert [piece.tobytes() for piece in after] == [piece.tobytes() for piece in before]
        assert await service.fingerprint(resolved) == key
        assert await service.fingerprint(request) != key
        assert (await say(client, "ann", voice_id="operators")).headers["x-cache"] == "miss"
