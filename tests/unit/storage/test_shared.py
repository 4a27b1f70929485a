"""Two replicas with folders of their own and one object store know the same uploads and voices."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import obstore
import pytest

from sovits_service.errors import ForbiddenError, InvalidRequestError, StorageError, UnknownVoiceError
from sovits_service.storage.objects.objects import LocalObjects, ObjectInfo, ObjectStore, StoredObject
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.shared_clips import SharedClips
from sovits_service.storage.voices.shared_voices import SharedVoices
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.types import Voice
from tests.unit.storage.test_objects import s3_objects


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return (
        LocalObjects(tmp_path / "nfs") if request.param == "folder" else s3_objects(request.getfixturevalue("s3_url"))
    )


def references(folder: Path, objects: ObjectStore, **options: int) -> SharedClips:
    return SharedClips(ClipFolder(folder, []), objects, **options)


class Counting:
    """A real store that counts its reads, and can be down."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.reads = 0
        self.is_down = False

    async def put(self, key: str, data: bytes, content_type: str = "") -> None:
        self._check()
        await self._store.put(key, data, content_type)

    async def get(self, key: str) -> StoredObject | None:
        self._check()
        self.reads += 1
        return await self._store.get(key)

    async def delete(self, key: str) -> None:
        self._check()
        await self._store.delete(key)

    async def entries(self, prefix: str) -> list[ObjectInfo]:
        self._check()
        return await self._store.entries(prefix)

    async def url(self, key: str, expires_s: float) -> str:
        return await self._store.url(key, expires_s)

    def _check(self) -> None:
        if self.is_down:
            raise StorageError("down")


async def test_an_upload_to_one_replica_is_known_to_the_other(objects: ObjectStore, tmp_path: Path) -> None:
    one, two = references(tmp_path / "1", objects), references(tmp_path / "2", objects)
    stored = await one.add(b"clip", owner="key", details=UploadDetails("hi", "en", "agreed"))
    for name in (stored.path, stored.reference_id):
        assert (await two.details(name, "key")).consent == "agreed"
        assert (await two.read(name, "key")).data == b"clip"
    assert ClipFolder(tmp_path / "2", []).details(stored.reference_id, "key").consent == "agreed"
    with pytest.raises(InvalidRequestError):
        await two.read("0" * 64)
    with pytest.raises(InvalidRequestError):
        await two.read("../1/" + stored.path)


async def test_each_owner_keeps_what_it_said_of_the_same_clip(objects: ObjectStore, tmp_path: Path) -> None:
    one, two, three = (references(tmp_path / name, objects) for name in "123")
    stored = await one.add(b"clip", owner="a", details=UploadDetails("hi", "en", "a agreed"))
    await two.add(b"clip", owner="b", details=UploadDetails("hello", "en", "b agreed"))
    await two.add(b"clip", owner="a")  # again, on a replica that knows nothing of the first time
    for replica in (one, two, three):
        assert await replica.details(stored.path, "a") == UploadDetails("hi", "en", "a agreed")
        assert await replica.details(stored.path, "b") == UploadDetails("hello", "en", "b agreed")
        assert await replica.details(stored.path, "c") == UploadDetails()


async def test_a_private_upload_is_for_its_owner_on_every_replica(objects: ObjectStore, tmp_path: Path) -> None:
    one, two = (SharedClips(ClipFolder(tmp_path / name, [], is_private=True), objects) for name in ("1", "2"))
    stored = await one.add(b"clip", owner="a")
    for _ in range(2):  # not here, then here as the copy of another owner
        with pytest.raises(ForbiddenError):
            await two.read(stored.path, "b")
        assert (await two.read(stored.path, "a")).data == b"clip"
    await one.add(b"clip", owner="b")
    assert (await two.read(stored.path, "b")).data == b"clip"


async def test_what_an_owner_uses_counts_all_replicas(objects: ObjectStore, tmp_path: Path) -> None:
    one, two = references(tmp_path / "1", objects), references(tmp_path / "2", objects, max_local_bytes=0)
    await one.add(b"a" * 100, owner="a")
    stored = await two.add(b"b" * 100, owner="a")
    assert 200 < await one.usage_bytes("a") == await two.usage_bytes("a") < 400
    assert await one.usage_bytes("a", without=stored.reference_id) < 200
    assert await one.usage_bytes("b") == 0


async def test_fifty_requests_fetch_once(objects: ObjectStore, tmp_path: Path) -> None:
    counting = Counting(objects)
    stored = await references(tmp_path / "1", objects).add(b"clip")
    two = references(tmp_path / "2", counting)
    await asyncio.gather(*(two.read(stored.path) for _ in range(50)))
    assert counting.reads == 2  # the clip and what was said of it
    counting.is_down = True
    assert (await two.read(stored.path)).data == b"clip"


async def test_a_copy_does_not_outlive_the_upload(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "nfs")
    stored = await references(tmp_path / "1", objects).add(b"clip")
    half_a_day_ago = time.time() - 12 * 3600
    os.utime(tmp_path / "nfs" / stored.path, (half_a_day_ago, half_a_day_ago))
    await references(tmp_path / "2", objects).read(stored.path)
    assert (tmp_path / "2" / f"{stored.reference_id}.wav").stat().st_mtime == pytest.approx(half_a_day_ago, abs=1)
    two_days_ago = time.time() - 48 * 3600
    for file in (tmp_path / "nfs/uploads").iterdir():
        os.utime(file, (two_days_ago, two_days_ago))
    three = references(tmp_path / "3", objects)
    with pytest.raises(InvalidRequestError):
        await three.read(stored.path)
    assert await three.sweep() == 1
    assert await objects.entries("uploads/") == []


async def test_the_local_copies_are_bounded(objects: ObjectStore, tmp_path: Path) -> None:
    one = references(tmp_path / "1", objects, max_local_bytes=3500)
    clips = [bytes([number]) * 1000 for number in range(10)]
    uploads = [await one.add(clip) for clip in clips]
    two = references(tmp_path / "2", objects, max_local_bytes=3500)
    three = references(tmp_path / "3", objects, max_local_bytes=900)  # less than one clip
    for upload, clip in zip(uploads * 2, clips * 2, strict=True):
        for number, replica in enumerate((one, two, three), 1):
            assert (await replica.read(upload.path)).data == clip
            kept = [file.stat().st_size for file in (tmp_path / str(number)).glob("*")]
            assert sum(kept) <= (3500 if number < 3 else 0)


async def test_a_store_that_is_down_is_told_when_it_is_needed(tmp_path: Path) -> None:
    objects = Counting(LocalObjects(tmp_path / "nfs"))
    one = references(tmp_path / "1", objects)
    objects.is_down = True
    with pytest.raises(StorageError):
        await one.add(b"clip")
    with pytest.raises(StorageError):
        await one.read("f" * 64)


class Replica:
    def __init__(self, folder: Path, objects: ObjectStore, *further_roots: Path) -> None:
        self.root = folder
        self.voices = VoiceFolder([folder, *further_roots])
        self.shared = SharedVoices(self.voices, objects)

    def ids(self) -> list[str]:
        assert self.voices.problems() == {}
        return [voice.voice_id for voice in self.voices.list()]


@pytest.fixture
def clip() -> Clip:
    return Clip(b"clip one")


async def test_voices_follow_from_replica_to_replica(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    one, two = Replica(tmp_path / "1", objects), Replica(tmp_path / "2", objects)
    stored = await one.shared.put(Voice("温柔", "u", "hi", "en", ("u",)), {"u": clip})
    assert await two.shared.follow() == 2
    assert two.voices.get("温柔") == stored
    assert two.voices.reference_path(stored).read_bytes() == b"clip one"
    assert await two.shared.follow() == 0

    changed = await two.shared.put(Voice("温柔", "u", description="new"), {"u": Clip(b"clip two")})
    await one.shared.follow()
    assert one.voices.get("温柔") == changed
    assert one.voices.reference_path(changed).read_bytes() == b"clip two"
    assert not (tmp_path / "1" / stored.ref_audio).exists()
    assert len(await objects.entries("voices/")) == 2

    await one.shared.delete("温柔")
    await two.shared.follow()
    await one.shared.put(Voice("short", "u"), {"u": clip})
    await two.shared.follow()
    await two.shared.delete("short")
    await one.shared.follow()
    assert one.ids() == two.ids() == []
    assert await objects.entries("voices/") == []
    with pytest.raises(UnknownVoiceError):
        await two.shared.delete("温柔")


async def test_voices_put_there_by_hand_stay(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    one, two = Replica(tmp_path / "1", objects), Replica(tmp_path / "2", objects)
    (tmp_path / "2").mkdir(exist_ok=True)
    (tmp_path / "2/own.wav").write_bytes(b"own")
    (tmp_path / "2/own.yaml").write_text("ref_audio: own.wav")
    await one.shared.put(Voice("shared", "u"), {"u": clip})
    await two.shared.follow()
    assert two.ids() == ["own", "shared"]
    await one.shared.delete("shared")
    await two.shared.follow()
    assert two.ids() == ["own"]


async def test_a_voice_belongs_to_its_key_on_every_replica(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    one, two = Replica(tmp_path / "1", objects), Replica(tmp_path / "2", objects)
    await one.shared.put(Voice("eve", "u", owner="a"), {"u": clip}, "a")
    with pytest.raises(ForbiddenError):  # two has not looked yet
        await two.shared.put(Voice("eve", "u", owner="b"), {"u": clip}, "b")
    with pytest.raises(ForbiddenError):
        await two.shared.delete("eve", "b")
    await two.shared.put(Voice("eve", "u", owner="b", description="mended"), {"u": clip}, None)
    await one.shared.follow()
    assert (one.voices.get("eve").owner, one.voices.get("eve").description) == ("a", "mended")
    await one.shared.delete("eve", "a")


async def test_a_packaged_voice_is_hidden_on_all_replicas(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    VoiceFolder([tmp_path / "package"]).put(Voice("calm", "u"), {"u": clip})
    one, two = (Replica(tmp_path / name, objects, tmp_path / "package") for name in "12")
    for _ in range(2):  # the packaged one, then one in its place
        await one.shared.delete("calm")
        await two.shared.follow()
        assert one.ids() == two.ids() == []
        await one.shared.follow()
        assert one.ids() == []
        await two.shared.put(Voice("calm", "u", description="ours"), {"u": clip})
        await one.shared.follow()
        assert one.voices.get("calm").description == "ours"


async def test_a_voice_whose_name_begins_another_is_left_alone(
    objects: ObjectStore, tmp_path: Path, clip: Clip
) -> None:
    one = Replica(tmp_path / "1", objects)
    for voice_id in ("calm", "calm-2", "calm2"):
        await one.shared.put(Voice(voice_id, "u"), {"u": clip})
    await one.shared.delete("calm")
    two = Replica(tmp_path / "2", objects)
    await two.shared.follow()
    assert two.ids() == ["calm-2", "calm2"]


async def test_pulls_and_writes_at_the_same_time_lose_nothing(tmp_path: Path, clip: Clip) -> None:
    objects = LocalObjects(tmp_path / "nfs")
    replicas = [Replica(tmp_path / str(number), objects) for number in range(3)]

    async def write(number: int) -> None:
        await replicas[number % 3].shared.put(Voice(f"v{number}", "u"), {"u": clip})

    async def pull(replica: Replica) -> None:
        for _ in range(10):
            await replica.shared.follow()

    await asyncio.gather(*(write(number) for number in range(12)), *(pull(replica) for replica in replicas))
    for replica in replicas:
        await replica.shared.follow()
        assert len(replica.ids()) == 12


async def test_a_damaged_manifest_costs_only_a_download(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    one, two = Replica(tmp_path / "1", objects), Replica(tmp_path / "2", objects)
    await one.shared.put(Voice("calm", "u"), {"u": clip})
    await two.shared.follow()
    (tmp_path / "2/.shared.json").write_bytes(b"{")
    assert await two.shared.follow() == 2
    assert two.ids() == ["calm"]


async def test_what_others_put_into_the_store_is_passed_over(objects: ObjectStore, tmp_path: Path, clip: Clip) -> None:
    one, two = Replica(tmp_path / "1", objects), Replica(tmp_path / "2", objects)
    await one.shared.put(Voice("amy", "u", "hi", "en"), {"u": clip})
    foreign = ("voices/my notes.txt", "voices/.hidden", "voices/folder/amy.yaml", "uploads/a b.wav")
    if isinstance(objects, LocalObjects):
        for key in foreign:
            (tmp_path / "nfs" / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "nfs" / key).write_bytes(b"foreign")
    else:
        for key in foreign:
            await obstore.put_async(objects._store, key, b"foreign")  # type: ignore[attr-defined]
    await two.shared.follow()
    assert two.ids() == ["amy"]
    assert sorted(path.name for path in two.root.iterdir() if not path.name.startswith(".")) == [
        path.name for path in sorted(one.root.iterdir()) if not path.name.startswith(".")
    ]
    expiring = references(tmp_path / "3", objects, ttl_s=0)
    await expiring.sweep()
    await one.shared.delete("amy")
    await two.shared.follow()
    assert two.ids() == []
