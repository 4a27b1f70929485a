"""Voices and uploads over real folders and real clips: which content a request gets, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sovits_service.audio.encode import encode_whole
from sovits_service.audio.load import AudioLimits
from sovits_service.errors import InvalidRequestError, ReferenceAudioError, UnknownVoiceError
from sovits_service.service.clip_decoder import ClipDecoder
from sovits_service.service.voice_library import VoiceLibrary
from sovits_service.storage.voices.clip_folder import ClipFolder
from sovits_service.storage.voices.clip_store import ClipStore
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.storage.voices.voice_store import VoiceStore
from sovits_service.types import Emotion, SynthesisRequest, Voice

RATE_HZ = 16_000


def clip(duration_s: float = 4.0, pitch_hz: float = 200.0) -> bytes:
    times_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    return encode_whole((0.3 * np.sin(2 * np.pi * pitch_hz * times_s)).astype(np.float32), RATE_HZ, "wav")


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("own", "package"):
        (tmp_path / name).mkdir()
    return tmp_path / "own", tmp_path / "package"


@pytest.fixture
def library(tmp_path: Path, roots: tuple[Path, Path]) -> VoiceLibrary:
    return VoiceLibrary(
        VoiceStore(VoiceFolder(roots)), ClipStore(ClipFolder(tmp_path / "uploads", roots)), ClipDecoder(AudioLimits())
    )


@pytest.mark.parametrize("seconds", [1.0, 48.0])
async def test_auxiliary_clips_are_held_to_the_same_rules(
    library: VoiceLibrary, roots: tuple[Path, Path], seconds: float
) -> None:
    (roots[0] / "good.wav").write_bytes(clip())
    (roots[0] / "other.wav").write_bytes(clip(5.0))
    (roots[0] / "bad.wav").write_bytes(clip(seconds))
    expected = rf"auxiliary reference 2: the reference is {seconds} s; it must be 3 to 10 s"
    request = SynthesisRequest("hi", "en", ref_audio="good.wav", aux_ref_audio=("other.wav", "bad.wav"))
    with pytest.raises(ReferenceAudioError, match=expected):
        await library.decoder.decode(await library.read_clips(request, None))
    voice = Voice("amy", "good.wav", aux_ref_audio=("other.wav", "bad.wav"))
    with pytest.raises(ReferenceAudioError, match=expected):
        await library.put_voice(voice)
    (roots[0] / "amy.yaml").write_text("ref_audio: good.wav\naux_ref_audio: [other.wav, bad.wav]")
    with pytest.raises(ReferenceAudioError, match=expected):
        await library.decoder.decode(
            await library.read_clips(SynthesisRequest("hi", "en"), await library.voices.get("amy"))
        )


async def test_a_voice_that_is_edited_keeps_its_clips(library: VoiceLibrary, roots: tuple[Path, Path]) -> None:
    for root, pitch_hz in zip(roots, (200.0, 300.0), strict=True):
        (root / "amy.wav").write_bytes(clip(4.0, pitch_hz))
        (root / "aux.wav").write_bytes(clip(5.0, pitch_hz))
    (roots[1] / "amy.yaml").write_text("ref_audio: amy.wav\naux_ref_audio: [aux.wav]")
    packaged = await library.voices.get("amy")
    stored = await library.put_voice(packaged)  # as GET answered it: names that the first root has too
    kept = await library.voices.read_clips(stored, stored.clip_names)
    assert [read.data for read in kept.values()] == [clip(4.0, 300.0), clip(5.0, 300.0)]


async def test_an_emotion_has_a_reference_of_its_own(library: VoiceLibrary, roots: tuple[Path, Path]) -> None:
    for name, pitch_hz in (("calm", 200.0), ("happy", 300.0), ("aux", 250.0)):
        (roots[0] / f"{name}.wav").write_bytes(clip(4.0, pitch_hz))
    (roots[0] / "short.wav").write_bytes(clip(1.0))
    template = "ref_audio: calm.wav\naux_ref_audio: [aux.wav]\nemotions: {happy: {ref_audio: happy.wav}}"
    (roots[0] / "amy.yaml").write_text(template)
    request = SynthesisRequest("hi", "en", voice_id="amy", emotion="happy")
    voice = await library.voices.get("amy")
    heard = await library.read_clips(request, voice)
    assert [read.data for read in heard.references] == [clip(4.0, 300.0), clip(4.0, 250.0)]
    usual = await library.read_clips(replace(request, emotion=""), voice)
    assert usual.references[0].data == clip(4.0, 200.0)
    stored = await library.put_voice(voice)  # as GET answered it
    assert (await library.read_clips(request, stored)).references[0].data == clip(4.0, 300.0)
    with pytest.raises(ReferenceAudioError, match=r"emotion sad: the reference is 1.0 s; it must be 3 to 10 s"):
        await library.put_voice(replace(voice, emotions={"sad": Emotion("short.wav")}))
    with pytest.raises(UnknownVoiceError, match="no longer has the emotion"):
        await library.read_clips(request, replace(voice, emotions={}))


async def test_what_an_upload_says_can_be_spoken_with(library: VoiceLibrary) -> None:
    stored = await library.add_reference(clip(), UploadDetails("hi", "en", "me"), owner="amy")
    read = await library.read_clips(SynthesisRequest("hi", "en", ref_audio=stored.path), None)
    audio, warnings = await library.decoder.decode(read)
    assert audio.references[0].duration_s == 4.0
    assert stored.warnings == warnings


@pytest.fixture
def several(roots: tuple[Path, Path]) -> dict[str, bytes]:
    """Clips in the first root, and a voice `amy` with clips for everything."""
    clips = {name: clip(4.0, 200.0 + 50 * number) for number, name in enumerate(("one", "two", "aux", "deep", "happy"))}
    for name, data in clips.items():
        (roots[0] / f"{name}.wav").write_bytes(data)
    (roots[0] / "amy.yaml").write_text(
        "ref_audio: one.wav\naux_ref_audio: [aux.wav]\ntimbre_ref_audio: deep.wav\n"
        "emotions: {happy: {ref_audio: happy.wav}}"
    )
    return clips


@pytest.mark.parametrize(
    ("fields", "references", "timbre"),
    [
        ({"ref_audio": "one.wav", "timbre_ref_audio": "two.wav"}, ["one"], "two"),
        ({"ref_audio": "one.wav", "timbre_ref_audio": "one.wav"}, ["one"], None),
        # The timbre is averaged with the auxiliary clips; the reference has no part in it, unless it is named again.
        ({"ref_audio": "one.wav", "timbre_ref_audio": "two.wav", "aux_ref_audio": ("aux.wav",)}, ["one", "aux"], "two"),
        ({"ref_audio": "one.wav", "timbre_ref_audio": "two.wav", "aux_ref_audio": ("two.wav",)}, ["one"], "two"),
        ({"ref_audio": "one.wav", "aux_ref_audio": ("one.wav",)}, ["one"], None),
        ({"voice_id": "amy"}, ["one", "aux"], "deep"),
        ({"voice_id": "amy", "emotion": "happy"}, ["happy", "aux"], "deep"),
        ({"voice_id": "amy", "timbre_ref_audio": "two.wav"}, ["one"], "two"),
        ({"voice_id": "amy", "aux_ref_audio": ("two.wav",)}, ["one", "two"], "deep"),
        ({"voice_id": "amy", "ref_audio": "two.wav"}, ["two"], None),
        ({"voice_id": "amy", "ref_audio": "two.wav", "timbre_ref_audio": "deep.wav"}, ["two"], "deep"),
    ],
)
async def test_which_clips_give_manner_and_timbre(
    library: VoiceLibrary, several: dict[str, bytes], fields: dict[str, object], references: list[str], timbre: str
) -> None:
    request = SynthesisRequest("hi", "en", **fields)  # type: ignore[arg-type]
    voice = await library.voices.get("amy") if request.voice_id else None
    clips = await library.read_clips(request, voice)
    assert [read.data for read in clips.references] == [several[name] for name in references]
    assert (clips.timbre and clips.timbre.data) == (timbre and several[timbre])


async def test_the_reference_may_count_in_the_timbre_that_replaces_it(
    library: VoiceLibrary, several: dict[str, bytes]
) -> None:
    request = SynthesisRequest(
        "hi", "en", ref_audio="one.wav", timbre_ref_audio="two.wav", aux_ref_audio=("one.wav", "one.wav")
    )
    clips = await library.read_clips(request, None)
    assert [read.data for read in clips.references] == [several["one"], several["one"]]


async def test_a_clip_for_the_timbre_is_held_to_the_same_rules(
    library: VoiceLibrary, roots: tuple[Path, Path], several: dict[str, bytes]
) -> None:
    (roots[0] / "short.wav").write_bytes(clip(1.0))
    expected = "timbre_ref_audio_path: the reference is 1.0 s; it must be 3 to 10 s"
    request = SynthesisRequest("hi", "en", ref_audio="one.wav", timbre_ref_audio="short.wav")
    with pytest.raises(ReferenceAudioError, match=expected):
        await library.decoder.decode(await library.read_clips(request, None))
    with pytest.raises(ReferenceAudioError, match=expected):
        await library.put_voice(Voice("bob", "one.wav", timbre_ref_audio="short.wav"))
    with pytest.raises(InvalidRequestError, match="not an upload's id"):
        await library.read_clips(replace(request, timbre_ref_audio="none.wav"), None)


async def test_a_voice_keeps_its_clip_for_the_timbre(library: VoiceLibrary, several: dict[str, bytes]) -> None:
    stored = await library.put_voice(Voice("bob", "one.wav", timbre_ref_audio="two.wav"))
    clips = await library.read_clips(SynthesisRequest("hi", "en", voice_id="bob"), await library.voices.get("bob"))
    assert clips.timbre is not None
    assert clips.timbre.data == several["two"]
    assert stored.timbre_ref_audio.startswith("bob.")
    again = await library.put_voice(stored)  # as GET answered it
    assert again == stored
