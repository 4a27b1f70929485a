"""Every media type, whole and streamed, read back by a decoder that is not the encoder's own library."""

from __future__ import annotations

import io
import subprocess
import wave
from pathlib import Path

import av
import miniaudio
import numpy as np
import pytest
import soundfile
import soxr

from sovits_service.audio.encode import MEDIA_TYPES, content_type, encode_whole, stream_encoder
from sovits_service.errors import InvalidRequestError, SynthesisError
from sovits_service.types import FloatArray
from tests.programs import require_program
from tests.unit.audio.conftest import MakeVoice

RATES_HZ = (24000, 32000, 48000)
# 44,100 Hz stands for a rate that is none of the models'; 20,000 Hz is one that MPEG does not have.
OTHER_RATES_HZ = (16000, 20000, 44100)


def _stream(samples: FloatArray, sample_rate_hz: int, media_type: str, chunks: int = 9) -> list[bytes]:
    encoder = stream_encoder(media_type, sample_rate_hz)
    parts = [encoder.start()]
    parts += [encoder.encode(chunk) for chunk in np.array_split(samples, chunks)]
    parts.append(encoder.finish())
    return parts


def _read_with_libsndfile(data: bytes) -> tuple[FloatArray, int]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return samples, rate


def _read_with_miniaudio(data: bytes, sample_rate_hz: int) -> FloatArray:
    """dr_flac, dr_mp3, dr_wav or stb_vorbis, none of which the service writes with."""
    decoded = miniaudio.decode(data, miniaudio.SampleFormat.FLOAT32, nchannels=1, sample_rate=sample_rate_hz)
    return np.asarray(decoded.samples, dtype=np.float32)


def _read_aac_with_faad(data: bytes, sample_rate_hz: int, folder: Path) -> FloatArray:
    faad = require_program("faad")
    (folder / "speech.aac").write_bytes(data)
    subprocess.run([faad, "-q", "-o", folder / "speech.wav", folder / "speech.aac"], check=True, capture_output=True)
    stereo, rate = soundfile.read(folder / "speech.wav", dtype="float32", always_2d=True)
    # Up to 24 kHz faad expects spectral band replication and doubles the rate.
    assert rate in (sample_rate_hz, 2 * sample_rate_hz)
    return stereo[:: rate // sample_rate_hz, 0]


def _lag_samples(decoded: FloatArray, original: FloatArray, most: int) -> int:
    """The delay of `decoded` that fits `original` best."""
    excerpt = original[: len(original) // 6].astype(np.float64)
    scores = np.correlate(decoded[: len(excerpt) + most].astype(np.float64), excerpt, mode="valid")
    return int(np.argmax(scores))


def _signal_to_noise_db(decoded: FloatArray, original: FloatArray) -> float:
    gain = float(decoded @ original / (original @ original))
    assert gain == pytest.approx(1.0, abs=0.06)  # LAME turns 128 kbit/s down by 5 % on purpose
    noise = decoded - gain * original
    return float(10 * np.log10((original @ original) / max(float(noise @ noise), 1e-12)))


def _check_frames(data: bytes) -> int:
    """Walks the ADTS frames by their own headers; returns how many there are."""
    position = frames = 0
    while position < len(data):
        assert data[position] == 0xFF
        assert data[position + 1] & 0xF6 == 0xF0
        position += (data[position + 3] & 3) << 11 | data[position + 4] << 3 | data[position + 5] >> 5
        frames += 1
    assert position == len(data)
    return frames


@pytest.mark.parametrize("rate", RATES_HZ + OTHER_RATES_HZ)
def test_a_whole_wav_has_a_right_header(make_voice: MakeVoice, rate: int) -> None:
    samples = make_voice(1.3, rate)
    data = encode_whole(samples, rate, "wav")
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.getnframes() == len(samples)
    decoded, read_rate = _read_with_libsndfile(data)
    assert read_rate == rate
    assert np.abs(decoded - samples).max() <= 0.51 / 32768
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


@pytest.mark.parametrize("rate", RATES_HZ)
def test_a_streamed_wav_is_a_header_of_44_bytes_then_pcm(make_voice: MakeVoice, rate: int) -> None:
    samples = make_voice(1.3, rate)
    parts = _stream(samples, rate, "wav")
    assert len(parts[0]) == 44
    assert b"".join(parts[1:]) == encode_whole(samples, rate, "raw")
    decoded, read_rate = _read_with_libsndfile(b"".join(parts))
    assert (len(decoded), read_rate) == (len(samples), rate)
    with wave.open(io.BytesIO(b"".join(parts))) as file:
        assert file.readframes(2**24) == b"".join(parts[1:])


def test_raw_is_little_endian_16_bit_mono() -> None:
    samples = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 1.7, -1.7], dtype=np.float32)
    expected = np.array([0, 16384, -16384, 32767, -32768, 32767, -32768], dtype="<i2")
    assert encode_whole(samples, 32000, "raw") == expected.tobytes()
    assert b"".join(_stream(samples, 32000, "raw", chunks=3)) == expected.tobytes()


@pytest.mark.parametrize("rate", RATES_HZ)
def test_flac_is_lossless_whole_and_streamed(make_voice: MakeVoice, rate: int) -> None:
    samples = make_voice(1.3, rate)
    for data in (encode_whole(samples, rate, "flac"), b"".join(_stream(samples, rate, "flac"))):
        decoded = _read_with_miniaudio(data, rate)
        assert miniaudio.flac_get_info(data).sample_rate == rate
        assert len(decoded) == len(samples)
        assert np.abs(decoded - samples).max() <= 0.51 / 32768
    whole, whole_rate = _read_with_libsndfile(encode_whole(samples, rate, "flac"))
    assert (len(whole), whole_rate) == (len(samples), rate)


@pytest.mark.parametrize("rate", RATES_HZ + OTHER_RATES_HZ)
@pytest.mark.parametrize("media_type", ["mp3", "opus"])
def test_lossy_streams_equal_the_whole(make_voice: MakeVoice, media_type: str, rate: int) -> None:
    samples = make_voice(2.0, rate, breath=0.0)  # of noise, codecs keep the sound, not the wave
    file_rate = 48000 if media_type == "opus" else {20000: 22050}.get(rate, rate)
    whole, whole_rate = _read_with_libsndfile(encode_whole(samples, rate, media_type))
    streamed, streamed_rate = _read_with_libsndfile(b"".join(_stream(samples, rate, media_type)))
    assert whole_rate == streamed_rate == file_rate
    assert abs(len(whole) / file_rate - 2.0) <= 2 / file_rate
    # A streamed mp3 cannot say what its encoder's delay and last frame added.
    assert 0 <= len(streamed) / file_rate - 2.0 <= (0.15 if media_type == "mp3" else 2 / file_rate)

    reference, _ = _read_with_libsndfile(encode_whole(samples, rate, "wav"))
    if file_rate != rate:
        reference = soxr.resample(reference, rate, file_rate)
    for decoded in (whole, streamed):
        lag = _lag_samples(decoded, reference, 4000)
        length = min(len(reference), len(decoded) - lag)
        quality_db = _signal_to_noise_db(decoded[lag : lag + length], reference[:length])
        assert quality_db > (20 if media_type == "mp3" else 8)  # opus keeps the sound, not the wave
    if media_type == "opus":
        assert np.abs(whole - streamed).max() < 1e-3


@pytest.mark.parametrize("media_type", ["mp3", "opus", "flac"])
def test_no_click_where_streamed_chunks_join(make_voice: MakeVoice, media_type: str) -> None:
    rate = 48000
    samples = make_voice(2.0, rate, noise=0.0)
    data = b"".join(_stream(samples, rate, media_type, chunks=40))
    decoded = _read_with_libsndfile(data)[0] if media_type == "opus" else _read_with_miniaudio(data, rate)
    # A click shows as a jump between neighbours that the signal itself does not have.
    assert np.abs(np.diff(decoded)).max() < 1.2 * np.abs(np.diff(samples)).max()


@pytest.mark.parametrize("rate", RATES_HZ + OTHER_RATES_HZ)
def test_ogg_is_vorbis_at_the_models_rate(make_voice: MakeVoice, rate: int) -> None:
    samples = make_voice(1.5, rate)
    data = encode_whole(samples, rate, "ogg")
    assert soundfile.info(io.BytesIO(data)).subtype == "VORBIS"
    assert miniaudio.vorbis_get_info(data).sample_rate == rate
    decoded = _read_with_miniaudio(data, rate)
    assert len(decoded) == len(samples)
    assert _signal_to_noise_db(decoded, samples) > 10


def test_a_long_ogg_does_not_overflow_the_stack(make_voice: MakeVoice) -> None:
    samples = np.tile(make_voice(2.0, 32000), 16)  # 1,024,000 samples; the original died at some 500,000
    assert len(_read_with_miniaudio(encode_whole(samples, 32000, "ogg"), 32000)) == len(samples)


@pytest.mark.parametrize("rate", RATES_HZ + OTHER_RATES_HZ)
def test_aac_is_adts(make_voice: MakeVoice, rate: int, tmp_path: Path) -> None:
    samples = make_voice(2.0, rate)
    data = encode_whole(samples, rate, "aac")
    file_rate = {20000: 22050}.get(rate, rate)
    frames = _check_frames(data)
    assert 0 <= frames * 1024 / file_rate - 2.0 <= 3 * 1024 / file_rate
    decoded = _read_aac_with_faad(data, file_rate, tmp_path)
    assert len(decoded) / file_rate == pytest.approx(2.0, abs=3 * 1024 / file_rate)
    if file_rate == rate:
        lag = _lag_samples(decoded, samples, 4000)
        length = min(len(samples), len(decoded) - lag)
        assert _signal_to_noise_db(decoded[lag : lag + length], samples[:length]) > 20


def test_streamed_ogg_is_one_complete_file_per_chunk(make_voice: MakeVoice) -> None:
    samples = make_voice(2.0, 32000)
    parts = _stream(samples, 32000, "ogg", chunks=4)
    assert parts[0] == parts[-1] == b""
    for part in parts[1:-1]:
        assert len(_read_with_miniaudio(part, 32000)) == len(samples) // 4


@pytest.mark.parametrize("chunks", [1, 4, 44])
@pytest.mark.parametrize("rate", RATES_HZ + OTHER_RATES_HZ)
def test_streamed_aac_is_the_whole_file_in_chunks_of_whole_frames(
    make_voice: MakeVoice, rate: int, chunks: int, tmp_path: Path
) -> None:
    samples = make_voice(7.08, rate)  # the length at which one encoder per chunk added 0.22 to 0.38 s, with holes
    parts = _stream(samples, rate, "aac", chunks)
    assert b"".join(parts) == encode_whole(samples, rate, "aac")
    frames = [_check_frames(part) for part in parts]
    file_rate = {20000: 22050}.get(rate, rate)
    assert 0 <= sum(frames) * 1024 / file_rate - 7.08 <= 3 * 1024 / file_rate
    if chunks == 4 and file_rate == rate:  # each part decodes alone; a decoder drops or adds a frame where it begins
        for count, part in zip(frames, parts, strict=True):
            if count > 1:
                decoded = _read_aac_with_faad(part, rate, tmp_path)
                assert len(decoded) == pytest.approx(count * 1024, abs=2 * 1024)


def _read_with_ffmpeg(data: bytes) -> tuple[FloatArray, int]:
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames), container.streams.audio[0].rate


@pytest.mark.parametrize("seconds", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("rate", RATES_HZ)
def test_m4a_is_aac_in_mp4_with_its_table_in_front(make_voice: MakeVoice, rate: int, seconds: float) -> None:
    samples = np.resize(make_voice(2.0, rate), int(seconds * rate))
    whole, streamed = encode_whole(samples, rate, "m4a"), b"".join(_stream(samples, rate, "m4a"))
    assert whole[4:12] == b"ftypM4A "
    assert 0 < whole.find(b"moov") < whole.find(b"mdat")
    assert len(whole) < 1.05 * len(encode_whole(samples, rate, "aac")) + 4096
    for data in (whole, streamed):
        decoded, read_rate = _read_with_ffmpeg(data)
        assert read_rate == rate
        assert 0 <= len(decoded) - len(samples) <= 3 * 1024
    assert streamed.count(b"moof") > min(seconds, 8)


@pytest.mark.parametrize("media_type", ["wav", "raw", "aac", "mp3", "flac", "opus", "m4a"])
def test_the_first_bytes_of_a_stream_come_with_the_first_half_second(make_voice: MakeVoice, media_type: str) -> None:
    encoder = stream_encoder(media_type, 32000)
    head = encoder.start()
    body = encoder.encode(make_voice(0.5, 32000))
    assert len(body) > 1000
    assert len(head) < (1000 if media_type == "m4a" else 200)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_empty_chunks_add_nothing(make_voice: MakeVoice, media_type: str) -> None:
    samples = make_voice(1.0, 32000)
    nothing = np.zeros(0, dtype=np.float32)
    plain, gappy = stream_encoder(media_type, 32000), stream_encoder(media_type, 32000)
    expected = plain.start() + plain.encode(samples) + plain.finish()
    got = gappy.start() + gappy.encode(nothing) + gappy.encode(samples) + gappy.encode(nothing) + gappy.finish()
    if media_type in ("opus", "ogg"):  # an Ogg stream carries a random serial number in each page
        assert np.array_equal(_read_with_libsndfile(got)[0], _read_with_libsndfile(expected)[0])
    else:
        assert got == expected


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_sample_that_is_no_number_is_an_error_never_audio(media_type: str) -> None:
    broken = np.full(32000, np.nan, dtype=np.float32)
    with pytest.raises(SynthesisError):
        encode_whole(broken, 32000, media_type)
    encoder = stream_encoder(media_type, 32000)
    encoder.start()
    with pytest.raises(SynthesisError):
        encoder.encode(np.array([0.0, np.inf], dtype=np.float32))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_loud_samples_are_clipped_not_wrapped(media_type: str) -> None:
    loud = np.full(32000, 1.5, dtype=np.float32)
    data = encode_whole(loud, 32000, media_type)
    if media_type == "raw":
        assert np.frombuffer(data, dtype="<i2").min() == 32767
    elif media_type in ("wav", "flac"):
        assert _read_with_libsndfile(data)[0].min() > 0.99


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_content_types(media_type: str) -> None:
    others = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}
    assert content_type(media_type) == others.get(media_type, f"audio/{media_type}")


@pytest.mark.parametrize("media_type", ["", "WAV", "webm", "wav ", "../wav"])
def test_unknown_media_types_are_refused_with_the_originals_words(media_type: str) -> None:
    for attempt in (
        lambda: content_type(media_type),
        lambda: encode_whole(np.zeros(10, dtype=np.float32), 32000, media_type),
        lambda: stream_encoder(media_type, 32000),
    ):
        with pytest.raises(InvalidRequestError, match=r"media_type: .* is not supported"):
            attempt()
