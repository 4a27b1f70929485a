"""Templates count as soon as they are written, are checked strictly, and one broken file harms no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sovits_service.errors import InvalidRequestError, QuotaExceededError, StorageError, UnknownVoiceError
from sovits_service.storage.files import write_atomic
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.types import Emotion, Voice
from tests.unit.storage.killed import kill_at_work

TEMPLATE = """
description: a calm voice
ref_audio: calm.wav
prompt_text: "你好，世界。"
prompt_lang: zh
aux_ref_audio: [calm2.wav]
timbre_ref_audio: calm2.wav
consent: the speaker, by letter
emotions:
  happy: {ref_audio: calm2.wav, prompt_text: "好啊！", prompt_lang: zh}
  难过: {ref_audio: calm.wav}
defaults:
  text_lang: zh
  top_k: 5
  temperature: 0.8
  speed_factor: 1
  split_bucket: false
  streaming_mode: 2
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    for name in ("calm.wav", "calm2.wav"):
        (folder / name).write_bytes(name.encode())
    (folder / "calm.yaml").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture
def store(root: Path) -> VoiceFolder:
    return VoiceFolder([root])


@pytest.fixture
def clip() -> Clip:
    return Clip(b"an upload")


def write(root: Path, voice_id: str, **fields: object) -> None:
    (root / f"{voice_id}.yaml").write_text(yaml.safe_dump({"ref_audio": "calm.wav", **fields}), encoding="utf-8")


def test_a_template_is_read_whole(store: VoiceFolder, root: Path) -> None:
    voice = store.get("calm")
    assert voice == Voice(
        voice_id="calm",
        ref_audio="calm.wav",
        prompt_text="你好，世界。",
        prompt_lang="zh",
        aux_ref_audio=("calm2.wav",),
        description="a calm voice",
        emotions={"happy": Emotion("calm2.wav", "好啊！", "zh"), "难过": Emotion("calm.wav")},
        defaults={
            "text_lang": "zh",
            "top_k": 5,
            "temperature": 0.8,
            "speed_factor": 1,
            "split_bucket": False,
            "streaming_mode": 2,
        },
        consent="the speaker, by letter",
        timbre_ref_audio="calm2.wav",
    )
    assert store.reference_path(voice) == root / "calm.wav"
    assert store.read_clips(voice) == {"calm.wav": Clip(b"calm.wav"), "calm2.wav": Clip(b"calm2.wav")}
    assert store.list() == [voice]


def test_new_changed_and_deleted_files_count_at_once(store: VoiceFolder, root: Path) -> None:
    assert len(store.list()) == 1
    write(root, "bright", description="one")
    assert [voice.voice_id for voice in store.list()] == ["bright", "calm"]
    write(root, "bright", description="two, longer")
    assert store.get("bright").description == "two, longer"
    assert store.list()[0].description == "two, longer"
    (root / "bright.yaml").unlink()
    assert [voice.voice_id for voice in store.list()] == ["calm"]
    with pytest.raises(UnknownVoiceError):
        store.get("bright")


def test_an_unchanged_file_is_not_parsed_again(store: VoiceFolder) -> None:
    assert store.get("calm") is store.get("calm")


@pytest.mark.parametrize(
    "voice_id", ["none", "", "..", "../calm", "calm.yaml", "CALM", "a" * 300, "calm\0", "calm/", "*"]
)
def test_unknown_ids(store: VoiceFolder, voice_id: str) -> None:
    with pytest.raises(UnknownVoiceError) as caught:
        store.get(voice_id)
    assert voice_id not in str(caught.value) or len(voice_id) < 3
    with pytest.raises(UnknownVoiceError):
        store.delete(voice_id)


def test_a_wrong_key_is_told_with_the_nearest_valid_one(store: VoiceFolder, root: Path) -> None:
    write(root, "typo", promt_text="hello")
    write(root, "typo2", defaults={"temprature": 1})
    with pytest.raises(
        UnknownVoiceError, match=r"typo cannot be used: unknown key 'promt_text', did you mean 'prompt_text'"
    ):
        store.get("typo")
    with pytest.raises(UnknownVoiceError, match=r"'temprature', did you mean 'temperature'"):
        store.get("typo2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "key: value"),
        ("just words", "key: value"),
        ("- a list", "key: value"),
        ("ref_audio: [", "not valid YAML at line"),
        ("ref_audio: calm.wav\nref_audio: calm2.wav", "appears twice"),
        ("description: no clip", "ref_audio is required"),
        ("ref_audio:", "ref_audio is required"),
        ("ref_audio: calm.wav\nprompt_text: 123", "prompt_text must be text; put it in quotes"),
        ("ref_audio: calm.wav\nprompt_text: hello", "prompt_lang is required"),
        ("ref_audio: calm.wav\naux_ref_audio: calm2.wav", "aux_ref_audio must be a list"),
        ("ref_audio: calm.wav\ntimbre_ref_audio: [calm2.wav]", "timbre_ref_audio must be text"),
        ("ref_audio: calm.wav\ntimbre_ref_audio: ../calm2.wav", "name of a file"),
        ("ref_audio: calm.wav\naux_ref_audio: [1]", "name of a file"),
        ("ref_audio: calm.wav\nemotions: [happy]", "emotions must be keys"),
        ("ref_audio: calm.wav\nemotions: {happy: calm.wav}", "emotions: each must hold ref_audio"),
        ("ref_audio: calm.wav\nemotions: {1: {ref_audio: calm.wav}}", "emotions: a name must be a text"),
        ("ref_audio: calm.wav\nemotions: {happy: {prompt_text: hi}}", "emotions: ref_audio is required"),
        ("ref_audio: calm.wav\nemotions: {happy: {ref_audio: ../calm.wav}}", "name of a file beside"),
        ("ref_audio: calm.wav\nemotions: {happy: {ref_audio: calm.wav, prompt_text: hi}}", "prompt_lang is required"),
        ("ref_audio: calm.wav\nemotions: {happy: {ref_audio: calm.wav, promt_text: hi}}", "emotions: unknown key"),
        ("ref_audio: calm.wav\nemotions: {happy: {ref_audio: gone.wav}}", "its clip gone.wav is not beside it"),
        ("ref_audio: calm.wav\ndefaults: {top_k: true}", "top_k must be a whole number"),
        ("ref_audio: calm.wav\ndefaults: {top_p: high}", "top_p must be a number"),
        ("ref_audio: calm.wav\ndefaults: {text: hello}", "unknown key 'text'"),
        ("ref_audio: ../calm.wav", "name of a file"),
        ("ref_audio: /etc/passwd", "name of a file"),
        ('ref_audio: "calm.wav\\0"', "name of a file"),
        ("ref_audio: none.wav", "not beside it"),
        ("ref_audio: calm.wav\ndescription: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: &a [x]\nref_audio: *a", "aliases"),
        ("ref_audio: calm.wav\ndescription: 2026-13-45", "not valid YAML"),
        ("[" * 3000, "nested too deeply"),
        ("ref_audio: calm.wav\ndescription: " + "x" * 70_000, "larger than 64 KiB"),
        ("\ufeff\x00", "not valid YAML"),
    ],
    ids=range(34),
)
def test_a_broken_template_names_itself_and_harms_no_other(
    store: VoiceFolder, root: Path, text: str, problem: str
) -> None:
    (root / "broken.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UnknownVoiceError, match="the voice broken cannot be used") as caught:
        store.get("broken")
    assert problem in str(caught.value)
    assert str(root) not in str(caught.value)
    assert [voice.voice_id for voice in store.list()] == ["calm"]
    assert problem in store.problems()["broken"]
    (root / "broken.yaml").write_text("ref_audio: calm.wav  # mended", encoding="utf-8")
    assert store.get("broken").ref_audio == "calm.wav"
    assert store.problems() == {}


def test_a_template_that_is_not_utf_8(store: VoiceFolder, root: Path) -> None:
    (root / "gbk.yaml").write_bytes("ref_audio: 你好.wav".encode("gbk"))
    assert store.problems() == {"gbk": "the file is not UTF-8"}


def test_a_clip_that_is_a_link_out_of_the_root_is_refused(store: VoiceFolder, root: Path) -> None:
    (root.parent / "secret.wav").write_bytes(b"secret")
    (root / "link.wav").symlink_to(root.parent / "secret.wav")
    write(root, "sly", ref_audio="link.wav")
    assert "not beside it" in store.problems()["sly"]


def test_names_in_any_script(store: VoiceFolder, root: Path) -> None:
    (root / "温柔.wav").write_bytes(b"x")
    write(root, "温柔女声", ref_audio="温柔.wav")
    assert store.reference_path(store.get("温柔女声")).name == "温柔.wav"


def test_an_earlier_root_hides_a_later_one(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.wav").write_bytes(b"mine")
    (own / "calm.yaml").write_text("ref_audio: mine.wav")
    store = VoiceFolder([own, root])
    assert store.reference_path(store.get("calm")) == own / "mine.wav"
    assert len(store.list()) == 1
    (own / "calm.yaml").unlink()
    assert store.get("calm").ref_audio == "calm.wav"


def test_a_root_that_is_missing_is_empty_and_made_by_the_first_voice(tmp_path: Path, clip: Clip) -> None:
    store = VoiceFolder([tmp_path / "later"])
    assert store.list() == []
    store.put(Voice("new", "u"), {"u": clip})
    assert store.get("new").voice_id == "new"


def test_an_accent_may_be_a_character_of_its_own(store: VoiceFolder, clip: Clip) -> None:
    composed, separate = "caf\u00e9", "cafe\u0301"
    written = store.put(Voice(separate, "clip.wav"), {"clip.wav": clip})
    assert {written.voice_id, store.get(separate).voice_id, store.get(composed).voice_id} == {composed}
    store.delete(separate)
    with pytest.raises(UnknownVoiceError):
        store.get(composed)


def test_put_keeps_copies_of_the_clips(store: VoiceFolder, clip: Clip) -> None:
    voice = Voice("new", "uploads/1", "hi", "en", ("uploads/2", "uploads/1"), "d", {"top_k": 3}, "agreed")
    stored = store.put(voice, {"uploads/1": clip, "uploads/2": clip})
    assert store.get("new") == stored
    assert replace(stored, ref_audio="uploads/1", aux_ref_audio=voice.aux_ref_audio) == voice
    assert store.reference_path(stored).read_bytes() == b"an upload"
    assert set(stored.aux_ref_audio) == {stored.ref_audio}
    assert len(stored.aux_ref_audio) == 2


def test_a_voice_has_a_bounded_number_of_emotions(store: VoiceFolder, root: Path) -> None:
    write(root, "moody", emotions={f"mood {number}": {"ref_audio": "calm.wav"} for number in range(65)})
    assert store.problems() == {"moody": "emotions has 65 entries; at most 64 are accepted"}


def test_put_keeps_the_clips_of_emotions(store: VoiceFolder, root: Path, clip: Clip) -> None:
    happy, sad = Emotion("uploads/2", "hurrah", "en"), Emotion("uploads/1")
    stored = store.put(
        Voice("new", "uploads/1", emotions={"happy": happy, "sad": sad}),
        {"uploads/1": clip, "uploads/2": Clip(b"another")},
    )
    assert store.get("new") == stored
    assert (stored.emotions["happy"].prompt_text, stored.emotions["sad"].ref_audio) == ("hurrah", stored.ref_audio)
    assert store.reference_path(stored, "happy").read_bytes() == b"another"
    store.put(Voice("new", "u"), {"u": clip})
    assert not (root / stored.emotions["happy"].ref_audio).exists()


def test_put_replaces_and_drops_the_clips_of_before(store: VoiceFolder, root: Path, clip: Clip) -> None:
    first = store.put(Voice("new", "u"), {"u": clip})
    second = store.put(Voice("new", "u"), {"u": Clip(b"another", ".flac")})
    assert second.ref_audio.endswith(".flac")
    assert not (root / first.ref_audio).exists()
    assert store.get("new") == second
    assert (root / "calm.wav").exists()


def test_delete_takes_own_clips_only(store: VoiceFolder, root: Path, clip: Clip) -> None:
    stored = store.put(Voice("new", "u"), {"u": clip})
    write(root, "borrower", ref_audio=stored.ref_audio)
    store.delete("new")
    assert [voice.voice_id for voice in store.list()] == ["borrower", "calm"]
    (root / "borrower.yaml").unlink()
    store.delete("calm")
    assert (root / "calm.wav").exists()  # put there by hand, not by the store


def test_a_deleted_voice_of_a_later_root_is_hidden(root: Path, tmp_path: Path, clip: Clip) -> None:
    own = tmp_path / "own"
    store = VoiceFolder([own, root])
    for _ in range(2):  # the package's own, then one in its place
        store.delete("calm")
        assert store.list() == []
        assert store.problems() == {}
        for use in (store.get, store.delete):
            with pytest.raises(UnknownVoiceError):
                use("calm")
        assert VoiceFolder([root]).get("calm").description == "a calm voice"
        assert [file.name for file in own.iterdir()] == ["calm.yaml"]
        store.put(Voice("calm", "u", description="mine"), {"u": clip})
        assert store.get("calm").description == "mine"
    store.delete("calm")
    (own / "calm.yaml").unlink()
    assert store.get("calm").description == "a calm voice"


def test_cleaning_up_looks_at_every_template(tmp_path: Path, clip: Clip) -> None:
    root = tmp_path / "many"
    store = VoiceFolder([root], max_voices=3)
    stored = [store.put(Voice(f"v{number}", "u"), {"u": clip}) for number in range(3)]
    with pytest.raises(QuotaExceededError, match="there are 3 voices"):
        store.put(Voice("v3", "u"), {"u": clip})
    assert not list(root.glob("v3*"))
    write(root, "v9", ref_audio=stored[0].ref_audio)  # by hand, beyond the bound
    write(root, "torn", ref_audio=stored[1].ref_audio, oops=1)
    assert len(store.list()) == 4
    store.delete("v0")
    store.delete("v1")
    assert (root / stored[0].ref_audio).exists()
    assert (root / stored[1].ref_audio).exists()  # the broken template may be mended
    assert store.reference_path(store.get("v2")).exists()


def test_a_full_disk_leaves_nothing_of_a_new_voice(
    store: VoiceFolder, root: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(root.iterdir())

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".yaml":
            raise StorageError("full")
        write_atomic(path, data)

    monkeypatch.setattr("sovits_service.storage.voices.voice_folder.write_atomic", full)
    with pytest.raises(StorageError):
        store.put(Voice("new", "u"), {"u": clip})
    assert sorted(root.iterdir()) == before


def test_a_voice_has_no_more_clips_than_a_request(store: VoiceFolder, root: Path, clip: Clip) -> None:
    names = [f"u{number}" for number in range(17)]
    with pytest.raises(InvalidRequestError, match="17 clips; at most 16"):
        store.put(Voice("new", "u0", aux_ref_audio=tuple(names)), dict.fromkeys(names, clip))
    write(root, "crowd", aux_ref_audio=["calm2.wav"] * 17)
    assert "at most 16" in store.problems()["crowd"]


def test_what_is_longer_than_a_template_may_be_is_refused_when_it_comes(store: VoiceFolder, clip: Clip) -> None:
    for changes in ({"prompt_text": "x" * 2001, "prompt_lang": "en"}, {"consent": "同" * 2001}):
        with pytest.raises(InvalidRequestError, match="more than 2000 characters"):
            store.put(replace(Voice("new", "u"), **changes), {"u": clip})
    with pytest.raises(InvalidRequestError, match="longer than 64 KiB"):
        store.put(Voice("new", "u", defaults={"text_lang": "x" * 70_000}), {"u": clip})
    assert [voice.voice_id for voice in store.list()] == ["calm"]


@pytest.mark.parametrize("voice_id", ["", ".", "../x", "a b", "a/b", "a" * 65, "女" * 70, "x.yaml", "-x", "x\0", "x\n"])
def test_ids_that_cannot_be_used(store: VoiceFolder, root: Path, clip: Clip, voice_id: str) -> None:
    before = sorted(root.iterdir())
    with pytest.raises(InvalidRequestError):
        store.put(Voice(voice_id, "u"), {"u": clip})
    assert sorted(root.iterdir()) == before


def test_an_id_that_differs_in_case_only_is_refused(store: VoiceFolder, clip: Clip) -> None:
    with pytest.raises(InvalidRequestError, match="upper and lower case"):
        store.put(Voice("Calm", "u"), {"u": clip})


def test_a_voice_that_could_not_be_read_back_is_not_written(store: VoiceFolder, root: Path, clip: Clip) -> None:
    before = sorted(root.iterdir())
    with pytest.raises(InvalidRequestError, match="did you mean 'top_k'"):
        store.put(Voice("new", "u", defaults={"topk": 3}), {"u": clip})
    with pytest.raises(InvalidRequestError, match="prompt_lang"):
        store.put(Voice("new", "u", prompt_text="hello"), {"u": clip})
    assert sorted(root.iterdir()) == before


WRITER = """
import sys
from pathlib import Path
from sovits_service.storage.voices.clip import Clip
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.types import Voice
root = Path(sys.argv[1])
store = VoiceFolder([root])
for i in range(100_000):
    clip = Clip(bytes([i % 251]) * 200_000)
    store.put(Voice(f"v{i % 7}", "c", description=str(i) * 500), {"c": clip})
    print(i, flush=True)
"""


def test_kill_9_leaves_every_voice_whole(root: Path) -> None:
    for round_ in range(4):
        kill_at_work(WRITER, root, 8 + round_)
        store = VoiceFolder([root])
        assert store.problems() == {}
        assert len(store.list()) == 8
        for voice in store.list():
            data = store.reference_path(voice).read_bytes()
            assert voice.voice_id == "calm" or (len(data) == 200_000 and len(set(data)) == 1)
