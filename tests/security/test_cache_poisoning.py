"""What one user does to a voice never comes out as another voice's speech, from the cache or otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .real_service import clip, put_voice, running, say, upload


async def test_a_voice_that_flips_between_clips_poisons_no_entry(tmp_path: Path) -> None:
    """Each cached answer is compared with what its own clip says without a cache."""
    clips = {220.0: clip(220.0), 440.0: clip(440.0)}
    texts = [f"你好，{word}。" for word in "天地人日月水火山石田"]
    async with running(tmp_path, max_concurrent_uploads_per_client=8) as (_, client):
        paths = {pitch: (await upload(client, "ann", data)).json()["path"] for pitch, data in clips.items()}
        assert (await put_voice(client, "ann", "flip", ref_audio_path=paths[220.0])).status_code == 200
        for pitch, path in paths.items():
            assert (await put_voice(client, "ann", f"still-{pitch:.0f}", ref_audio_path=path)).status_code == 200
        done = asyncio.Event()

        async def flip() -> None:
            while not done.is_set():
                for path in paths.values():
                    assert (await put_voice(client, "ann", "flip", ref_audio_path=path)).status_code == 200

        async def speak(text: str) -> None:
            answer = await say(client, "ann", voice_id="flip", text=text)
            assert answer.status_code == 200, answer.text

        flipping = asyncio.create_task(flip())
        try:
            for _ in range(3):
                await asyncio.gather(*(speak(text) for text in texts))
        finally:
            done.set()
            await flipping
        for pitch in paths:
            for text in texts:
                cached = await say(client, "bob", voice_id=f"still-{pitch:.0f}", text=text)
                fresh = await say(client, "bob", voice_id=f"still-{pitch:.0f}", text=text, cache=False)
                assert (cached.status_code, fresh.headers["x-cache"]) == (200, "bypass")
                assert cached.content == fresh.content, (pitch, text)


async def test_a_clip_that_changes_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (service, client):
        from sovits_service.types import SynthesisRequest

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
