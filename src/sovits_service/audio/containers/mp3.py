"""MP3: drop the tags before and behind the frames."""

from __future__ import annotations

_ID3V1_BYTES = 128
_APE_BYTES, _APE_HAS_HEADER = 32, 0x80000000


def mp3_sound(payload: bytes) -> bytes:
    """The frames. An APE tag of a megabyte behind them would take FFmpeg minutes."""
    end = len(payload)
    while True:
        if payload[max(0, end - _ID3V1_BYTES) : max(0, end)].startswith(b"TAG"):
            end -= _ID3V1_BYTES
        elif payload[max(0, end - _APE_BYTES) : max(0, end)].startswith(b"APETAGEX"):
            footer = payload[end - _APE_BYTES : end]
            size, flags = int.from_bytes(footer[12:16], "little"), int.from_bytes(footer[20:24], "little")
            end -= max(_APE_BYTES, size + (_APE_BYTES if flags & _APE_HAS_HEADER else 0))
        else:
            return payload[: max(0, end)]


def id3_end(content: bytes) -> int:
    """Where the sound starts behind ID3v2 tags, which may be compressed. Any kind of file may have one."""
    position = 0
    while content[position : position + 3] == b"ID3" and len(content) >= position + 10:
        flags, size = content[position + 5], content[position + 6 : position + 10]
        if any(byte & 0x80 for byte in size):
            break
        footer = 10 if flags & 0x10 else 0
        position += 10 + footer + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    return position


def is_mp3_frame(payload: bytes) -> bool:
    """Whether it begins with the header of a frame of layer III."""
    start = len(payload) - len(payload.lstrip(b"\0"))  # encoders pad between tag and sound
    head = payload[start : start + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and bit_rate not in (0, 15) and rate != 3
