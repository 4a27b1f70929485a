"""RIFF and RF64 wave files: keep `fmt ` and `data`."""

from __future__ import annotations

import struct

from sovits_service.audio.containers.damage import damaged

_MAX_FORMAT_BYTES = 1024


def wav_sound(payload: bytes) -> bytes:
    """The wave format and the samples; chunks such as `ID3 ` and `LIST` are left out.

    A length that the writer did not know (0 or -1 in a stream, and in `RF64`) means: to the end.

    Raises:
        ReferenceAudioError: no `fmt ` before `data`, or none at all.
    """
    wave_format, position = b"", 12
    while position + 8 <= len(payload):
        name, size = payload[position : position + 4], int.from_bytes(payload[position + 4 : position + 8], "little")
        start = position + 8
        if name == b"data":
            if not wave_format:
                raise damaged()
            end = len(payload) if size in (0, 0xFFFFFFFF) else min(start + size, len(payload))
            return _wave(wave_format, payload[start:end])
        if name == b"fmt ":
            if size > _MAX_FORMAT_BYTES:
                raise damaged()
            wave_format = payload[start : start + size]
        position = start + size + size % 2
    raise damaged()


def _wave(wave_format: bytes, samples: bytes) -> bytes:
    padded = wave_format + bytes(len(wave_format) % 2)
    length = 4 + 8 + len(padded) + 8 + len(samples)
    head = b"RIFF" + struct.pack("<I", length) + b"WAVEfmt " + struct.pack("<I", len(wave_format)) + padded
    return b"".join((head, b"data", struct.pack("<I", len(samples)), samples))
