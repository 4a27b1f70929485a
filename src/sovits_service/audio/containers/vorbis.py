"""Check a Vorbis stream's headers: refuse codebooks that decode to far more than a clip needs.

A codebook of thirty bytes may claim 65,535 entries of 16 numbers each, and a header may have 256 of them: up to a
gigabyte in the decoder. The format is that of the Vorbis I specification, section 3.2.1.
"""

from __future__ import annotations

from sovits_service.audio.containers.damage import damaged

_SYNC = 0x564342
_SETUP = b"\x05vorbis"
_IDENTIFICATION_BYTES = 30
_MAX_HEADER_BYTES = 64 * 1024
# libvorbis writes some 40 codebooks with 10,000 entries and 60,000 numbers together.
_MAX_ENTRIES, _MAX_NUMBERS = 2**18, 2**20


def check_codebooks(extradata: bytes) -> None:
    """Add up the codebooks of a stream.

    Args:
        extradata: the three headers, as FFmpeg keeps them.

    Raises:
        ReferenceAudioError: they are too large together, or cannot be read.
    """
    setup = _setup_header(extradata)
    if not setup.startswith(_SETUP) or len(setup) > _MAX_HEADER_BYTES:
        raise damaged()
    bits = _Bits(setup[len(_SETUP) :])
    entries_left, numbers_left = _MAX_ENTRIES, _MAX_NUMBERS
    for _ in range(bits.read(8) + 1):
        if bits.read(24) != _SYNC:
            raise damaged()
        dimensions, entries = bits.read(16), bits.read(24)
        entries_left -= entries
        numbers_left -= entries * dimensions
        if entries_left < 0 or numbers_left < 0:
            raise damaged()
        _skip_codebook(bits, dimensions, entries)


def _setup_header(extradata: bytes) -> bytes:
    """The last of the three headers; they are laced as in Matroska, or have their lengths before each."""
    if int.from_bytes(extradata[:2], "big") == _IDENTIFICATION_BYTES:
        position = 0
        for _ in range(2):
            position += 2 + int.from_bytes(extradata[position : position + 2], "big")
        return extradata[position + 2 :]
    position, lengths = 1, []
    for _ in range(2):
        length = 0
        while position < len(extradata):
            length += extradata[position]
            position += 1
            if extradata[position - 1] < 255:
                break
        lengths.append(length)
    return extradata[position + sum(lengths) :]


def _skip_codebook(bits: _Bits, dimensions: int, entries: int) -> None:
    """Read over a codebook's lengths and numbers."""
    if bits.read(1):  # ordered: how many entries have each length
        bits.read(5)
        done = 0
        while done < entries:
            done += bits.read((entries - done).bit_length())
    else:
        sparse = bits.read(1)
        for _ in range(entries):
            if not sparse or bits.read(1):
                bits.read(5)
    lookup = bits.read(4)
    if lookup == 0:
        return
    bits.read(64)
    value_bits = bits.read(4) + 1
    bits.read(1)
    count = _largest_root(entries, dimensions) if lookup == 1 else entries * dimensions
    bits.skip(count * value_bits)


def _largest_root(entries: int, dimensions: int) -> int:
    """The largest number whose power of `dimensions` is at most `entries`."""
    if dimensions == 0:
        raise damaged()
    root = int(entries ** (1 / dimensions)) + 1
    while root**dimensions > entries:
        root -= 1
    return root


class _Bits:
    """Reads numbers from bytes, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        first, shift = divmod(self._position, 8)
        self.skip(count)
        value = int.from_bytes(self._data[first : (self._position + 7) // 8], "little") >> shift
        return value & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > 8 * len(self._data):
            raise damaged()
