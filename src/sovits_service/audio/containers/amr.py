"""AMR, as in voice messages (RFC 4867, section 5): keep the whole frames."""

from __future__ import annotations

from sovits_service.audio.containers.damage import damaged

NARROW, WIDE = b"#!AMR\n", b"#!AMR-WB\n"
# Bytes of a frame by its type, its header included; 0 where the type is reserved.
_NARROW_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)
_WIDE_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)
_MAX_FRAMES = 2**13  # a minute has 3,000


def amr_sound(payload: bytes) -> bytes:
    """The frames from the start on.

    Raises:
        ReferenceAudioError: more frames than a clip has.
    """
    mark, sizes = (WIDE, _WIDE_BYTES) if payload.startswith(WIDE) else (NARROW, _NARROW_BYTES)
    position, frames = len(mark), 0
    while position < len(payload):
        size = sizes[payload[position] >> 3 & 15]
        if not size or position + size > len(payload):
            break
        position += size
        frames += 1
        if frames > _MAX_FRAMES:
            raise damaged()
    return payload[:position]
