"""Encode samples to a media type: whole files, or a stream with one encoder per answer."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sovits_service.errors import InvalidRequestError, SynthesisError
from sovits_service.types import FloatArray

_UNKNOWN_SIZE = 0xFFFFFFFF
_VORBIS_BLOCK_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Codec:
    """How FFmpeg writes a media type.

    Attributes:
        rates_hz: the rates that the format has; empty where it takes any.
        streaming: options of the muxer when the output cannot be rewound.
    """

    container: str
    codec: str
    sample_format: str
    rates_hz: tuple[int, ...] = ()
    bit_rate: int | None = None
    bits_per_sample_limit: int | None = None
    streaming: Mapping[str, str] = field(default_factory=dict)


_MPEG_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_CODECS: Mapping[str, Codec] = {
    # ADTS, 192 kbit/s where the rate allows as much: AAC holds at most 6,144 bits in a frame of 1,024 samples.
    "aac": Codec("adts", "aac", "fltp", (*_MPEG_RATES_HZ, 64000, 88200, 96000), 192_000, bits_per_sample_limit=6),
    # A stream has no end to write into the Xing frame and must not begin with an empty tag.
    "mp3": Codec(
        "mp3",
        "libmp3lame",
        "s16p",
        _MPEG_RATES_HZ,
        128_000,
        streaming={"write_xing": "0", "id3v2_version": "0"},
    ),
    # 8 KiB of room for tags is the muxer's habit.
    "flac": Codec("flac", "flac", "s16", streaming={"metadata_header_padding": "0"}),
    # A stream is fragmented; a whole file has its table at the front, see `_room_for_table`.
    "m4a": Codec(
        "ipod",
        "aac",
        "fltp",
        (*_MPEG_RATES_HZ, 64000, 88200, 96000),
        192_000,
        bits_per_sample_limit=6,
        streaming={"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"},
    ),
    # A page a second is the muxer's habit; 100 ms keep the first sound early at 1 % more bytes.
    "opus": Codec("ogg", "libopus", "flt", (48000,), 64_000, streaming={"page_duration": "100000"}),
}
# Of telephony, for clients that name a rate; no media types of the service's own.
_TELEPHONY: Mapping[str, Codec] = {
    "mulaw": Codec("mulaw", "pcm_mulaw", "s16"),
    "alaw": Codec("alaw", "pcm_alaw", "s16"),
}
MEDIA_TYPES = ("wav", "raw", "ogg", "aac", "mp3", "flac", "opus", "m4a")
# Browsers and players know these by such names alone; api_v2 has neither, so that no client expects another.
_CONTENT_TYPES = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}


class StreamEncoder(Protocol):
    """The bytes of one answer: `start`, then `encode` for each chunk, then `finish`; each may return b"".

    Attributes:
        output_rate_hz: of the sound in those bytes.
    """

    output_rate_hz: int

    def start(self) -> bytes: ...
    def encode(self, samples: FloatArray) -> bytes: ...
    def finish(self) -> bytes: ...


def content_type(media_type: str) -> str:
    """`audio/<media_type>`, as the original's clients expect it; `audio/mpeg` for mp3, `audio/mp4` for m4a.

    Raises:
        InvalidRequestError: the service does not write this media type.
    """
    _check_media_type(media_type)
    return _CONTENT_TYPES.get(media_type, f"audio/{media_type}")


def output_rate_hz(media_type: str, sample_rate_hz: int) -> int:
    """The rate of the sound in a file of `media_type` that is made of samples at `sample_rate_hz`."""
    codec = _CODECS.get(media_type)
    return sample_rate_hz if codec is None else _format_rate_hz(sample_rate_hz, codec)


def codec_of(media_type: str) -> Codec:
    """How FFmpeg writes a media type that it is needed for: aac, mp3, flac, m4a, opus."""
    return _CODECS[media_type]


def encode_whole(samples: FloatArray, sample_rate_hz: int, media_type: str) -> bytes:
    """Encode a finished piece of speech as one file, with correct sizes in its header.

    Args:
        samples: (T,) float32 mono; what is beyond [-1, 1] is clipped.
        sample_rate_hz: rate of `samples`; kept in the file, but for opus (always 48 kHz) and for rates that a
            format does not have (the next higher one is taken).
        media_type: one of `MEDIA_TYPES`.

    Raises:
        InvalidRequestError: the service does not write this media type.
        SynthesisError: a sample is not a finite number.
    """
    _check_media_type(media_type)
    if media_type == "raw":
        return pcm16(samples).tobytes()
    if media_type == "wav":
        pcm = pcm16(samples).tobytes()
        return _wav_header(sample_rate_hz, len(pcm)) + pcm
    if media_type == "ogg":
        return _encode_vorbis(samples, sample_rate_hz)
    sink = io.BytesIO()
    options = _room_for_table(len(samples)) if media_type == "m4a" else {}
    encoder = FFmpegEncoder(sink, sample_rate_hz, _CODECS[media_type], muxer_options=options)
    encoder.write(samples)
    encoder.close()
    return sink.getvalue()


def stream_encoder(media_type: str, sample_rate_hz: int) -> StreamEncoder:
    """The encoder of one streamed answer.

    All but ogg come from one encoder for the whole answer, so that chunks join without a seam; a chunk of aac is whole
    ADTS frames, which decode by themselves. ogg is one complete file per chunk, as the original's clients decode it.

    Raises:
        InvalidRequestError: the service does not write this media type.
    """
    _check_media_type(media_type)
    if media_type in ("wav", "raw"):
        return _PcmStream(sample_rate_hz, with_header=media_type == "wav")
    if media_type == "ogg":
        return _OggPerChunk(sample_rate_hz)
    return _CodecStream(sample_rate_hz, _CODECS[media_type])


def pcm_stream_encoder(sample_rate_hz: int, output_rate_hz: int) -> StreamEncoder:
    """16-bit PCM without a header at another rate, for clients that take a rate for granted."""
    return _ResampledPcmStream(sample_rate_hz, output_rate_hz)


def rated_encoder(kind: str, sample_rate_hz: int, output_rate_hz: int, bit_rate: int | None = None) -> StreamEncoder:
    """The encoder of a stream whose rate, and where it has one, bit rate the client names.

    Args:
        kind: `wav`, `raw`, `mp3`, `opus`, `mulaw` or `alaw`.
        sample_rate_hz: of the samples.
        output_rate_hz: of the sound in the stream; one that the format has.
    """
    if kind in ("wav", "raw"):
        return _ResampledPcmStream(sample_rate_hz, output_rate_hz, with_header=kind == "wav")
    codec = _TELEPHONY.get(kind) or _CODECS[kind]
    return _CodecStream(sample_rate_hz, replace(codec, rates_hz=(output_rate_hz,), bit_rate=bit_rate or codec.bit_rate))


class _PcmStream:
    """16-bit PCM, for wav after a header of 44 bytes."""

    def __init__(self, sample_rate_hz: int, *, with_header: bool) -> None:
        self.output_rate_hz = sample_rate_hz
        self._with_header = with_header

    def start(self) -> bytes:
        # The size is not known yet: the largest value makes readers go on to the end, while a zero reads as empty.
        return _wav_header(self.output_rate_hz, _UNKNOWN_SIZE) if self._with_header else b""

    def encode(self, samples: FloatArray) -> bytes:
        return pcm16(samples).tobytes()

    def finish(self) -> bytes:
        return b""


class _ResampledPcmStream:
    """16-bit PCM at another rate, for wav after a header of 44 bytes; the resampler goes on over the chunks."""

    def __init__(self, sample_rate_hz: int, output_rate_hz: int, *, with_header: bool = False) -> None:
        self.output_rate_hz = output_rate_hz
        self._with_header = with_header
        self._resampler = soxr.ResampleStream(sample_rate_hz, output_rate_hz, 1, dtype="float32")

    def start(self) -> bytes:
        return _wav_header(self.output_rate_hz, _UNKNOWN_SIZE) if self._with_header else b""

    def encode(self, samples: FloatArray) -> bytes:
        return pcm16(self._resampler.resample_chunk(_finite(samples), last=False)).tobytes()

    def finish(self) -> bytes:
        return pcm16(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)).tobytes()


class _OggPerChunk:
    """Each chunk is an Ogg Vorbis file of its own."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.output_rate_hz = sample_rate_hz

    def start(self) -> bytes:
        return b""

    def encode(self, samples: FloatArray) -> bytes:
        return _encode_vorbis(samples, self.output_rate_hz) if len(samples) else b""

    def finish(self) -> bytes:
        return b""


class _CodecStream:
    """One FFmpeg encoder for the whole answer."""

    def __init__(self, sample_rate_hz: int, codec: Codec) -> None:
        self.output_rate_hz = _format_rate_hz(sample_rate_hz, codec)
        self._sink = _ForwardSink()
        self._encoder = FFmpegEncoder(self._sink, sample_rate_hz, codec, {**codec.streaming, "flush_packets": "1"})

    def start(self) -> bytes:
        self._encoder.write_header()
        return self._sink.take()

    def encode(self, samples: FloatArray) -> bytes:
        self._encoder.write(samples)
        return self._sink.take()

    def finish(self) -> bytes:
        self._encoder.close()
        return self._sink.take()


class _ForwardSink:
    """A file that can only be appended to, and is emptied as it grows; no `seek`, so no muxer goes back in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def write(self, data: bytes) -> int:
        self._buffer += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken


class FFmpegEncoder:
    """Mono float samples into a container on `sink`, resampled where the format does not have the rate.

    Attributes:
        container: to be given its tags and further streams before the header is written.
    """

    def __init__(
        self, sink: io.BytesIO | _ForwardSink | str, sample_rate_hz: int, codec: Codec, muxer_options: dict[str, str]
    ) -> None:
        rate_hz = _format_rate_hz(sample_rate_hz, codec)
        self._format = codec.sample_format
        self._rate_hz = rate_hz
        self._resampler = (
            soxr.ResampleStream(sample_rate_hz, rate_hz, 1, dtype="float32") if rate_hz != sample_rate_hz else None
        )
        self.container = av.open(sink, "w", format=codec.container, container_options=muxer_options)
        self._stream = cast(av.AudioStream, self.container.add_stream(codec.codec, rate=rate_hz))
        self._stream.layout = "mono"
        self._stream.format = codec.sample_format
        if codec.bit_rate is not None:
            limit = codec.bits_per_sample_limit
            self._stream.bit_rate = codec.bit_rate if limit is None else min(codec.bit_rate, limit * rate_hz)
        self._written_samples = 0

    def write_header(self) -> None:
        self.container.start_encoding()

    def write(self, samples: FloatArray, *, last: bool = False) -> None:
        checked = _finite(samples)
        if self._resampler is not None:
            checked = self._resampler.resample_chunk(checked, last=last)
        if len(checked):
            self.container.mux(self._stream.encode(self._frame(checked)))

    def close(self) -> None:
        if self._resampler is not None:
            self.write(np.zeros(0, dtype=np.float32), last=True)
        self.write_header()
        self.container.mux(self._stream.encode(None))
        self.container.close()

    def _frame(self, samples: FloatArray) -> av.AudioFrame:
        if self._format.startswith("s16"):
            frame = av.AudioFrame.from_ndarray(pcm16(samples)[np.newaxis, :], self._format, layout="mono")
        else:
            floats = np.clip(samples, -1.0, 1.0)
            frame = av.AudioFrame.from_ndarray(floats[np.newaxis, :], self._format, layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts = self._written_samples
        self._written_samples += len(samples)
        return frame


def _room_for_table(samples: int) -> dict[str, str]:
    """Leave room in front of the sound for MP4's table, so that players begin before they have all.

    It takes some four bytes for each frame of 1,024 samples.
    """
    return {"moov_size": str(2048 + 8 * (samples // 1024))}


def _encode_vorbis(samples: FloatArray, sample_rate_hz: int) -> bytes:
    checked = np.clip(_finite(samples), -1.0, 1.0)
    sink = io.BytesIO()
    with soundfile.SoundFile(sink, "w", sample_rate_hz, channels=1, format="OGG", subtype="VORBIS") as file:
        # In blocks, since libvorbis puts what it is given on the stack, and some 500,000 samples overflow it.
        for start in range(0, len(checked), _VORBIS_BLOCK_SAMPLES):
            file.write(checked[start : start + _VORBIS_BLOCK_SAMPLES])
    return sink.getvalue()


def _format_rate_hz(sample_rate_hz: int, codec: Codec) -> int:
    if not codec.rates_hz or sample_rate_hz in codec.rates_hz:
        return sample_rate_hz
    return min((rate for rate in codec.rates_hz if rate > sample_rate_hz), default=max(codec.rates_hz))


def _wav_header(sample_rate_hz: int, data_bytes: int) -> bytes:
    riff_bytes = min(_UNKNOWN_SIZE, 36 + data_bytes)
    layout = "<4sI4s4sIHHIIHH4sI"
    form = (b"fmt ", 16, 1, 1, sample_rate_hz, sample_rate_hz * 2, 2, 16)
    return struct.pack(layout, b"RIFF", riff_bytes, b"WAVE", *form, b"data", data_bytes)


def _finite(samples: FloatArray) -> FloatArray:
    if not np.isfinite(samples).all():
        raise SynthesisError("the audio has samples that are not numbers; try again, or with another seed")
    return np.ascontiguousarray(samples, dtype=np.float32)


def pcm16(samples: FloatArray) -> npt.NDArray[np.int16]:
    """16-bit samples of float ones, of which what is beyond [-1, 1] is clipped.

    Raises:
        SynthesisError: a sample is not a finite number.
    """
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(_finite(samples) * 32768.0), -32768, 32767).astype("<i2")
    return pcm


def file_format(name: str) -> str:
    """The media type that a file's ending (`wav`, `.MP3`) names. Raises an InvalidRequestError where it names none."""
    media_type = name.removeprefix(".").lower()
    if media_type not in MEDIA_TYPES:
        raise InvalidRequestError(f"there is no format {name.removeprefix('.')!r}; it can be {', '.join(MEDIA_TYPES)}")
    return media_type


def _check_media_type(media_type: str) -> None:
    if media_type not in MEDIA_TYPES:
        raise InvalidRequestError(
            f"media_type: {media_type[:32]} is not supported; use one of {', '.join(MEDIA_TYPES)}"
        )
