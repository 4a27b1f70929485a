"""What a key keeps on the disk is bounded as a whole: uploads, what is said of them, and clips copied into voices."""

from __future__ import annotations

from pathlib import Path

from tests.security.real_service import clip, put_voice, running, upload

QUOTA_BYTES = 600_000  # the wav of a clip is about 112,000


def owned_bytes(folder: Path, key: str) -> int:
    """All files of a key, by what the service's own listing cannot overlook: names and contents."""
    uploads = [
        file
        for file in (folder / "uploads").iterdir()
        if (folder / "uploads" / f"{file.stem[:64]}.{key}.json").exists()
    ]
    voices = list((folder / "voices").glob("v*"))
    return sum(file.stat().st_size for file in (*uploads, *voices))


async def test_voices_and_details_count(tmp_path: Path) -> None:
    async with running(tmp_path, uploads={"quota_bytes": QUOTA_BYTES}) as (_, client):
        stored = await upload(client, "ann", clip(), consent="x" * 2000)
        statuses = []
        for number in range(12):
            answer = await put_voice(client, "ann", f"v{number}", ref_audio_path=stored.json()["path"])
            statuses.append(answer.status_code)
            assert owned_bytes(tmp_path, "ann") <= QUOTA_BYTES
        assert statuses == [200] * 4 + [429] * 8
        assert "uploads and voices of this key" in answer.json()["message"]
        assert (await upload(client, "ann", clip(300.0))).status_code == 429
        assert (await upload(client, "ann", clip())).status_code == 200  # again: takes nothing more
        again = await put_voice(client, "ann", "v0", ref_audio_path=stored.json()["path"], consent="mine")
        assert again.status_code == 200  # in the place of itself
        assert (await upload(client, "bob", clip(300.0))).status_code == 200  # another's quota is its own
        assert (await client.delete("/voices/v0", headers={"X-API-Key": "ann"})).status_code == 204
        assert (await put_voice(client, "ann", "v5", ref_audio_path=stored.json()["path"])).status_code == 200
