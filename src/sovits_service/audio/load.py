"""Decode a sound file into a bounded mono reference."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from sovits_service.audio.containers.damage import damaged
from sovits_service.audio.containers.sound import FORMATS, sound_of
from sovits_service.audio.containers.vorbis import check_codebooks
from sovits_service.audio.quality import (
    FRAME_S,
    MAX_REFERENCE_S,
    MIN_REFERENCE_S,
    frame_levels_dbfs,
    frame_samples,
    measure_reference,
    silence_threshold_dbfs,
)
from sovits_service.errors import ReferenceAudioError, UnsupportedAudioError, UploadTooLargeError
from sovits_service.types import FloatArray, ReferenceAudio

MIN_SOURCE_S = 0.3
MAX_SOURCE_S = 60.0
_PCM = "u8 s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be alaw mulaw s8"
_CODECS = frozenset({"flac", "vorbis", "libvorbis", "opus", "libopus", "mp3", "mp3float", "aac", "alac"})
_CODECS |= {"amrnb", "libopencore_amrnb", "amrwb", "libopencore_amrwb", "wmav1", "wmav2"}
_CODECS |= {f"pcm_{name}" for name in _PCM.split()}
# FFmpeg opens no decoder while it looks at a file: descriptions are checked before, and no picture is decoded at all.
_OPTIONS = {"codec_whitelist": "none"}
_MAX_ALAC_FRAME = 2**16


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What a file may ask of the decoder before it is refused.

    Attributes:
        kind, length: what the file should be, and how long, for messages.
    """

    max_bytes: int = 20 * 2**20
    max_duration_s: float = 60.0
    min_sample_rate_hz: int = 8_000
    max_sample_rate_hz: int = 192_000
    max_channels: int = 8
    kind: str = "reference"
    length: str = "3 to 10 s"


DEFAULT_LIMITS = AudioLimits()
Decode = Callable[[bytes, AudioLimits], ReferenceAudio]


def decode_reference(data: bytes | Path, limits: AudioLimits = DEFAULT_LIMITS) -> ReferenceAudio:
    """Decode a clip whatever its name says, and stop at a limit.

    Args:
        data: the file's bytes, or where it is.

    Returns:
        Mono at the file's own rate: the mean of its channels, scaled down where a float file goes beyond full scale.

    Raises:
        UploadTooLargeError: more bytes than `limits` allow.
        UnsupportedAudioError: the content is in none of the accepted formats, or has no sound in it.
        ReferenceAudioError: gone, damaged, empty, too long, or with a rate or channels that are not accepted.
    """
    content = _read_bounded(data, limits)
    payload, container_format = sound_of(content)
    try:
        samples, rate_hz = _decode_bounded(payload, container_format, limits)
    except av.FFmpegError as error:
        raise damaged() from error
    peak = max(float(samples.max()), -float(samples.min()))
    if not np.isfinite(peak):
        raise ReferenceAudioError("the audio file has samples that are not numbers; export it again as 16-bit wav")
    if peak > 1.0:
        samples /= peak
    return ReferenceAudio(samples, rate_hz, hashlib.sha256(content).hexdigest())


def decode_source(
    data: bytes, limits: AudioLimits = DEFAULT_LIMITS, decode: Decode = decode_reference
) -> ReferenceAudio:
    """Decode a recording that is to be said in another voice, as `decode_reference` does a clip.

    Args:
        decode: decodes in this process or in another.

    Raises:
        UploadTooLargeError, UnsupportedAudioError: as there.
        ReferenceAudioError: damaged, silent, or not 0.3 to 60 s.
    """
    length = f"{MIN_SOURCE_S:g} to {MAX_SOURCE_S:g} s"
    source = decode(data, replace(limits, max_duration_s=MAX_SOURCE_S, kind="recording", length=length))
    if source.duration_s < MIN_SOURCE_S:
        raise ReferenceAudioError(f"the recording is {source.duration_s:.2f} s; it must be {length}")
    if measure_reference(source).speech_level_dbfs < -60:
        raise ReferenceAudioError("the recording is silent; record it again at a normal level")
    return source


def trim_reference(reference: ReferenceAudio) -> ReferenceAudio:
    """Cut silence off both ends, then cut what is still too long at the last pause that leaves 3 to 10 s.

    Returns:
        The cut clip, with a `content_hash` of its own; `reference` itself where there is nothing to cut.

    Raises:
        ReferenceAudioError: silent, or longer than 10 s without a pause to cut at.
    """
    levels = frame_levels_dbfs(reference)
    speech_dbfs = float(np.percentile(levels, 95))
    if speech_dbfs < -60:
        raise ReferenceAudioError("the reference is silent; record it again at a normal level")
    quiet = levels < silence_threshold_dbfs(speech_dbfs)
    margin = 5  # frames of quiet that stay at each end
    loud = np.flatnonzero(~quiet)
    first, end = max(0, int(loud[0]) - margin), min(len(quiet), int(loud[-1]) + 1 + margin)
    if (end - first) * FRAME_S > MAX_REFERENCE_S:
        end = first + _pause_to_cut_at(quiet[first:end])
    frame = frame_samples(reference.sample_rate_hz)
    start_sample = first * frame
    end_sample = len(reference.samples) if end == len(quiet) else end * frame
    if start_sample == 0 and end_sample == len(reference.samples):
        return reference
    samples = reference.samples[start_sample:end_sample].copy()
    return ReferenceAudio(samples, reference.sample_rate_hz, hashlib.sha256(samples.tobytes()).hexdigest())


def _read_bounded(data: bytes | Path, limits: AudioLimits) -> bytes:
    max_bytes = limits.max_bytes
    if isinstance(data, Path):
        try:
            with data.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise ReferenceAudioError(f"the {limits.kind} can no longer be read; upload it again") from error
    if len(data) > max_bytes:
        raise UploadTooLargeError(
            f"the audio file is larger than {max_bytes / 2**20:.0f} MiB; cut it to {limits.length}"
        )
    return data


def _decode_bounded(payload: bytes, container_format: str, limits: AudioLimits) -> tuple[FloatArray, int]:
    pieces: list[FloatArray] = []
    rate_hz = decoded_samples = 0
    with av.open(
        io.BytesIO(payload), "r", format=container_format, options=_OPTIONS, metadata_errors="replace"
    ) as container:
        stream = next((stream for stream in container.streams if isinstance(stream, av.AudioStream)), None)
        if stream is None:
            raise UnsupportedAudioError(f"the file has no sound in it; send {FORMATS}")
        # PyAV has no codec context where FFmpeg has no decoder.
        codec = stream.codec_context.name if stream.codec_context is not None else ""
        if codec not in _CODECS:
            raise UnsupportedAudioError(f"the sound in the file is coded in a way that is not accepted; send {FORMATS}")
        _check_description(codec, bytes(stream.codec_context.extradata or b""))
        stream.codec_context.thread_count = 1
        to_float = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            _check_frame(frame, rate_hz, limits)
            rate_hz = frame.sample_rate
            decoded_samples += frame.samples
            if decoded_samples > limits.max_duration_s * rate_hz:
                raise ReferenceAudioError(
                    f"the {limits.kind} is more than {limits.max_duration_s:g} s; it must be {limits.length}"
                )
            pieces += [_mono(part) for part in to_float.resample(frame)]
        if pieces:
            pieces += [_mono(part) for part in to_float.resample(None)]
    if not sum(len(piece) for piece in pieces):
        raise ReferenceAudioError(f"the audio file is empty; record {limits.length} of speech")
    return np.concatenate(pieces), rate_hz


def _check_description(codec: str, extradata: bytes) -> None:
    """Refuse what would have the decoder itself grow, before it is opened."""
    if codec.endswith("vorbis"):
        check_codebooks(extradata)
    # A frame of silence is a few bytes, however long it claims to be.
    if codec == "alac" and int.from_bytes(extradata[12:16], "big") > _MAX_ALAC_FRAME:
        raise damaged()


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
        raise ReferenceAudioError("the audio file changes its sample rate midway; export it again as wav")


def _mono(frame: av.AudioFrame) -> FloatArray:
    mean: FloatArray = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return mean


def _pause_to_cut_at(quiet: npt.NDArray[np.bool_]) -> int:
    """The frame to end at: inside the last pause of 100 ms or more that ends a clip of 3 to 10 s."""
    shortest, longest = round(MIN_REFERENCE_S / FRAME_S), round(MAX_REFERENCE_S / FRAME_S) - 1
    pause = 5
    for end in range(longest, shortest + pause, -1):
        if quiet[end - pause : end].all():
            return end
    raise ReferenceAudioError(
        f"the reference is {len(quiet) * FRAME_S:.1f} s and has no pause to cut it at; cut it to 3 to 10 s yourself"
    )
