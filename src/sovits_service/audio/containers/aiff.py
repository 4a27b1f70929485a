"""AIFF and AIFF-C: keep the format description and the samples."""

from __future__ import annotations

import struct

from sovits_service.audio.containers.damage import damaged

_MAX_DESCRIPTION_BYTES = 1024
_VERSION = b"FVER" + struct.pack(">II", 4, 0xA2805140)


def aiff_sound(payload: bytes) -> bytes:
    """`COMM` and `SSND`; names, comments, `ID3 ` and the like are left out.

    Raises:
        ReferenceAudioError: no `COMM` before `SSND`, or none at all.
    """
    kind, description, position = payload[8:12], b"", 12
    while position + 8 <= len(payload):
        name, size = payload[position : position + 4], int.from_bytes(payload[position + 4 : position + 8], "big")
        start = position + 8
        if name == b"SSND":
            if not description:
                raise damaged()
            return _form(kind, description, payload[start : min(start + size, len(payload))])
        if name == b"COMM":
            if size > _MAX_DESCRIPTION_BYTES:
                raise damaged()
            description = payload[start : start + size]
        position = start + size + size % 2
    raise damaged()


def _form(kind: bytes, description: bytes, samples: bytes) -> bytes:
    chunks = _VERSION if kind == b"AIFC" else b""
    for name, content in ((b"COMM", description), (b"SSND", samples)):
        chunks += name + struct.pack(">I", len(content)) + content + bytes(len(content) % 2)
    return b"FORM" + struct.pack(">I", 4 + len(chunks)) + kind + chunks
