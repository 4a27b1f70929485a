"""Owner x action: what a key may do to voices and uploads of its own, of another key, and of the operator."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from sovits_service.settings import ServiceSettings
from tests.security.real_service import KEYS, clip, put_voice, running, say, upload


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(tmp_path) as (_, http):
        yield http


async def delete(client: httpx.AsyncClient, key: str, voice_id: str) -> int:
    return (await client.delete(f"/voices/{voice_id}", headers={"X-API-Key": key})).status_code


async def get(client: httpx.AsyncClient, key: str, voice_id: str) -> httpx.Response:
    return await client.get(f"/voices/{voice_id}", headers={"X-API-Key": key})


async def test_a_voice_is_changed_by_its_owner_and_by_administrators(client: httpx.AsyncClient) -> None:
    paths = {key: (await upload(client, key, clip())).json()["path"] for key in ("ann", "bob", "boss")}
    written = await put_voice(client, "ann", "eve", ref_audio_path=paths["ann"], consent="Eve, by mail")
    assert (written.status_code, written.json()["owner"]) == (200, "ann")
    for voice_id in ("eve", "operators"):  # another's, and the operator's
        before = (await get(client, "bob", voice_id)).json()
        refused = await put_voice(client, "bob", voice_id, ref_audio_path=paths["bob"])
        assert refused.status_code == 403
        assert await delete(client, "bob", voice_id) == 403
        assert (await get(client, "bob", voice_id)).json() == before
        assert (await say(client, "bob", voice_id=voice_id)).status_code == 200  # spoken with by every key
    assert (await put_voice(client, "ann", "eve", ref_audio_path=paths["ann"], owner="bob")).json()["owner"] == "ann"
    by_boss = await put_voice(client, "boss", "eve", **{**written.json(), "description": "mended"})
    assert (by_boss.status_code, by_boss.json()["owner"], by_boss.json()["consent"]) == (200, "ann", "Eve, by mail")
    assert (await put_voice(client, "boss", "operators", ref_audio_path=paths["boss"])).json()["owner"] == ""
    assert await delete(client, "ann", "eve") == 204
    assert await delete(client, "boss", "operators") == 204


async def test_what_the_operator_hid_or_broke_is_no_keys(client: httpx.AsyncClient, tmp_path: Path) -> None:
    path = (await upload(client, "ann", clip())).json()["path"]
    (tmp_path / "voices/hidden.yaml").write_text("hidden: true")
    (tmp_path / "voices/broken.yaml").write_text("owner: ann\nnonsense: 1")
    for voice_id in ("hidden", "broken"):
        assert (await put_voice(client, "ann", voice_id, ref_audio_path=path)).status_code == 403
    assert await delete(client, "ann", "broken") == 403
    assert (tmp_path / "voices/broken.yaml").exists()


async def test_an_upload_is_its_keys(client: httpx.AsyncClient) -> None:
    said = {"prompt_text": "secret words", "prompt_lang": "en"}
    stored = (await upload(client, "ann", clip(), **said)).json()
    for name in (stored["path"], stored["id"]):
        for fields in ({"ref_audio_path": name}, {"voice_id": "operators", "aux_ref_audio_paths": [name]}):
            assert (await say(client, "ann", **fields)).status_code == 200
            assert (await say(client, "boss", **fields)).status_code == 200
            refused = await say(client, "bob", **fields)
            assert (refused.status_code, "secret" in refused.text) == (403, False)
        assert (await put_voice(client, "bob", "stolen", ref_audio_path=name)).status_code == 403
    await upload(client, "bob", clip())  # who has the clip itself may upload it
    assert (await say(client, "bob", ref_audio_path=stored["path"])).status_code == 200


async def test_an_id_may_be_the_secret(tmp_path: Path) -> None:
    async with running(tmp_path, uploads={"access": "id"}) as (_, client):
        stored = (await upload(client, "ann", clip())).json()
        assert (await say(client, "bob", ref_audio_path=stored["id"])).status_code == 200


async def test_without_keys_everything_is_everybodys(tmp_path: Path) -> None:
    async with running(tmp_path, api_keys=()) as (_, client):
        stored = (await upload(client, "", clip())).json()
        assert (await say(client, "", ref_audio_path=stored["path"])).status_code == 200
        assert (await put_voice(client, "", "operators", ref_audio_path=stored["path"])).json()["owner"] == ""
        assert await delete(client, "", "operators") == 204


@pytest.mark.parametrize("twin", [{"name": "ann"}, {"sha256": KEYS[0]["sha256"]}])
def test_two_keys_of_one_name_or_hash_are_refused(twin: dict[str, str]) -> None:
    other = {"name": "other", "sha256": hashlib.sha256(b"other").hexdigest(), **twin}
    with pytest.raises(ValidationError, match="two keys have the same"):
        ServiceSettings(api_keys=(*KEYS, other))
