"""MP4 and M4A: keep the track tables, with their counts checked, and the media data.

Boxes that sound does not need become `skip` boxes in their places, since tables hold positions in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from sovits_service.audio.containers.damage import damaged

# What FFmpeg is to see of each box. Fragmented files, as browsers record them, have their tables in `moof`.
_CHILDREN: Mapping[bytes, frozenset[bytes]] = {
    b"": frozenset({b"ftyp", b"moov", b"moof", b"mdat"}),
    b"moov": frozenset({b"mvhd", b"trak", b"mvex"}),
    b"trak": frozenset({b"tkhd", b"edts", b"mdia"}),
    b"edts": frozenset({b"elst"}),
    b"mdia": frozenset({b"mdhd", b"hdlr", b"minf"}),
    b"minf": frozenset({b"stbl"}),
    b"stbl": frozenset({b"stsd", b"stts", b"stsc", b"stsz", b"stz2", b"stco", b"co64"}),
    b"mvex": frozenset({b"trex"}),
    b"moof": frozenset({b"mfhd", b"traf"}),
    b"traf": frozenset({b"tfhd", b"tfdt", b"trun"}),
}
# A description holds boxes of its own. None of these is among those of sound.
_NOT_IN_DESCRIPTION = tuple(
    b"moov moof trak traf trun stbl meta udta cmov stts stsc stsz stz2 stco co64 ctts stss senc saiz saio".split()
)
_ROW_BYTES: Mapping[bytes, int] = {b"stts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"elst": 12}
_MAX_DESCRIPTION_BYTES = 64 * 1024
_MAX_BOXES, _MAX_TRACKS = 2**15, 16
# FFmpeg keeps some forty bytes for each sample of each track. PCM in an m4a has a "sample" for each of its samples; a
# minute of AAC at 192 kHz has 11,250.
_MAX_SAMPLES, _MAX_FRAGMENT_SAMPLES = 2**20, 2**16
_MAX_CHUNKED_SAMPLES = 2**26


def mp4_sound(payload: bytes) -> bytes:
    """The file with its sound alone.

    Raises:
        ReferenceAudioError: a box reaches beyond the one that holds it, or there are more boxes, tracks or samples than
            a clip of a minute has.
    """
    rewriter = _Rewriter(payload)
    rewriter.walk(b"", 0, len(payload))
    rewriter.check_counts()
    return bytes(rewriter.content)


class _Rewriter:
    def __init__(self, payload: bytes) -> None:
        self.content = bytearray(payload)
        self._boxes = self._tracks = 0
        self._samples = self._fragment_samples = 0
        self._chunks = self._largest_chunk = 0
        self._edits = 1
        self._is_fragmented = False

    def check_counts(self) -> None:
        limit = _MAX_FRAGMENT_SAMPLES if self._is_fragmented else _MAX_SAMPLES
        if (
            # Each edit may play all samples once more, and each of them is kept.
            (self._samples + self._fragment_samples) * self._edits > limit
            or self._tracks > _MAX_TRACKS
            or self._chunks * self._largest_chunk > _MAX_CHUNKED_SAMPLES
        ):
            raise damaged()

    def walk(self, parent: bytes, start: int, end: int) -> None:
        """Keep what FFmpeg is to see within a box; every box gets the length that it really has."""
        position = start
        while position + 8 <= end:
            self._boxes += 1
            if self._boxes > _MAX_BOXES:
                raise damaged()
            name, header, box_end = self._box(position, end, cuts=parent == b"")
            if name not in _CHILDREN[parent]:
                self.content[position + 4 : position + 8] = b"skip"
            elif name in _CHILDREN:
                self._tracks += name == b"trak"
                self._is_fragmented = self._is_fragmented or name == b"moof"
                self.walk(name, position + header, box_end)
            else:
                self._count(name, position + header, box_end)
            position = box_end

    def _box(self, position: int, end: int, *, cuts: bool) -> tuple[bytes, int, int]:
        """Name, length of the header, and end of the box at `position`; one of the file itself may be cut off."""
        size, name = self._number(position, 4), bytes(self.content[position + 4 : position + 8])
        header = 16 if size == 1 else 8
        if size == 1:
            size = self._number(position + 8, 8)
        box_end = end if size == 0 or (cuts and position + size > end) else position + size
        if box_end > end or box_end < position + header:
            raise damaged()
        if header == 16:
            self.content[position + 8 : position + 16] = (box_end - position).to_bytes(8, "big")
        else:
            self.content[position : position + 4] = (box_end - position).to_bytes(4, "big")
        return name, header, box_end

    def _count(self, name: bytes, start: int, end: int) -> None:
        """Add up what a table claims, which need not be in the file; what is to be in the file must be."""
        claimed = self._number(start + 4, 4)
        if name in (b"stsz", b"stz2"):
            self._samples += self._number(start + 8, 4)
        elif name == b"trun":
            self._fragment_samples += claimed
        elif name == b"stsd":
            inner = any(self.content.find(box, start, end) >= 0 for box in _NOT_IN_DESCRIPTION)
            if inner or end - start > _MAX_DESCRIPTION_BYTES:
                raise damaged()
        elif name in _ROW_BYTES:
            if start + 8 + claimed * _ROW_BYTES[name] > end:
                raise damaged()
            if name in (b"stco", b"co64"):
                self._chunks += claimed
            elif name == b"elst":
                self._edits = max(self._edits, claimed)
            elif name == b"stsc":
                counts = (self._number(position + 4, 4) for position in range(start + 8, start + 8 + claimed * 12, 12))
                self._largest_chunk = max(self._largest_chunk, *counts, 1)

    def _number(self, position: int, length: int) -> int:
        return int.from_bytes(self.content[position : position + length], "big")
