"""FLAC: keep the stream information and the frames."""

from __future__ import annotations

from sovits_service.audio.containers.damage import damaged

_STREAM_INFO, _STREAM_INFO_BYTES = 0, 34
_LAST = 0x80


def flac_sound(payload: bytes) -> bytes:
    """STREAMINFO and the frames; pictures, comments, cue sheets and the seek table are left out.

    Raises:
        ReferenceAudioError: no STREAMINFO at the start, or no end of the metadata.
    """
    head, position = b"", 4
    while position + 4 <= len(payload):
        kind, size = payload[position], int.from_bytes(payload[position + 1 : position + 4], "big")
        start = position + 4
        if not head:
            if kind & ~_LAST != _STREAM_INFO or size != _STREAM_INFO_BYTES:
                raise damaged()
            head = payload[start : start + size]
        position = start + size
        if kind & _LAST:
            prefix = b"fLaC" + bytes([_STREAM_INFO | _LAST]) + _STREAM_INFO_BYTES.to_bytes(3, "big")
            return prefix + head + payload[position:]
    raise damaged()
