"""Write long audio to a file, piece by piece: with chapters, tags and a cover where the format has them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import av
from av.stream import Disposition

from sovits_service.audio.encode import Codec, FFmpegEncoder, codec_of, pcm16
from sovits_service.errors import InvalidRequestError
from sovits_service.types import FloatArray

_MILLISECONDS = Fraction(1, 1000)
_MAX_WAV_BYTES = 2**32 - 2**10
# Of `mp4`, since FFmpeg's `ipod` refuses the codecs of pictures; the brand is the one that players of books know.
_M4B = replace(codec_of("m4a"), container="mp4", bit_rate=64_000)
_CODECS: dict[str, tuple[Codec, dict[str, str]]] = {
    "m4b": (_M4B, {"movflags": "+faststart", "brand": "M4B "}),
    "mp3": (replace(codec_of("mp3"), bit_rate=96_000), {}),
    "opus": (replace(codec_of("opus"), bit_rate=48_000), {}),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A chapter of the audio, in seconds from its start."""

    title: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A cover as its file has it."""

    data: bytes
    kind: Literal["png", "jpeg"]


@dataclass(frozen=True, slots=True)
class Tags:
    """What a player shows; empty ones are left out. wav has none, opus no picture."""

    title: str = ""
    author: str = ""
    marks: Sequence[Mark] = ()
    cover: Picture | None = None


class BookWriter(Protocol):
    """`write` for each piece, then `close`."""

    def write(self, samples: FloatArray) -> None: ...
    def close(self) -> None: ...


def open_book(path: Path, form: Literal["mp3", "opus", "m4b", "wav"], sample_rate_hz: int, tags: Tags) -> BookWriter:
    """A file that mono float32 samples in [-1, 1] at `sample_rate_hz` can be written to."""
    if form == "wav":
        return _WavFile(path, sample_rate_hz)
    return _FFmpegFile(path, form, sample_rate_hz, tags)


class _WavFile:
    def __init__(self, path: Path, sample_rate_hz: int) -> None:
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - closed by `close`
        self._file.setparams((1, 2, sample_rate_hz, 0, "NONE", ""))
        self._bytes = 0

    def write(self, samples: FloatArray) -> None:
        data = pcm16(samples).tobytes()
        self._bytes += len(data)
        if self._bytes > _MAX_WAV_BYTES:
            raise InvalidRequestError("the audio is longer than a wav file can be: ask for another format")
        self._file.writeframesraw(data)

    def close(self) -> None:
        self._file.close()


class _FFmpegFile:
    def __init__(self, path: Path, form: str, sample_rate_hz: int, tags: Tags) -> None:
        codec, options = _CODECS[form]
        self._encoder = FFmpegEncoder(str(path), sample_rate_hz, codec, options)
        container = self._encoder.container
        container.metadata.update(
            {name: value for name, value in (("title", tags.title), ("artist", tags.author)) if value}
        )
        if form == "opus":
            container.metadata.update(_ogg_chapters(tags.marks))
        elif tags.marks:
            container.set_chapters([_chapter(number, mark) for number, mark in enumerate(tags.marks)])
        if tags.cover is not None and form != "opus":
            _add_cover(self._encoder, tags.cover)

    def write(self, samples: FloatArray) -> None:
        self._encoder.write(samples)

    def close(self) -> None:
        self._encoder.close()


def _chapter(number: int, mark: Mark) -> av.container.Chapter:
    return {
        "id": number,
        "start": round(mark.start_s * 1000),
        "end": round(mark.end_s * 1000),
        "time_base": _MILLISECONDS,
        "metadata": {"title": mark.title},
    }


def _ogg_chapters(marks: Sequence[Mark]) -> dict[str, str]:
    """The comments that hold chapters in Ogg. FFmpeg's own, of version 8, are a second late from half a second on."""
    comments: dict[str, str] = {}
    for number, mark in enumerate(marks):
        total_ms = round(mark.start_s * 1000)
        hours, minutes, seconds = total_ms // 3_600_000, total_ms // 60_000 % 60, total_ms // 1000 % 60
        comments[f"CHAPTER{number:03d}"] = f"{hours:02d}:{minutes:02d}:{seconds:02d}.{total_ms % 1000:03d}"
        comments[f"CHAPTER{number:03d}NAME"] = mark.title
    return comments


def _add_cover(encoder: FFmpegEncoder, cover: Picture) -> None:
    """The picture as a stream of one packet, as it is."""
    stream = encoder.container.add_mux_stream("png" if cover.kind == "png" else "mjpeg", width=1, height=1)
    stream.disposition = Disposition.attached_pic
    encoder.write_header()
    packet = av.Packet(cover.data)
    packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, _MILLISECONDS
    packet.is_keyframe = True
    encoder.container.mux_one(packet)
