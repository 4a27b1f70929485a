"""Uploads live under their content's hash for a limited time; no name leads out of the allowed folders."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sovits_service.errors import ForbiddenError, InvalidRequestError, StorageError
from sovits_service.storage.files import write_atomic
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.upload_details import UploadDetails
from tests.unit.storage.killed import kill_at_work

CLIP = b"RIFF clip"


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A service's folder: a voices root with clips, and a secret outside it."""
    (tmp_path / "voices/demo").mkdir(parents=True)
    (tmp_path / "voices/clip.wav").write_bytes(CLIP)
    (tmp_path / "voices/demo/参考 (1).wav").write_bytes(CLIP)
    (tmp_path / "voices/.hidden.wav").write_bytes(CLIP)
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (tmp_path / "voices-of-others").mkdir()
    (tmp_path / "voices-of-others/clip2.wav").write_bytes(b"secret")
    return tmp_path


@pytest.fixture
def store(house: Path, clock: Clock) -> ClipFolder:
    return ClipFolder(house / "data/uploads", [house / "voices"], clock=clock)


def test_an_upload_is_named_by_its_content(store: ClipFolder) -> None:
    upload = store.add(CLIP)
    assert upload.reference_id == hashlib.sha256(CLIP).hexdigest()
    assert upload.path == f"uploads/{upload.reference_id}.wav"
    assert upload.file.read_bytes() == CLIP
    assert upload.size_bytes == len(CLIP)


def test_an_upload_is_found_by_its_path_and_its_id(store: ClipFolder) -> None:
    upload = store.add(CLIP)
    for name in (upload.path, upload.reference_id, f"{upload.reference_id}.wav", str(upload.file)):
        assert store.resolve(name).read_bytes() == CLIP


def test_the_same_content_is_kept_once(store: ClipFolder) -> None:
    assert store.add(CLIP) == store.add(CLIP)
    assert len(list(store.add(CLIP).file.parent.glob("*.wav"))) == 1


def test_what_was_said_of_an_upload_belongs_to_who_said_it(store: ClipFolder) -> None:
    upload = store.add(CLIP, owner="a", details=UploadDetails("你好", "zh", "the speaker agreed"))
    store.add(CLIP, owner="b", details=UploadDetails("hello", "en"))
    assert store.details(upload.reference_id, "a") == UploadDetails("你好", "zh", "the speaker agreed")
    assert store.details(upload.path, "b").prompt_text == "hello"
    assert store.details(upload.reference_id, "c") == UploadDetails()
    assert store.details("../../etc/passwd", "a") == UploadDetails()


@pytest.mark.parametrize("name", ["voices/clip.wav", "./voices/clip.wav", "clip.wav", "voices/demo/参考 (1).wav"])
def test_clips_under_a_root_are_found(store: ClipFolder, house: Path, name: str) -> None:
    assert store.resolve(name).read_bytes() == CLIP
    assert store.resolve(str(house / "voices/clip.wav")).read_bytes() == CLIP


def test_names_are_seen_from_the_working_directory(
    store: ClipFolder, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house / "voices")
    assert store.resolve("demo/参考 (1).wav").read_bytes() == CLIP
    monkeypatch.chdir(house)
    with pytest.raises(InvalidRequestError):
        store.resolve("secret.wav")


HOSTILE = [
    "",
    ".",
    "/",
    "~",
    "~root/.bashrc",
    "..",
    "../secret.wav",
    "../../etc/passwd",
    "voices/../secret.wav",
    "voices/demo/../../secret.wav",
    "voices/../voices/clip.wav",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "file:///etc/passwd",
    "voices",
    "voices/",
    "voices/demo",
    "voices/.hidden.wav",
    "voices-of-others/clip2.wav",
    "voices\\..\\secret.wav",
    "voices/clip.wav\0",
    "\0",
    "voices/clip.wav\n",
    "voices/clip\u202evaw.wav",
    "voices/\u200bclip.wav",
    "．．/secret.wav",
    "..／secret.wav",
    "voices／../secret.wav",
    "‥/secret.wav",
    "\ud800.wav",
    "a" * 4096,
    "a/" * 2000 + "clip.wav",
    "voices/" + "é" * 200 + ".wav",
    "VOICES/CLIP.WAV",
    "uploads/" + "0" * 64 + ".wav",
    "uploads/../../secret.wav",
    "0" * 64,
    "uploads/" + "g" * 64,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_leads_out_of_the_roots(
    store: ClipFolder, house: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house / "voices-of-others")
    with pytest.raises(InvalidRequestError) as caught:
        store.resolve(name)
    assert "secret" not in str(caught.value)
    assert str(house) not in str(caught.value)


def test_a_file_outside_and_a_missing_one_get_the_same_words(store: ClipFolder, house: Path) -> None:
    words = set()
    for name in (str(house / "secret.wav"), str(house / "none.wav"), "none.wav", "../secret.wav"):
        with pytest.raises(InvalidRequestError) as caught:
            store.resolve(name)
        words.add(str(caught.value))
    assert len(words) == 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "voices", "secret.wav", "clip.wav", "", "／", "．．", "demo", "\0", "link", "~"])
        | st.text(max_size=5),
        max_size=6,
    ),
    absolute=st.booleans(),
)
def test_whatever_is_found_is_under_a_root(store: ClipFolder, house: Path, parts: list[str], absolute: bool) -> None:
    name = ("/" if absolute else "") + "/".join(parts)
    try:
        found = store.resolve(name)
    except InvalidRequestError:
        return
    assert found.is_relative_to(house / "voices")


def test_links_must_end_under_a_root(store: ClipFolder, house: Path) -> None:
    (house / "voices/out.wav").symlink_to(house / "secret.wav")
    (house / "voices/in.wav").symlink_to(house / "voices/clip.wav")
    (house / "voices/folder").symlink_to(house)
    (house / "voices/loop.wav").symlink_to(house / "voices/loop.wav")
    assert store.resolve("voices/in.wav").name == "clip.wav"
    for name in ("voices/out.wav", "voices/folder/secret.wav", "voices/loop.wav"):
        with pytest.raises(InvalidRequestError):
            store.resolve(name)


def test_a_root_may_itself_be_a_link(house: Path) -> None:
    (house / "linked").symlink_to(house / "voices")
    assert ClipFolder(house / "uploads", [house / "linked"]).resolve("linked/clip.wav").read_bytes() == CLIP


def test_what_is_no_regular_file_is_refused(store: ClipFolder, house: Path) -> None:
    os.mkfifo(house / "voices/pipe.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(house / "voices/s.wav"))
        for name in ("voices/pipe.wav", "voices/s.wav"):
            with pytest.raises(InvalidRequestError):
                store.resolve(name)


def test_an_upload_planted_as_a_link_is_refused(store: ClipFolder, house: Path) -> None:
    folder = store.add(CLIP).file.parent
    (folder / ("f" * 64 + ".wav")).symlink_to(house / "secret.wav")
    with pytest.raises(InvalidRequestError):
        store.resolve("f" * 64)


def test_an_upload_expires_after_a_day(store: ClipFolder, clock: Clock) -> None:
    upload = store.add(CLIP)
    clock.now += 24 * 3600 - 60
    assert store.sweep() == 0
    store.resolve(upload.reference_id)
    clock.now += 61
    for name in (upload.reference_id, upload.path, str(upload.file)):
        with pytest.raises(InvalidRequestError):
            store.resolve(name)
    assert store.sweep() == 1
    clock.now += 3600
    store.sweep()
    assert list(upload.file.parent.iterdir()) == []


def test_uploading_again_starts_the_day_anew(store: ClipFolder, clock: Clock) -> None:
    store.add(CLIP)
    clock.now += 20 * 3600
    upload = store.add(CLIP)
    clock.now += 20 * 3600
    assert store.sweep() == 0
    assert store.resolve(upload.path).read_bytes() == CLIP


def test_clips_of_voices_do_not_expire(store: ClipFolder, clock: Clock) -> None:
    clock.now += 10 * 365 * 86400
    store.sweep()
    assert store.resolve("voices/clip.wav").read_bytes() == CLIP


def test_what_an_owner_uses_is_clips_and_what_is_said_of_them(house: Path, clock: Clock) -> None:
    store = ClipFolder(house / "uploads", [], clock=clock)
    first = store.add(b"a" * 60, owner="a")
    store.add(b"b" * 60, owner="a", details=UploadDetails("x" * 400))
    store.add(b"b" * 60, owner="b")
    on_disk = sum(file.stat().st_size for file in (house / "uploads").iterdir())
    said_by_b = next((house / "uploads").glob("*.b.json")).stat().st_size
    assert store.usage_bytes("a") == on_disk - said_by_b > 520
    assert store.usage_bytes("b") == 60 + said_by_b
    assert store.usage_bytes("c") == 0
    assert store.usage_bytes("a") - store.usage_bytes("a", without=first.reference_id) < 160
    clock.now += 2 * 86400
    assert store.usage_bytes("a") == 0


def test_uploading_again_keeps_what_was_said(store: ClipFolder) -> None:
    upload = store.add(CLIP, owner="a", details=UploadDetails("hi", "en", "agreed"))
    store.add(CLIP, owner="a")
    store.add(CLIP, owner="a", details=UploadDetails(consent="agreed in writing"))
    assert store.details(upload.path, "a") == UploadDetails("hi", "en", "agreed in writing")
    store.add(CLIP, owner="a", details=UploadDetails("嗨", "zh"))
    assert store.details(upload.path, "a") == UploadDetails("嗨", "zh", "agreed in writing")


def test_a_full_disk_leaves_nothing_of_an_upload(store: ClipFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.add(b"another", owner="a").file.parent
    before = sorted(folder.iterdir())

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".wav":
            raise StorageError("full")
        write_atomic(path, data)

    monkeypatch.setattr("sovits_service.storage.voices.clip_folder.write_atomic", full)
    with pytest.raises(StorageError):
        store.add(CLIP, owner="a", details=UploadDetails("hi", "en"))
    assert sorted(folder.iterdir()) == before
    store.add(b"another", owner="a")  # the clip is there: its life begins anew, and nothing needs room


def test_shrinking_takes_the_oldest_with_what_is_said_of_them(store: ClipFolder, clock: Clock) -> None:
    uploads = []
    for number in range(4):
        uploads.append(store.add(bytes([number]) * 1000, owner="a", details=UploadDetails("x" * 500)))
        clock.now += 1
    folder = uploads[0].file.parent
    assert store.shrink(3500) == 2
    assert {file.name[:64] for file in folder.iterdir()} == {upload.reference_id for upload in uploads[2:]}
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 3500


def test_a_private_upload_is_for_its_owner(house: Path) -> None:
    store = ClipFolder(house / "uploads", [house / "voices"], is_private=True)
    upload = store.add(CLIP, owner="a")
    for name in (upload.path, upload.reference_id, str(upload.file), f"voices/../{upload.path}"[10:]):
        assert store.read(name, "a").data == CLIP
        assert store.read(name, None).data == CLIP
        with pytest.raises(ForbiddenError):
            store.read(name, "b")
    assert store.read("voices/clip.wav", "b").data == CLIP
    store.add(CLIP, owner="b")
    assert store.read(upload.path, "b").data == CLIP


def test_what_is_said_of_an_upload_is_no_clip(store: ClipFolder) -> None:
    upload = store.add(CLIP, owner="a", details=UploadDetails("secret words"))
    for name in (f"uploads/{upload.reference_id}.a.json", str(upload.file.parent / f"{upload.reference_id}.a.json")):
        with pytest.raises(InvalidRequestError):
            store.resolve(name)


def test_the_folder_of_uploads_is_for_the_service_alone(store: ClipFolder) -> None:
    assert store.add(CLIP).file.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_details_file_loses_no_upload(store: ClipFolder) -> None:
    upload = store.add(CLIP, details=UploadDetails("text", "en"))
    upload.file.with_suffix(".json").write_bytes(b'{"": {"prom')
    assert store.resolve(upload.path).read_bytes() == CLIP
    assert store.details(upload.reference_id) == UploadDetails()


def test_only_the_services_own_suffixes(store: ClipFolder) -> None:
    with pytest.raises(ValueError, match="exe"):
        store.add(CLIP, ".exe")


UPLOADER = """
import sys
from pathlib import Path
from sovits_service.storage.voices.clip_folder import ClipFolder
store = ClipFolder(Path(sys.argv[1]), [])
for i in range(100_000):
    store.add(bytes([i % 251]) * 300_000 + str(i).encode())
    print(i, flush=True)
"""


def test_kill_9_leaves_no_torn_upload(tmp_path: Path) -> None:
    for round_ in range(5):
        kill_at_work(UPLOADER, tmp_path, 3 + round_)
    files = list(tmp_path.glob("[0-9a-f]*.wav"))
    assert len(files) >= 7
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
    for leftover in (*tmp_path.glob(".*.tmp"), *tmp_path.glob("*.json")):
        os.utime(leftover, (0, 0))
    store = ClipFolder(tmp_path, [])
    store.sweep()
    assert not list(tmp_path.glob(".*"))
    # A details file without its clip goes; one with its clip stays.
    assert {file.stem for file in tmp_path.glob("*.json")} <= {file.stem for file in files}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (r"C:\voices\clip.wav", "clip.wav"),
        (r"c:\Users\me\GPT-SoVITS\clip.wav", "clip.wav"),
        ("D:/GPT-SoVITS/voices/clip.wav", "clip.wav"),
        (r"voices\clip.wav", "clip.wav"),
        (r".\voices\clip.wav", "clip.wav"),
        (r"\\server\share\clip.wav", "clip.wav"),
        (r"E:\somewhere\demo\参考 (1).wav", "demo/参考 (1).wav"),
    ],
)
def test_a_path_of_a_windows_machine_means_the_file_of_that_name(
    store: ClipFolder, house: Path, name: str, file: str
) -> None:
    assert store.resolve(name) == house / "voices" / file


@pytest.mark.parametrize(
    "name",
    [
        r"C:\voices\other.wav", r"C:\secret.wav", "C:\\", "C:/", "\\", r"..\secret.wav", r"C:\..\..\secret.wav",
        r"C:\voices-of-others\clip2.wav", r"C:\voices\.hidden.wav", "\\".join(["a"] * 2000), "C:\\\0clip.wav",
    ],
)  # fmt: skip
def test_no_path_of_a_windows_machine_leads_out(store: ClipFolder, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="Windows machine"):
        store.resolve(name)


def test_an_upload_by_a_windows_path(store: ClipFolder) -> None:
    upload = store.add(CLIP)
    assert store.resolve(upload.path.replace("/", "\\")) == upload.file.resolve()
