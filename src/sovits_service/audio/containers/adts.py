"""AAC in ADTS frames: keep the frames, drop everything between them."""

from __future__ import annotations

from sovits_service.audio.containers.damage import damaged

_HEADER_BYTES = 7
_MAX_FRAMES = 2**15  # a minute at 96 kHz has 5,625


def is_adts_frame(payload: bytes) -> bool:
    """Whether it begins with the header of a frame."""
    return _frame_bytes(payload, 0) > 0


def adts_sound(payload: bytes) -> bytes:
    """The frames from the start on; tags, which FFmpeg reads within a stream too, are left out.

    Raises:
        ReferenceAudioError: more frames than a clip has.
    """
    pieces, position = [], 0
    while (size := _frame_bytes(payload, position)) and position + size <= len(payload):
        pieces.append(payload[position : position + size])
        position += size
        if len(pieces) > _MAX_FRAMES:
            raise damaged()
    return b"".join(pieces)


def _frame_bytes(payload: bytes, position: int) -> int:
    """Length of the frame at a position; 0 where there is none."""
    head = payload[position : position + _HEADER_BYTES]
    if len(head) < _HEADER_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size >= _HEADER_BYTES else 0
