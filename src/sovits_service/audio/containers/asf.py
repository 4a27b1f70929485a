"""WMA (ASF): keep the properties, the first audio track and its packets."""

from __future__ import annotations

import struct

from sovits_service.audio.containers.damage import damaged
from sovits_service.errors import UnsupportedAudioError

HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_STREAM = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_AUDIO = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_OBJECT_BYTES, _HEADER_BYTES, _DATA_BYTES = 24, 30, 50
_MAX_OBJECTS, _MAX_STREAM_BYTES, _MAX_PACKET_BYTES = 256, 4096, 2**16


def asf_sound(payload: bytes) -> bytes:
    """Header and packets; tags, pictures, markers, scripts, indexes and what is beside the first header are left out.

    Raises:
        UnsupportedAudioError: there is no sound.
        ReferenceAudioError: damaged, or with packets larger than sound has.
    """
    header_end = _size(payload, 0)
    properties, stream = b"", b""
    position = _HEADER_BYTES
    for _ in range(_MAX_OBJECTS):
        if position + _OBJECT_BYTES > header_end:
            break
        end = position + _size(payload, position)
        if end > header_end:
            raise damaged()
        name = payload[position : position + 16]
        if name == _FILE and not properties:
            properties = payload[position:end]
        elif name == _STREAM and not stream and payload[position + 24 : position + 40] == _AUDIO:
            stream = payload[position:end]
        position = end
    if not stream:
        raise UnsupportedAudioError("the file has no sound in it; send it as wav")
    packet_bytes = struct.unpack_from("<II", properties, 92) if len(properties) >= 104 else (0, 0)
    if packet_bytes[0] != packet_bytes[1] or not 0 < packet_bytes[0] <= _MAX_PACKET_BYTES:
        raise damaged()
    if len(stream) > _MAX_STREAM_BYTES or payload[header_end : header_end + 16] != _DATA:
        raise damaged()
    data = payload[header_end : min(len(payload), header_end + _size(payload, header_end))]
    if len(data) < _DATA_BYTES:
        raise damaged()
    length = _HEADER_BYTES + len(properties) + len(stream)
    return HEADER + struct.pack("<QIBB", length, 2, 1, 2) + properties + stream + data


def _size(payload: bytes, position: int) -> int:
    size = int.from_bytes(payload[position + 16 : position + 24], "little")
    if size < _OBJECT_BYTES or size >= 2**40:
        raise damaged()
    return size
