"""No file of a client takes much memory or time: each is decoded in a process of its own, which is measured."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sovits_service.audio.load import decode_reference
from tests.security.sound_files import HOSTILE, filmed, fragmented_mp4, recorded, vorbis

ROOT = Path(__file__).parents[2]
MOST_BYTES, MOST_CPU_S = 150 * 2**20, 3.0
Measure = Callable[[str, bytes], dict[str, Any]]


@contextlib.contextmanager
def measuring(folder: Path, *arguments: str) -> Iterator[Measure]:
    """A process that forks for each file; see `bounded.py`."""
    command = [sys.executable, "-m", "tests.security.bounded", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def measure(work: str, data: bytes) -> dict[str, Any]:
            path = folder / "file"
            path.write_bytes(data)
            process.stdin.write(f"{work}\t{path}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield measure
        process.stdin.close()


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    with measuring(tmp_path_factory.mktemp("sound")) as measure:
        yield measure


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_takes_no_gigabytes_and_no_minutes(measure: Measure, name: str) -> None:
    data = HOSTILE[name]()
    assert len(data) < 6 * 2**20
    taken = measure("audio", data)
    assert taken["outcome"] in ("decoded", "ReferenceAudioError", "UnsupportedAudioError"), taken
    assert taken["peak_bytes"] < MOST_BYTES, taken
    assert taken["cpu_s"] < MOST_CPU_S, taken


def test_the_largest_clip_that_is_accepted_keeps_the_bound(measure: Measure) -> None:
    taken = measure("audio", recorded("flac", "flac", seconds=59.9))
    assert taken["outcome"] == "decoded"
    assert taken["peak_bytes"] < MOST_BYTES
    assert taken["cpu_s"] < MOST_CPU_S


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("ipod", "aac", {}),
        ("mp4", "alac", {}),
        ("mov", "pcm_s16le", {}),
        ("matroska", "pcm_s16le", {}),
        ("webm", "libopus", {"live": "1"}),
        ("ogg", "libopus", {}),
        ("mp3", "mp3", {"write_id3v1": "1"}),
        ("wav", "pcm_f32le", {"rf64": "always"}),
        ("wav", "pcm_mulaw", {}),
        ("adts", "aac", {"write_id3v2": "1"}),
        ("aiff", "pcm_s16be", {"write_id3v2": "1"}),
        ("aiff", "pcm_f32be", {}),
        ("asf", "wmav1", {}),
        ("asf", "wmav2", {}),
    ],
)
def test_files_as_programs_write_them_are_heard_whole(container: str, codec: str, options: dict[str, str]) -> None:
    reference = decode_reference(recorded(container, codec, options=options))
    assert reference.duration_s == pytest.approx(4.0, abs=0.08)
    spectrum = np.abs(np.fft.rfft(reference.samples))
    assert np.argmax(spectrum) / reference.duration_s == pytest.approx(220, abs=1)


@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_a_voice_message_of_a_telephone_is_heard_whole(container: str) -> None:
    reference = decode_reference(recorded(container, "libopencore_amrnb", rate_hz=8_000))
    assert (reference.sample_rate_hz, reference.duration_s) == (8_000, pytest.approx(4.0, abs=0.08))
    spectrum = np.abs(np.fft.rfft(reference.samples))
    assert np.argmax(spectrum) / reference.duration_s == pytest.approx(220, abs=2)


def test_wide_band_amr_is_heard_whole() -> None:
    frames = b"".join(b"\x04" + bytes((number * 7 + i * 31) % 256 for i in range(17)) for number in range(200))
    reference = decode_reference(b"#!AMR-WB\n" + frames)
    assert (reference.sample_rate_hz, reference.duration_s) == (16_000, pytest.approx(4.0, abs=0.05))


@pytest.mark.parametrize(
    ("container", "picture", "sound"),
    [("mp4", "mpeg4", "aac"), ("mov", "mpeg4", "aac"), ("matroska", "mpeg4", "aac"), ("webm", "libvpx", "libopus")],
)
def test_the_sound_of_a_video_is_heard_and_no_picture_is_decoded(container: str, picture: str, sound: str) -> None:
    reference = decode_reference(filmed(container, picture, sound))
    assert reference.duration_s == pytest.approx(4.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(reference.samples))
    assert np.argmax(spectrum) / reference.duration_s == pytest.approx(220, abs=1)


def test_a_fragmented_mp4_as_browsers_record_it_is_heard_whole() -> None:
    data = fragmented_mp4()
    assert data.count(b"moof") > 100
    assert decode_reference(data).duration_s == pytest.approx(4.0, abs=0.08)


@pytest.mark.parametrize("container", ["ogg", "webm", "matroska"])
def test_vorbis_is_heard_whole_in_every_container(container: str) -> None:
    assert decode_reference(vorbis(container)).duration_s == pytest.approx(4.0, abs=0.1)


def test_chained_ogg_files_are_heard_one_after_another() -> None:
    reference = decode_reference(vorbis("ogg", 2.0) + vorbis("ogg", 2.0))
    assert reference.duration_s == pytest.approx(4.0, abs=0.1)
