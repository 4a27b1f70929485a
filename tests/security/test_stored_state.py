"""What lies on the disk or in Redis is not believed: secrets, cached answers, copies from a shared store, folders."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sovits_service.errors import ForbiddenError, InvalidRequestError
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.results.cache import _MAGIC, CachedAudio, _digest, pack_audio, unpack_audio
from sovits_service.storage.results.disk_cache import DiskCache
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.shared_clips import SharedClips
from tests.security.real_service import running, say

AUDIO = CachedAudio(b"RIFF", "wav", 32_000, 1.5, 7, 0, ("quiet",))


@pytest.mark.parametrize("content", [b"", b"short"])
async def test_a_secret_that_anybody_could_guess_is_replaced(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / ".signing-secret").write_bytes(content)
    stores = [LocalObjects(folder) for _ in range(8)]
    await stores[0].put("audio/a.wav", b"x")
    links = await asyncio.gather(*(store.url("audio/a.wav", 60) for store in stores))
    secret = folder / ".signing-secret"
    assert len(secret.read_bytes()) == 32
    assert secret.stat().st_mode & 0o777 == 0o600
    for link in links:
        query = parse_qs(urlsplit(link).query)
        assert stores[0].verify("audio/a.wav", query["expires"][0], query["signature"][0]).read_bytes() == b"x"
    guessed = LocalObjects(tmp_path / "attacker")
    (tmp_path / "attacker").mkdir()
    guessed._secret = lambda: content  # type: ignore[method-assign] # what an attacker would sign with
    query = parse_qs(urlsplit(await guessed.url("audio/a.wav", 60)).query)
    with pytest.raises(ForbiddenError):
        stores[0].verify("audio/a.wav", query["expires"][0], query["signature"][0])


async def test_folders_are_for_the_service_alone(tmp_path: Path) -> None:
    await LocalObjects(tmp_path / "objects").put("audio/a.wav", b"x")
    await LocalObjects(tmp_path / "links").url("audio/a.wav", 60)
    ClipFolder(tmp_path / "uploads", []).add(b"clip")
    cache = DiskCache(tmp_path / "cache")
    await cache.size_bytes()
    await cache.close()
    modes = {folder.name: folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("objects", "links", "uploads", "cache"), 0o700)


def forged(key: str, head: Any, data: bytes = b"RIFF") -> bytes:
    """An entry with a right digest, as whoever can write to the cache can make it."""
    encoded = head if isinstance(head, bytes) else json.dumps(head).encode()
    body = struct.pack("<I", len(encoded)) + encoded + data
    return _MAGIC + _digest(key, body) + body


GOOD = {name: value for name, value in asdict(AUDIO).items() if name != "data"}
FORGED: list[Any] = [
    b"",
    b"not json",
    b"[" * 100_000,
    [],
    None,
    {},
    {**GOOD, "more": 1},
    {**GOOD, "media_type": "text/html"},
    {**GOOD, "media_type": "wav\r\nSet-Cookie: a=b"},
    {**GOOD, "media_type": ["wav"]},
    {**GOOD, "sample_rate_hz": 0},
    {**GOOD, "sample_rate_hz": "32000"},
    {**GOOD, "duration_s": float("nan")},
    {**GOOD, "duration_s": -1},
    {**GOOD, "seed": "7\r\nX: y"},
    {**GOOD, "seed": True},
    {**GOOD, "dropped_characters": -1},
    {**GOOD, "warnings": 5},
    {**GOOD, "warnings": [{"a": 1}]},
    {**GOOD, "warnings": ["x" * 100_000]},
]


def test_an_entry_that_no_answer_could_be_is_a_miss() -> None:
    assert unpack_audio("k", forged("k", GOOD)) == AUDIO == unpack_audio("k", pack_audio("k", AUDIO))
    for head in FORGED:
        assert unpack_audio("k", forged("k", head)) is None, head
    assert unpack_audio("k", forged("k", GOOD, data=b"")) is None
    body = b"\x01"  # too short for the length of the head
    assert unpack_audio("k", _MAGIC + _digest("k", body) + body) is None


async def test_an_entry_of_another_format_is_a_miss_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as (service, client):
        first = await say(client, "ann", voice_id="operators")
        assert service.results is not None
        get = service.results.get

        async def other_format(key: str) -> CachedAudio | None:
            return None if await get(key) is None else CachedAudio(b"<html>", "flac", 32_000, 1.0, 1)

        service.results.get = other_format  # type: ignore[method-assign]
        again = await say(client, "ann", voice_id="operators")
        assert (again.status_code, again.headers["x-cache"], again.content) == (200, "miss", first.content)


async def test_an_upload_of_a_shared_store_is_what_its_id_says(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "shared")
    stored = await SharedClips(ClipFolder(tmp_path / "1", []), objects).add(b"clip")
    await objects.put(stored.path, b"other")
    two = SharedClips(ClipFolder(tmp_path / "2", []), objects)
    with pytest.raises(InvalidRequestError):
        await two.read(stored.path)
    assert not list((tmp_path / "2").glob("*.wav"))
