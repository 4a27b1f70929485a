"""Ogg: keep the whole pages of the first audio stream."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sovits_service.audio.containers.damage import damaged
from sovits_service.errors import UnsupportedAudioError

_CODECS = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC")
_COMMENTS = (b"OpusTags", b"\x03vorbis")
_FLAC_COMMENT = 4  # the kind of a metadata block
# FFmpeg compares each comment with all before it. Chained files, such as the pieces of a stream, have some for each.
_MAX_COMMENTS, _MAX_PAGES = 2000, 2**16
_FIRST_PAGE = 2
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    """Where a page is, and the lengths of its segments."""

    start: int
    body: int
    end: int
    serial: bytes
    is_first: bool
    segments: bytes


def ogg_sound(payload: bytes) -> bytes:
    """The pages of the first Opus, Vorbis or FLAC stream, and of those chained to it; other streams are left out.

    Raises:
        UnsupportedAudioError: there is no such stream.
        ReferenceAudioError: more pages or comments than a clip has.
    """
    kept: list[bytes] = []
    serial = b""
    comments = _CommentCounter()
    for page in _pages(payload):
        if page.is_first:
            if not payload[page.body : page.end].startswith(_CODECS):
                continue
            # Streams side by side all begin before the first of them goes on; a chained one begins later.
            if serial and len(kept) == 1:
                continue
            serial = page.serial
            comments.restart()
        elif page.serial != serial:
            continue
        comments.add(payload, page)
        kept.append(payload[page.start : page.end])
    if not kept:
        raise UnsupportedAudioError("the file has no sound in it that is accepted; send opus, vorbis or flac in ogg")
    return b"".join(kept)


def _pages(payload: bytes) -> Iterator[_Page]:
    """The pages whose checksum is right; FFmpeg would look for others within one whose is not."""
    position, count = 0, 0
    while (position := payload.find(b"OggS", position)) >= 0:
        count += 1
        if count > _MAX_PAGES:
            raise damaged()
        segments = (
            payload[position + 27 : position + 27 + payload[position + 26]] if position + 27 <= len(payload) else b""
        )
        body = position + 27 + len(segments)
        end = body + sum(segments)
        if not segments or end > len(payload) or not _is_sound(payload[position:end]):
            position += 4
            continue
        flags = payload[position + 5]
        serial = payload[position + 14 : position + 18]
        yield _Page(position, body, end, serial, bool(flags & _FIRST_PAGE), segments)
        position = end


def _is_sound(page: bytes) -> bool:
    """Whether the page's checksum is right: a CRC-32 like zlib's, but for the order of the bits and the start at 0."""
    blanked = page[:22] + bytes(4) + page[26:]
    checksum = zlib.crc32(blanked.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")


class _CommentCounter:
    """Adds up what the comment packets of all chained streams claim."""

    def __init__(self) -> None:
        self._total = 0
        self._packet = bytearray()

    def restart(self) -> None:
        self._packet.clear()

    def add(self, payload: bytes, page: _Page) -> None:
        """Take the packets that end in a page; refuse the one comment too many."""
        position = page.body
        for segment in page.segments:
            self._packet += payload[position : position + segment]
            position += segment
            if segment < 255:
                self._total += _count_comments(self._packet)
                self._packet.clear()
                if self._total > _MAX_COMMENTS:
                    raise damaged()


def _count_comments(packet: bytearray) -> int:
    start = next((len(magic) for magic in _COMMENTS if packet.startswith(magic)), 0)
    if not start and packet and packet[0] & 0x7F == _FLAC_COMMENT:
        start = 4
    if not start:
        return 0
    vendor_bytes = int.from_bytes(packet[start : start + 4], "little")
    count = int.from_bytes(packet[start + 4 + vendor_bytes : start + 8 + vendor_bytes], "little")
    # The claim of a comment needs four bytes of its own, so that a claim without them is no work.
    return min(count, len(packet) // 4)
