"""Matroska and WebM: keep the blocks of the audio track."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sovits_service.audio.containers.damage import damaged
from sovits_service.errors import UnsupportedAudioError

_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_INFO, _TRACKS, _TRACK, _AUDIO = b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae", b"\xe1"
_GROUP, _SIMPLE_BLOCK, _BLOCK = b"\xa0", b"\xa3", b"\xa1"
_NUMBER, _KIND, _ENCODINGS = b"\xd7", b"\x83", b"\x6d\x80"
_TOP = frozenset({_EBML, _SEGMENT, _CLUSTER, _INFO, _TRACKS, b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b"})
_TOP |= {b"\x12\x54\xc3\x67", b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70"}  # tags, attachments, chapters
# What FFmpeg is to see of each master element; lists within them cost it far more than the two bytes of an empty entry.
_CHILDREN: Mapping[bytes, frozenset[bytes]] = {
    _INFO: frozenset({b"\x2a\xd7\xb1"}),  # the scale of timestamps
    # number, uid, kind, codec, its data, duration of a frame, delay, pre-roll, audio
    _TRACK: frozenset(
        {_NUMBER, b"\x73\xc5", _KIND, b"\x86", b"\x63\xa2", b"\x23\xe3\x83", b"\x56\xaa", b"\x56\xbb", _AUDIO}
    ),
    _AUDIO: frozenset({b"\xb5", b"\x78\xb5", b"\x9f", b"\x62\x64"}),  # rates, channels, bits
    _GROUP: frozenset({_BLOCK, b"\x9b", b"\x75\xa2"}),  # duration, what to discard
}
_TIMESTAMP = b"\xe7"
_AUDIO_KIND = 2
_MAX_ELEMENTS, _MAX_CODEC_BYTES = 2**17, 64 * 1024
_UNKNOWN = b"\x01\xff\xff\xff\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class _Element:
    """An element's id, and where its content is; without a length where it goes on to the next of its level."""

    name: bytes
    start: int
    end: int
    is_open: bool


def matroska_sound(payload: bytes) -> bytes:
    """The description and the blocks of the first track of sound; tags, pictures, chapters, indexes are left out.

    Raises:
        UnsupportedAudioError: there is no sound, or it is compressed once more.
        ReferenceAudioError: damaged, or more elements than a clip has.
    """
    reader = _Reader(payload)
    top = reader.top_level()
    # The header's own fields are of no use to sound but for the kind of document.
    header = _write(_EBML, _write(b"\x42\x82", b"matroska"))
    pieces = [header, _SEGMENT + _UNKNOWN]
    pieces += [_write(_INFO, reader.kept(element)) for element in top if element.name == _INFO][:1]
    number, description = reader.sound_track(top)
    pieces.append(_write(_TRACKS, description))
    for element in top:
        if element.name == _CLUSTER:
            pieces.append(_write(_CLUSTER, reader.cluster(element, number)))
    return b"".join(pieces)


def _write(name: bytes, content: bytes) -> bytes:
    return name + (1 << 56 | len(content)).to_bytes(8, "big") + content


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._elements = 0

    def top_level(self) -> list[_Element]:
        """Info, tracks and clusters of the first segment."""
        found: list[_Element] = []
        position, end = 0, len(self._payload)
        while position < end:
            element = self._element(position, end)
            position = element.end
            if element.name == _SEGMENT:
                position = element.start
            elif element.name == _CLUSTER and element.is_open:
                position = self._end_of_open(element)
                element = _Element(element.name, element.start, position, is_open=False)
            if element.name in (_INFO, _TRACKS, _CLUSTER):
                found.append(element)
        return found

    def sound_track(self, top: list[_Element]) -> tuple[int, bytes]:
        """Number and description of the first track of sound."""
        for tracks in (element for element in top if element.name == _TRACKS):
            for entry in self._children(tracks):
                if entry.name != _TRACK:
                    continue
                fields = {child.name: child for child in self._children(entry)}
                if self._integer(fields.get(_KIND)) != _AUDIO_KIND:
                    continue
                if _ENCODINGS in fields:
                    raise UnsupportedAudioError("the sound in the file is compressed once more; export it as wav")
                if entry.end - entry.start > _MAX_CODEC_BYTES:
                    raise damaged()
                return self._integer(fields.get(_NUMBER)), _write(_TRACK, self.kept(entry))
        raise UnsupportedAudioError("the file has no sound in it; send wav, for example")

    def cluster(self, cluster: _Element, number: int) -> bytes:
        """The time and the blocks of one track."""
        pieces = []
        for child in self._children(cluster):
            if child.name == _TIMESTAMP or (child.name == _SIMPLE_BLOCK and self._track_of(child) == number):
                pieces.append(_write(child.name, self._payload[child.start : child.end]))
            elif child.name == _GROUP:
                block = next((inner for inner in self._children(child) if inner.name == _BLOCK), None)
                if block is not None and self._track_of(block) == number:
                    pieces.append(_write(_GROUP, self.kept(child)))
        return b"".join(pieces)

    def kept(self, parent: _Element) -> bytes:
        """The children of a master element that FFmpeg is to see, each once."""
        kept: dict[bytes, bytes] = {}
        for child in self._children(parent):
            if child.name in _CHILDREN[parent.name] and child.name not in kept:
                content = self.kept(child) if child.name in _CHILDREN else self._payload[child.start : child.end]
                kept[child.name] = _write(child.name, content)
        return b"".join(kept.values())

    def _children(self, parent: _Element) -> Iterator[_Element]:
        position = parent.start
        while position < parent.end:
            child = self._element(position, parent.end)
            if child.is_open:
                raise damaged()
            yield child
            position = child.end

    def _end_of_open(self, cluster: _Element) -> int:
        """Where a cluster without a length ends: before the next element of its own level."""
        position = cluster.start
        while position < len(self._payload):
            child = self._element(position, len(self._payload))
            if child.name in _TOP:
                return position
            position = child.end
        return position

    def _element(self, position: int, end: int) -> _Element:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise damaged()
        name_bytes = self._width(position, 4)
        name = self._payload[position : position + name_bytes]
        size_bytes = self._width(position + name_bytes, 8)
        start = position + name_bytes + size_bytes
        if start > end:
            raise damaged()
        mask = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(self._payload[position + name_bytes : start], "big") & mask
        if size == mask:
            return _Element(name, start, end, is_open=True)
        # A recording that was cut off ends within an element.
        return _Element(name, start, min(start + size, end), is_open=False)

    def _width(self, position: int, most: int) -> int:
        first = self._payload[position] if position < len(self._payload) else 0
        width = 9 - first.bit_length()
        if width > most:
            raise damaged()
        return width

    def _track_of(self, block: _Element) -> int:
        width = self._width(block.start, 8)
        return int.from_bytes(self._payload[block.start : block.start + width], "big") & ((1 << 7 * width) - 1)

    def _integer(self, element: _Element | None) -> int:
        return (
            -1
            if element is None
            else int.from_bytes(self._payload[element.start : min(element.end, element.start + 8)], "big")
        )
