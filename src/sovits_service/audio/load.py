"""Bytes of a sound file in, a bounded mono reference out, with what is wrong with it as a reference."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from sovits_service.errors import ReferenceAudioError, UnsupportedAudioError, UploadTooLargeError
from sovits_service.types import FloatArray, ReferenceAudio

MIN_REFERENCE_S = 3.0
MAX_REFERENCE_S = 10.0
_FORMATS = "wav, flac, ogg, mp3, m4a or webm"
_CODECS = frozenset({"flac", "vorbis", "libvorbis", "opus", "libopus", "mp3", "mp3float", "aac", "alac"})
_MAX_PACKETS = 2**20
_FRAME_S = 0.02
_QUIETEST_DBFS = -120.0


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What a file may ask of the decoder before it is refused."""

    max_bytes: int = 20 * 2**20
    max_duration_s: float = 60.0
    min_sample_rate_hz: int = 8_000
    max_sample_rate_hz: int = 192_000
    max_channels: int = 8


DEFAULT_LIMITS = AudioLimits()


@dataclass(frozen=True, slots=True)
class ReferenceQuality:
    """What can be measured of a reference clip.

    Attributes:
        speech_level_dbfs: the loud frames (95th percentile of frames of 20 ms).
        noise_floor_dbfs: the quiet frames (10th percentile); -120 at the lowest.
        clipped_share: samples at full scale, 0 to 1.
        silent_share: frames more than 35 dB below the speech level, 0 to 1.
    """

    duration_s: float
    sample_rate_hz: int
    speech_level_dbfs: float
    noise_floor_dbfs: float
    clipped_share: float
    silent_share: float


def decode_reference(data: bytes | Path, *, limits: AudioLimits = DEFAULT_LIMITS) -> ReferenceAudio:
    """Decodes a clip whatever its name says, and stops where a limit is passed.

    Args:
        data: the file's bytes, or where it is.

    Returns:
        Mono at the file's own rate: the mean of its channels, scaled down where a float file goes beyond full scale.

    Raises:
        UploadTooLargeError: more bytes than `limits` allow.
        UnsupportedAudioError: the content is in none of the accepted formats, or has no sound in it.
        ReferenceAudioError: gone, damaged, empty, too long, or with a rate or channels that are not accepted.
    """
    content = _read_bounded(data, limits.max_bytes)
    payload = content[_id3_end(content) :]
    container_format = _sniff(payload)
    if container_format == "mov":
        _check_sample_table(payload)
    try:
        samples, rate_hz = _decode_bounded(payload, container_format, limits)
    except av.FFmpegError as error:
        raise ReferenceAudioError("the audio file is damaged; export it again, as wav for example") from error
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise ReferenceAudioError("the audio file has samples that are not numbers; export it again as 16-bit wav")
    if peak > 1.0:
        samples /= peak
    return ReferenceAudio(samples, rate_hz, hashlib.sha256(content).hexdigest())


def measure_reference(reference: ReferenceAudio) -> ReferenceQuality:
    """Measures level, noise, clipping and silence of a clip."""
    levels = _frame_levels_dbfs(reference)
    speech_dbfs = float(np.percentile(levels, 95))
    return ReferenceQuality(
        duration_s=reference.duration_s,
        sample_rate_hz=reference.sample_rate_hz,
        speech_level_dbfs=speech_dbfs,
        noise_floor_dbfs=float(np.percentile(levels, 10)),
        clipped_share=float(np.mean(np.abs(reference.samples) >= 0.9995)),
        silent_share=float(np.mean(levels < _silence_threshold_dbfs(speech_dbfs))),
    )


def validate_reference(reference: ReferenceAudio) -> tuple[str, ...]:
    """Checks that a clip can serve as a voice.

    Returns:
        Warnings: what will be heard in the voice, and what to do about it.

    Raises:
        ReferenceAudioError: not 3 to 10 s, or without a sound.
    """
    check_duration(reference.duration_s)
    quality = measure_reference(reference)
    if quality.speech_level_dbfs < -60:
        raise ReferenceAudioError("the reference is silent; record it again at a normal level")
    return tuple(_warnings(quality))


def check_duration(duration_s: float) -> None:
    """Refuses what is not 3 to 10 s, the lengths that the models were trained for.

    Raises:
        ReferenceAudioError: with the measured length.
    """
    if MIN_REFERENCE_S <= duration_s <= MAX_REFERENCE_S:
        return
    shown = f"{duration_s:.1f}"
    if MIN_REFERENCE_S <= float(shown) <= MAX_REFERENCE_S:
        shown = f"{duration_s:.4f}"
    raise ReferenceAudioError(f"the reference is {shown} s; it must be 3 to 10 s")


def trim_reference(reference: ReferenceAudio) -> ReferenceAudio:
    """Cuts silence off both ends, then cuts what is still too long at the last pause that leaves 3 to 10 s.

    Returns:
        The cut clip, with a `content_hash` of its own; `reference` itself where there is nothing to cut.

    Raises:
        ReferenceAudioError: silent, or longer than 10 s without a pause to cut at.
    """
    levels = _frame_levels_dbfs(reference)
    speech_dbfs = float(np.percentile(levels, 95))
    if speech_dbfs < -60:
        raise ReferenceAudioError("the reference is silent; record it again at a normal level")
    quiet = levels < _silence_threshold_dbfs(speech_dbfs)
    margin = 5  # frames of quiet that stay at each end
    loud = np.flatnonzero(~quiet)
    first, end = max(0, int(loud[0]) - margin), min(len(quiet), int(loud[-1]) + 1 + margin)
    if (end - first) * _FRAME_S > MAX_REFERENCE_S:
        end = first + _pause_to_cut_at(quiet[first:end])
    frame_samples = _frame_samples(reference.sample_rate_hz)
    start_sample = first * frame_samples
    end_sample = len(reference.samples) if end == len(quiet) else end * frame_samples
    if start_sample == 0 and end_sample == len(reference.samples):
        return reference
    samples = reference.samples[start_sample:end_sample].copy()
    return ReferenceAudio(samples, reference.sample_rate_hz, hashlib.sha256(samples.tobytes()).hexdigest())


def _read_bounded(data: bytes | Path, max_bytes: int) -> bytes:
    if isinstance(data, Path):
        try:
            with data.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise ReferenceAudioError("the reference cannot be read any more; upload it again") from error
    if len(data) > max_bytes:
        raise UploadTooLargeError(f"the audio file is larger than {max_bytes / 2**20:.0f} MiB; cut it to 3 to 10 s")
    return data


def _id3_end(content: bytes) -> int:
    """Where the sound starts behind an ID3v2 tag: the demuxer never sees a tag, which may be compressed."""
    position = 0
    while content[position : position + 3] == b"ID3" and len(content) >= position + 10:
        flags, size = content[position + 5], content[position + 6 : position + 10]
        if any(byte & 0x80 for byte in size):
            break
        footer = 10 if flags & 0x10 else 0
        position += 10 + footer + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    return position


def _sniff(payload: bytes) -> str:
    """The FFmpeg demuxer for the content. It is named, never probed: probing knows playlists that open other files."""
    if payload[:4] in (b"RIFF", b"RF64") and payload[8:12] == b"WAVE":
        return "wav"
    if payload[:4] == b"fLaC":
        return "flac"
    if payload[:4] == b"OggS":
        return "ogg"
    if payload[4:8] == b"ftyp":
        return "mov"
    if payload[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if _is_mp3_frame(payload):
        return "mp3"
    raise UnsupportedAudioError(f"the file is in no audio format that is accepted; send {_FORMATS}")


def _is_mp3_frame(payload: bytes) -> bool:
    payload = payload.lstrip(b"\0")  # encoders pad between tag and sound
    if len(payload) < 4 or payload[0] != 0xFF or payload[1] & 0xE0 != 0xE0:
        return False
    version, layer = payload[1] >> 3 & 3, payload[1] >> 1 & 3
    bit_rate, rate = payload[2] >> 4, payload[2] >> 2 & 3
    return version != 1 and layer == 1 and bit_rate not in (0, 15) and rate != 3


def _check_sample_table(payload: bytes) -> None:
    """Refuses an m4a whose table claims packets by the million: FFmpeg lists all of them, in gigabytes, at once."""
    for name, body in _walk_boxes(payload, 0, len(payload), depth=0):
        if name in (b"stsz", b"stz2") and int.from_bytes(payload[body + 8 : body + 12], "big") > _MAX_PACKETS:
            raise ReferenceAudioError("the audio file is damaged; export it again, as wav for example")


def _walk_boxes(payload: bytes, start: int, end: int, depth: int) -> Iterator[tuple[bytes, int]]:
    position = start
    while position + 8 <= end and depth < 8:
        size, name = int.from_bytes(payload[position : position + 4], "big"), payload[position + 4 : position + 8]
        header = 8
        if size == 1:
            size, header = int.from_bytes(payload[position + 8 : position + 16], "big"), 16
        box_end = min(end, position + size) if size else end
        yield name, position + header
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            yield from _walk_boxes(payload, position + header, box_end, depth + 1)
        if box_end < position + header:
            return
        position = box_end


def _decode_bounded(payload: bytes, container_format: str, limits: AudioLimits) -> tuple[FloatArray, int]:
    pieces: list[FloatArray] = []
    rate_hz = decoded_samples = 0
    with av.open(io.BytesIO(payload), "r", format=container_format, metadata_errors="replace") as container:
        stream = next((stream for stream in container.streams if isinstance(stream, av.AudioStream)), None)
        if stream is None:
            raise UnsupportedAudioError(f"the file has no sound in it; send {_FORMATS}")
        # PyAV has no codec context where FFmpeg has no decoder.
        codec = stream.codec_context.name if stream.codec_context is not None else ""
        if codec not in _CODECS and not codec.startswith("pcm_"):
            raise UnsupportedAudioError(
                f"the sound in the file is coded in a way that is not accepted; send {_FORMATS}"
            )
        stream.codec_context.thread_count = 1
        to_float = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            _check_frame(frame, rate_hz, limits)
            rate_hz = frame.sample_rate
            decoded_samples += frame.samples
            if decoded_samples > limits.max_duration_s * rate_hz:
                raise ReferenceAudioError(
                    f"the reference is more than {limits.max_duration_s:g} s; it must be 3 to 10 s"
                )
            pieces += [_mono(part) for part in to_float.resample(frame)]
        if pieces:
            pieces += [_mono(part) for part in to_float.resample(None)]
    if not sum(len(piece) for piece in pieces):
        raise ReferenceAudioError("the audio file is empty; record 3 to 10 s of speech")
    return np.concatenate(pieces), rate_hz


def _check_frame(frame: av.AudioFrame, rate_hz: int, limits: AudioLimits) -> None:
    if not limits.min_sample_rate_hz <= frame.sample_rate <= limits.max_sample_rate_hz:
        raise ReferenceAudioError(
            f"the audio file has a sample rate of {frame.sample_rate} Hz; it must be "
            f"{limits.min_sample_rate_hz} to {limits.max_sample_rate_hz} Hz"
        )
    if len(frame.layout.channels) > limits.max_channels:
        raise ReferenceAudioError(
            f"the audio file has {len(frame.layout.channels)} channels; at most {limits.max_channels} are accepted"
        )
    if rate_hz and frame.sample_rate != rate_hz:
        raise ReferenceAudioError("the audio file changes its sample rate on the way; export it again as wav")


def _mono(frame: av.AudioFrame) -> FloatArray:
    mean: FloatArray = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return mean


def _frame_samples(sample_rate_hz: int) -> int:
    return max(1, round(sample_rate_hz * _FRAME_S))


def _frame_levels_dbfs(reference: ReferenceAudio) -> npt.NDArray[np.float64]:
    """(frames,) level of each 20 ms; the rest that fills no frame counts as one."""
    length = _frame_samples(reference.sample_rate_hz)
    power = reference.samples.astype(np.float64) ** 2
    starts = np.arange(0, len(power), length)
    counts = np.diff(np.append(starts, len(power)))
    mean_power = np.add.reduceat(power, starts) / counts
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(mean_power, 10 ** (_QUIETEST_DBFS / 10)))
    return levels


def _silence_threshold_dbfs(speech_dbfs: float) -> float:
    return speech_dbfs - 35.0


def _pause_to_cut_at(quiet: npt.NDArray[np.bool_]) -> int:
    """The frame to end at: inside the last pause of 100 ms or more that ends a clip of 3 to 10 s."""
    shortest, longest = round(MIN_REFERENCE_S / _FRAME_S), round(MAX_REFERENCE_S / _FRAME_S) - 1
    pause = 5
    for end in range(longest, shortest + pause, -1):
        if quiet[end - pause : end].all():
            return end
    raise ReferenceAudioError(
        f"the reference is {len(quiet) * _FRAME_S:.1f} s and has no pause to cut it at; cut it to 3 to 10 s yourself"
    )


def _warnings(quality: ReferenceQuality) -> list[str]:
    found = []
    if quality.clipped_share > 0.001:
        found.append(f"clipping: {quality.clipped_share:.1%} of the samples are at full scale; record at a lower level")
    if quality.speech_level_dbfs < -35:
        found.append(f"low level: the speech is at {quality.speech_level_dbfs:.0f} dBFS; bring it to about -20 dBFS")
    distance_db = quality.speech_level_dbfs - quality.noise_floor_dbfs
    if quality.noise_floor_dbfs > -55 and distance_db < 20:
        found.append(f"noise: the background is only {distance_db:.0f} dB below the speech; record in a quiet room")
    if quality.silent_share > 0.5:
        found.append(f"silence: {quality.silent_share:.0%} of the clip is silent; cut the pauses out")
    if quality.sample_rate_hz < 16000:
        found.append(f"sample rate: {quality.sample_rate_hz} Hz sounds dull; record at 16 kHz or more")
    return found
