"""Both object stores keep whole files and give links that end; S3 is spoken over HTTP with a real server."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import httpx
import pytest

from sovits_service.errors import ForbiddenError, SettingsError, StorageError
from sovits_service.storage.objects.objects import LocalObjects, ObjectStore, check_key
from sovits_service.storage.objects.s3_objects import S3Objects
from tests.unit.storage.conftest import free_port
from tests.unit.storage.killed import kill_at_work

DATA = bytes(range(256)) * 300


def bucket(s3_url: str) -> str:
    name = f"speech-{secrets.token_hex(4)}"
    client = boto3.client(
        "s3", endpoint_url=s3_url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket=name)
    client.close()
    return name


def s3_objects(s3_url: str, **options: str) -> S3Objects:
    return S3Objects(bucket(s3_url), endpoint_url=s3_url, access_key_id="id", secret_access_key="secret", **options)


@pytest.fixture(params=["local", "s3", "s3 with prefix"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "local":
        yield LocalObjects(tmp_path / "objects")
    else:
        prefix = "team/speech/" if "prefix" in request.param else ""
        yield s3_objects(request.getfixturevalue("s3_url"), prefix=prefix)


async def test_files_come_back_whole(objects: ObjectStore) -> None:
    before = time.time() - 2
    await objects.put("audio/a.wav", DATA, "audio/wav")
    await objects.put("audio/温柔.wav", b"", "audio/wav")
    found = await objects.get("audio/a.wav")
    assert found is not None
    assert found.data == DATA
    assert (found.info.key, found.info.size_bytes) == ("audio/a.wav", len(DATA))
    assert before <= found.info.modified_s <= time.time() + 2
    empty = await objects.get("audio/温柔.wav")
    assert empty is not None
    assert empty.data == b""


async def test_a_file_is_replaced_listed_and_deleted(objects: ObjectStore) -> None:
    assert await objects.entries("") == []
    for key in ("uploads/b.wav", "uploads/a.wav", "uploads-of-others/c.wav", "voices/x.yaml"):
        await objects.put(key, b"one")
    await objects.put("uploads/a.wav", b"other")
    assert [info.key for info in await objects.entries("uploads/")] == ["uploads/a.wav", "uploads/b.wav"]
    assert [info.size_bytes for info in await objects.entries("uploads/a")] == [5]
    assert len(await objects.entries("")) == 4
    await objects.delete("uploads/a.wav")
    await objects.delete("uploads/a.wav")
    assert await objects.get("uploads/a.wav") is None
    assert await objects.get("uploads") is None


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a\0", "a\\b", "a b", "a?b", "é" * 300, "a\n"]
)
async def test_keys_that_mean_another_place_are_refused(objects: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await objects.put(key, b"x")
    with pytest.raises(ValueError, match="not a key"):
        await objects.get(key)
    with pytest.raises(ValueError, match="not a key"):
        await objects.url(key, 60)


def test_keys_that_are_fine() -> None:
    for key in ("a", "audio/0f.wav", "voices/温柔_女声-2.ab.wav", "a/b/c/d"):
        assert check_key(key) == key


async def test_many_writers_never_mix(objects: ObjectStore) -> None:
    bodies = [bytes([n]) * 50_000 for n in range(12)]
    await asyncio.gather(*(objects.put("same.bin", body) for body in bodies))
    found = await objects.get("same.bin")
    assert found is not None
    assert found.data in bodies


async def test_a_presigned_link_reads_with_ranges_and_ends(s3_url: str) -> None:
    objects = s3_objects(s3_url, prefix="p")
    await objects.put("audio/a.wav", DATA, "audio/wav")
    link = await objects.url("audio/a.wav", 600)
    query = parse_qs(urlsplit(link).query)
    assert query["X-Amz-Expires"] == ["600"]
    assert "secret" not in link
    async with httpx.AsyncClient(trust_env=False) as client:
        whole = await client.get(link)
        part = await client.get(link, headers={"Range": "bytes=100-299"})
    assert whole.content == DATA
    assert whole.headers["content-type"] == "audio/wav"
    assert (part.status_code, part.content) == (206, DATA[100:300])


async def test_links_may_begin_with_the_public_address(s3_url: str) -> None:
    objects = s3_objects(s3_url, public_url="https://audio.example")
    await objects.put("a.wav", DATA)
    assert (await objects.url("a.wav", 60)).startswith("https://audio.example/")
    found = await objects.get("a.wav")
    assert found is not None


async def test_a_bucket_in_the_hosts_name() -> None:
    objects = S3Objects(
        "speech",
        endpoint_url="https://speech.oss-cn-hangzhou.aliyuncs.com",
        region="cn-hangzhou",
        access_key_id="id",
        secret_access_key="secret",
        virtual_hosted=True,
    )
    link = urlsplit(await objects.url("a.wav", 60))
    assert (link.netloc, link.path) == ("speech.oss-cn-hangzhou.aliyuncs.com", "/a.wav")


async def test_a_store_that_is_down_is_a_storage_error_without_its_address() -> None:
    port = free_port()
    objects = S3Objects(
        "b", endpoint_url=f"http://127.0.0.1:{port}", access_key_id="id", secret_access_key="secret", timeout_s=1
    )
    for work in (objects.put("a", b"x"), objects.get("a"), objects.delete("a"), objects.entries("")):
        with pytest.raises(StorageError) as caught:
            await work
        assert str(port) not in str(caught.value)


async def test_a_wrong_bucket_is_a_storage_error(s3_url: str) -> None:
    objects = S3Objects("no-such-bucket", endpoint_url=s3_url, access_key_id="id", secret_access_key="secret")
    with pytest.raises(StorageError):
        await objects.put("a", b"x")


def test_settings_that_the_client_does_not_take() -> None:
    with pytest.raises(SettingsError):
        S3Objects("b", endpoint_url="no url at all")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def parts(link: str) -> tuple[str, str, str]:
    split = urlsplit(link)
    query = parse_qs(split.query)
    return unquote(split.path).removeprefix("/objects/"), query["expires"][0], query["signature"][0]


async def test_a_signed_link_of_this_service(tmp_path: Path) -> None:
    clock = Clock()
    objects = LocalObjects(tmp_path, "https://speech.example/objects/", clock=clock)
    await objects.put("audio/温柔.wav", DATA)
    link = await objects.url("audio/温柔.wav", 60)
    assert link.startswith("https://speech.example/objects/audio/")
    key, expires, signature = parts(link)
    assert objects.verify(key, expires, signature).read_bytes() == DATA
    clock.now += 59
    objects.verify(key, expires, signature)
    clock.now += 1
    with pytest.raises(ForbiddenError, match="expired"):
        objects.verify(key, expires, signature)


async def test_a_link_that_was_changed_is_refused(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    await objects.put("audio/a.wav", DATA)
    await objects.put("audio/b.wav", DATA)
    key, expires, signature = parts(await objects.url("audio/a.wav", 60))
    longer = str(int(expires) + 1000)
    for changed in [
        ("audio/b.wav", expires, signature),
        (key, longer, signature),
        (key, expires, signature[:-1]),
        (key, expires, ""),
        (key, expires, "é"),
        (key, expires + " ", signature),
        (key, "", signature),
        (key, "-1", signature),
        (f"./{key}", expires, signature),
        (f"../{tmp_path.name}/{key}", expires, signature),
        (".signing-secret", expires, signature),
    ]:
        with pytest.raises(ForbiddenError):
            objects.verify(*changed)
    objects.verify(key, expires, signature)


async def test_a_link_to_a_file_that_has_gone_is_refused(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    key, expires, signature = parts(await objects.url("audio/never.wav", 60))
    with pytest.raises(ForbiddenError):
        objects.verify(key, expires, signature)


async def test_replicas_of_a_folder_share_the_secret(tmp_path: Path) -> None:
    stores = [LocalObjects(tmp_path) for _ in range(8)]
    await stores[0].put("a.wav", DATA)
    links = await asyncio.gather(*(store.url("a.wav", 60) for store in stores))
    for link in links:
        assert stores[0].verify(*parts(link)).name == "a.wav"
    assert (tmp_path / ".signing-secret").stat().st_mode & 0o077 == 0
    assert len((tmp_path / ".signing-secret").read_bytes()) == 32
    assert [info.key for info in await stores[0].entries("")] == ["a.wav"]


async def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    objects = LocalObjects(tmp_path / "file")
    with pytest.raises(StorageError):
        await objects.put("a", b"x")


async def test_old_files_are_swept(tmp_path: Path) -> None:
    clock = Clock()
    objects = LocalObjects(tmp_path, clock=clock)
    for key, age_s in (("audio/old.wav", 100), ("audio/new.wav", 10), ("voices/old.wav", 100)):
        await objects.put(key, DATA)
        os.utime(tmp_path / key, (clock.now - age_s,) * 2)
    assert objects.sweep("audio/", 60) == 1
    assert [info.key for info in await objects.entries("")] == ["audio/new.wav", "voices/old.wav"]


async def test_a_reader_sees_the_old_or_the_new_file_never_half(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    await objects.put("a.bin", b"0" * 400_000)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            asyncio.run(objects.put("a.bin", str(number % 10).encode() * 400_000))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            found = await objects.get("a.bin")
            assert found is not None
            assert len(found.data) == 400_000
            assert len(set(found.data)) == 1
    finally:
        stop.set()
        writer.join()


WRITER = """
import asyncio, sys
from pathlib import Path
from sovits_service.storage.objects.objects import LocalObjects
async def main():
    objects = LocalObjects(Path(sys.argv[1]))
    for i in range(1_000_000):
        await objects.put(f"audio/{i % 20}.bin", bytes([i % 251]) * 300_000)
        print(i, flush=True)
asyncio.run(main())
"""


def test_kill_9_leaves_whole_files_only(tmp_path: Path) -> None:
    for round_ in range(4):
        kill_at_work(WRITER, tmp_path, 10 + round_)
    files = list((tmp_path / "audio").glob("[0-9]*.bin"))
    assert len(files) >= 10
    for file in files:
        data = file.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1
    for leftover in (tmp_path / "audio").glob(".*"):
        os.utime(leftover, (0, 0))
    LocalObjects(tmp_path).sweep("none/", 0)
    assert not list((tmp_path / "audio").glob(".*"))


@pytest.mark.parametrize("status", [200, 206])
async def test_half_a_body_is_no_file(status: int) -> None:
    """A store, or a proxy before it, that breaks off in the middle: what came is never taken for the file."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        ranged = b"Content-Range: bytes 0-%d/%d\r\n" % (len(DATA) - 1, len(DATA)) if status == 206 else b""
        writer.write(
            b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\nLast-Modified: Sun, 29 Nov 2026 10:00:00 GMT\r\n"
            b'ETag: "1"\r\n%sConnection: close\r\n\r\n' % (status, len(DATA), ranged)
        )
        writer.write(DATA[: len(DATA) // 2])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = S3Objects(
            "speech",
            endpoint_url=f"http://127.0.0.1:{port}",
            access_key_id="id",
            secret_access_key="secret",
            timeout_s=2.0,
        )
        with pytest.raises(StorageError):
            await store.get("uploads/a.wav")
