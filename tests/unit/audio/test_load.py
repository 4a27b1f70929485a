"""Clips come in by content and within limits; what cannot be a voice is refused with what to do about it."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sovits_service.audio.encode import encode_whole
from sovits_service.audio.load import AudioLimits, decode_reference, trim_reference
from sovits_service.audio.quality import check_duration, measure_reference, validate_reference
from sovits_service.errors import ReferenceAudioError, SovitsError, UnsupportedAudioError, UploadTooLargeError
from sovits_service.types import FloatArray, ReferenceAudio
from tests.unit.audio.conftest import MakeVoice

RATE = 32000


def _container(samples: FloatArray, rate: int, container: str, codec: str, layout: str = "mono") -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = layout
        stream.bit_rate = 128_000
        stream.format = "flt" if codec == "libopus" else "fltp"
        data = np.tile(samples, (len(stream.layout.channels), 1))
        if stream.format.is_packed:
            data = data.T.reshape(1, -1).copy()
        frame = av.AudioFrame.from_ndarray(data, stream.format.name, layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return sink.getvalue()


def _libsndfile(samples: FloatArray, rate: int, container: str, subtype: str | None = None) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format=container, subtype=subtype)
    return sink.getvalue()


def _reference(samples: FloatArray, rate: int = RATE) -> ReferenceAudio:
    return ReferenceAudio(samples, rate, "0" * 64)


def _file(kind: str, samples: FloatArray) -> bytes:
    if kind == "m4a":
        return _container(samples, RATE, "ipod", "aac")
    if kind == "webm":
        return _container(soxr.resample(samples, RATE, 48000), 48000, "webm", "libopus")
    if kind in ("adts", "asf"):
        return _container(samples, RATE, kind, {"adts": "aac", "asf": "wmav2"}[kind])
    return _libsndfile(samples, RATE, {"ogg": "OGG", "mp3": "MP3"}.get(kind, kind.upper()))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "webm"])
def test_every_accepted_format_decodes_by_content(make_voice: MakeVoice, kind: str) -> None:
    samples = make_voice(4.0, RATE)
    data = _file(kind, samples)
    reference = decode_reference(data)
    assert reference.sample_rate_hz == (48000 if kind == "webm" else RATE)
    assert reference.duration_s == pytest.approx(4.0, abs=0.07)
    assert reference.samples.dtype == np.float32
    assert np.abs(reference.samples).max() == pytest.approx(0.5, rel=0.1)
    assert reference.content_hash == hashlib.sha256(data).hexdigest()
    validate_reference(reference)


def test_a_file_and_its_bytes_are_the_same_reference(make_voice: MakeVoice, tmp_path: Path) -> None:
    data = _libsndfile(make_voice(3.5, RATE), RATE, "WAV")
    (tmp_path / "not-a-wav.txt").write_bytes(data)
    from_path, from_bytes = decode_reference(tmp_path / "not-a-wav.txt"), decode_reference(data)
    assert from_path.content_hash == from_bytes.content_hash
    assert np.array_equal(from_path.samples, from_bytes.samples)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_in_every_sample_format(make_voice: MakeVoice, subtype: str) -> None:
    samples = make_voice(3.5, RATE)
    reference = decode_reference(_libsndfile(samples, RATE, "WAV", subtype))
    assert len(reference.samples) == len(samples)
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.02}.get(subtype, 1e-4)
    assert np.abs(reference.samples - samples).max() < tolerance


def test_stereo_becomes_the_mean_of_its_channels(make_voice: MakeVoice) -> None:
    left = make_voice(3.5, RATE)
    reference = decode_reference(_libsndfile(np.stack([left, np.zeros_like(left)], axis=1), RATE, "WAV", "FLOAT"))
    assert np.allclose(reference.samples, left / 2, atol=1e-6)


def test_float_files_beyond_full_scale_are_scaled_down(make_voice: MakeVoice) -> None:
    reference = decode_reference(_libsndfile(make_voice(3.5, RATE) * 4, RATE, "WAV", "FLOAT"))
    assert np.abs(reference.samples).max() == pytest.approx(1.0, abs=1e-6)


def test_an_mp3_behind_tags_decodes(make_voice: MakeVoice) -> None:
    mp3 = _libsndfile(make_voice(4.0, RATE), RATE, "MP3")
    tag = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    reference = decode_reference(tag + tag + mp3)
    assert reference.duration_s == pytest.approx(4.0, abs=0.07)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"hello, this is not sound at all",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"%PDF-1.7\n" + bytes(64),
        b"PK\x03\x04" + bytes(64),
        b"MZ" + bytes(200),
        b"RIFF\x24\0\0\0AVI LIST" + bytes(64),
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
        b"\xff\xf1\x50\x80" + bytes(64),  # ADTS with a frame of no length
        bytes(5000),
    ],
)
def test_what_is_no_accepted_sound_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedAudioError, match="send wav, flac"):
        decode_reference(content)


def test_a_codec_that_is_not_accepted_is_refused(make_voice: MakeVoice) -> None:
    adpcm = _libsndfile(make_voice(4.0, RATE), RATE, "WAV", "IMA_ADPCM")
    with pytest.raises(UnsupportedAudioError, match="coded"):
        decode_reference(adpcm)


def test_a_video_without_sound_is_refused() -> None:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(UnsupportedAudioError, match="no sound"):
        decode_reference(sink.getvalue())


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "webm", "aiff", "adts", "asf"])
def test_damaged_files_are_errors_with_advice_or_shorter_clips(make_voice: MakeVoice, kind: str) -> None:
    data = bytearray(_file(kind, make_voice(4.0, RATE)))
    rng = np.random.default_rng(3)
    messages = []
    for _ in range(40):
        broken = bytearray(data)
        for position in rng.integers(0, len(data), 30):
            broken[position] = rng.integers(0, 256)
        broken = broken[: rng.integers(1, len(broken))]
        try:
            assert decode_reference(bytes(broken)).duration_s <= 60
        except (ReferenceAudioError, UnsupportedAudioError) as error:
            messages.append(str(error))
    assert messages or kind in (
        "wav",
        "mp3",
        "aiff",
        "adts",
        "asf",
    )  # PCM is sound whatever it holds, mp3 goes on at the next frame
    assert not any("Errno" in message or "/" in message for message in messages)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(
        [
            b"",
            b"RIFF\xff\xff\xff\xffWAVEfmt ",
            b"fLaC",
            b"OggS\0\2",
            b"\0\0\0\x18ftypM4A ",
            b"\x1aE\xdf\xa3",
            b"\xff\xfb\x90",
            b"\xff\xf1\x50\x80\x01\x1f\xfc",
            b"#!AMR\n\x3c",
            b"#!AMR-WB\n\x44",
            b"FORM\0\0\1\0AIFFCOMM\0\0\0\x12\0\1\0\0\4\0\0\x10\x40\x0e\xbb\x80\0\0\0\0\0\0SSND\0\0\0\xff",
            bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
        ]
    ),
    body=st.binary(max_size=2000),
)
def test_any_bytes_end_in_a_known_error(head: bytes, body: bytes) -> None:
    try:
        decode_reference(head + body)
    except SovitsError:
        return


def test_the_byte_limit(make_voice: MakeVoice, tmp_path: Path) -> None:
    data = _libsndfile(make_voice(4.0, RATE), RATE, "WAV")
    (tmp_path / "clip").write_bytes(data)
    limits = AudioLimits(max_bytes=len(data) - 1)
    for source in (data, tmp_path / "clip"):
        with pytest.raises(UploadTooLargeError):
            decode_reference(source, limits=limits)
    decode_reference(data, limits=AudioLimits(max_bytes=len(data)))


def test_a_small_file_of_hours_stops_at_the_limit() -> None:
    hours = np.zeros(8000 * 3600 * 2, dtype=np.int16)
    bomb = _libsndfile(hours, 8000, "FLAC", "PCM_16")  # type: ignore[arg-type]
    assert len(bomb) < 2**20
    with pytest.raises(ReferenceAudioError, match="more than 60 s"):
        decode_reference(bomb)


def test_a_sample_table_that_lies_is_refused_before_it_is_allocated(make_voice: MakeVoice) -> None:
    m4a = bytearray(_file("m4a", make_voice(4.0, RATE)))
    table = m4a.index(b"stsz") + 8
    m4a[table : table + 8] = struct.pack(">II", 1, 80_000_000)
    chunks = m4a.index(b"stsc") + 16
    m4a[chunks : chunks + 4] = struct.pack(">I", 80_000_000)
    with pytest.raises(ReferenceAudioError, match="damaged"):
        decode_reference(bytes(m4a))


def test_a_compressed_tag_is_never_unpacked(make_voice: MakeVoice) -> None:
    packed = zlib.compress(bytes(2**24))
    frame = b"TXXX" + _syncsafe(len(packed) + 4) + b"\0\x09" + _syncsafe(2**24) + packed
    tag = b"ID3\x04\0\0" + _syncsafe(len(frame)) + frame
    reference = decode_reference(tag + _libsndfile(make_voice(4.0, RATE), RATE, "MP3"))
    assert reference.duration_s == pytest.approx(4.0, abs=0.07)


def _syncsafe(number: int) -> bytes:
    return bytes([number >> 21 & 127, number >> 14 & 127, number >> 7 & 127, number & 127])


@pytest.mark.parametrize(("rate", "channels"), [(4000, 1), (384000, 1), (RATE, 12)])
def test_rates_and_channels_beyond_the_limits(rate: int, channels: int) -> None:
    data = _libsndfile(np.full((rate, channels), 0.1, dtype=np.float32), rate, "WAV")
    with pytest.raises(ReferenceAudioError, match="sample rate" if channels == 1 else "12 channels"):
        decode_reference(data)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_an_empty_clip_is_refused(kind: str) -> None:
    with pytest.raises(SovitsError):
        decode_reference(_libsndfile(np.zeros(0, dtype=np.float32), RATE, kind))


def test_a_file_that_has_gone_is_an_error_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ReferenceAudioError, match="upload it again") as caught:
        decode_reference(tmp_path / "gone.wav")
    assert str(tmp_path) not in str(caught.value)


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ReferenceAudioError, match="not numbers"):
        decode_reference(_libsndfile(np.full(RATE, np.nan, dtype=np.float32), RATE, "WAV", "FLOAT"))


@pytest.mark.parametrize("duration_s", [3.0, 3.001, 6.5, 10.0])
def test_three_to_ten_seconds_pass(duration_s: float) -> None:
    check_duration(duration_s)


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [(1.8, "1.8 s"), (0.01, "0.0 s"), (2.999, "2.9990 s"), (10.0004, "10.0004 s"), (31.26, "31.3 s")],
)
def test_other_lengths_are_refused_with_the_measured_length(duration_s: float, shown: str) -> None:
    with pytest.raises(ReferenceAudioError, match=f"the reference is {shown}; it must be 3 to 10 s"):
        check_duration(duration_s)


def test_a_clean_clip_has_no_warnings(make_voice: MakeVoice) -> None:
    assert validate_reference(_reference(make_voice(5.0, RATE))) == ()


@pytest.mark.parametrize("problem", ["clipping", "low level", "noise", "silence", "sample rate"])
def test_each_problem_has_its_warning(make_voice: MakeVoice, problem: str) -> None:
    samples, rate = make_voice(5.0, RATE), RATE
    if problem == "clipping":
        samples = np.clip(samples * 4, -1.0, 1.0)
    elif problem == "low level":
        samples = samples * 0.01
    elif problem == "noise":
        samples = make_voice(5.0, RATE, noise=0.05)
    elif problem == "silence":
        samples[RATE:] *= 1e-3
    else:
        samples, rate = make_voice(5.0, 8000), 8000
    warnings = validate_reference(_reference(samples.astype(np.float32), rate))
    assert [warning.split(":")[0] for warning in warnings] == [problem]


def test_a_silent_clip_is_refused() -> None:
    with pytest.raises(ReferenceAudioError, match="silent"):
        validate_reference(_reference(np.full(RATE * 5, 1e-5, dtype=np.float32)))
    with pytest.raises(ReferenceAudioError, match="silent"):
        trim_reference(_reference(np.zeros(RATE * 5, dtype=np.float32)))


def test_quality_is_measured_in_dbfs() -> None:
    time_s = np.arange(RATE * 4) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 200 * time_s)).astype(np.float32)
    tone[: RATE * 2] *= 1e-3
    quality = measure_reference(_reference(tone))
    assert quality.duration_s == 4.0
    assert quality.speech_level_dbfs == pytest.approx(-9.03, abs=0.05)
    assert quality.noise_floor_dbfs == pytest.approx(-69.03, abs=0.05)
    assert quality.silent_share == pytest.approx(0.5, abs=0.01)


def test_trimming_cuts_the_silence_at_both_ends(make_voice: MakeVoice) -> None:
    silence = np.zeros(RATE * 2, dtype=np.float32)
    trimmed = trim_reference(_reference(np.concatenate([silence, make_voice(5.0, RATE), silence])))
    assert 4.0 < trimmed.duration_s < 5.3
    assert trimmed.content_hash != "0" * 64
    assert np.abs(trimmed.samples[: RATE // 20]).max() < 0.05
    validate_reference(trimmed)


def test_trimming_a_long_clip_ends_in_a_pause(make_voice: MakeVoice) -> None:
    trimmed = trim_reference(_reference(make_voice(25.0, RATE)))
    assert 9.0 < trimmed.duration_s <= 10.0
    assert np.abs(trimmed.samples[-RATE // 50 :]).max() < 0.01
    validate_reference(trimmed)


def test_a_clip_without_a_pause_is_not_cut_in_the_middle_of_a_word() -> None:
    tone = np.sin(np.arange(RATE * 15) * 0.05).astype(np.float32) * 0.3
    with pytest.raises(ReferenceAudioError, match=r"15\.0 s and has no pause"):
        trim_reference(_reference(tone))


def test_a_clip_without_silence_stays_as_it_is() -> None:
    tone = _reference(np.sin(np.arange(RATE * 5) * 0.05).astype(np.float32) * 0.3)
    assert trim_reference(tone) is tone


def test_what_the_service_writes_it_reads(make_voice: MakeVoice) -> None:
    samples = make_voice(4.0, RATE)
    for media_type in ("wav", "flac", "ogg", "mp3", "opus"):
        assert decode_reference(encode_whole(samples, RATE, media_type)).duration_s == pytest.approx(4.0, abs=0.05)
