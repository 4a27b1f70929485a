"""Small sound files that claim to be large: what a decoder must not believe."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import av
import av.container
import numpy as np
import soundfile

from sovits_service.audio.containers.asf import HEADER

RATE_HZ = 48_000


def recorded(
    container: str,
    codec: str,
    seconds: float = 4.0,
    options: Mapping[str, str] | None = None,
    rate_hz: int = RATE_HZ,
) -> bytes:
    """A tone, as FFmpeg writes it."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container, options=dict(options or {})) as output:
        _add_tone(output, codec, seconds, rate_hz)
    return sink.getvalue()


def filmed(container: str, picture: str, sound: str) -> bytes:
    """Four seconds of a tone beside moving pictures."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as output:
        video = output.add_stream(picture, rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        write_sound = _add_tone(output, sound, 4.0, RATE_HZ, later=True)
        for _ in range(40):
            output.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(video.encode(None))
        write_sound()
    return sink.getvalue()


def _add_tone(
    output: av.container.OutputContainer, codec: str, seconds: float, rate_hz: int, *, later: bool = False
) -> Callable[[], None]:
    times_s = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = (0.3 * np.sin(2 * np.pi * 220 * times_s)).astype(np.float32)[None]
    stream = output.add_stream(codec, rate=rate_hz)
    stream.layout = "mono"
    if codec.startswith("wma"):  # it has no usual one
        stream.bit_rate = 128_000
    formats = stream.codec_context.codec.audio_formats

    def write() -> None:
        assert formats
        resampler = av.AudioResampler(format=formats[0].name, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout="mono")
        frame.sample_rate = rate_hz
        for part in resampler.resample(frame):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))

    if not later:
        write()
    return write


def vorbis(container: str, seconds: float = 4.0) -> bytes:
    """A tone in Vorbis, which libsndfile writes and FFmpeg puts into another container."""
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    sink, source = io.BytesIO(), io.BytesIO()
    soundfile.write(source, 0.3 * np.sin(2 * np.pi * 220 * times_s), RATE_HZ, format="OGG", subtype="VORBIS")
    source.seek(0)
    with av.open(source, "r", format="ogg") as original, av.open(sink, "w", format=container) as output:
        stream = output.add_stream_from_template(original.streams[0])
        for packet in original.demux(original.streams[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return sink.getvalue()


def fragmented_mp4() -> bytes:
    """As Safari's MediaRecorder writes it: an empty `moov`, then fragments with tables of their own."""
    flags = "frag_keyframe+empty_moov+default_base_moof+frag_every_frame"
    return recorded("mp4", "aac", options={"movflags": flags})


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _boxes(data: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    found, position = [], start
    while position + 8 <= end:
        size = int.from_bytes(data[position : position + 4], "big")
        found.append((data[position + 4 : position + 8], position, position + size))
        position += size
    return found


def _insert(data: bytes, path: tuple[bytes, ...], new: bytes, *, first: bool = False) -> bytes:
    """`new` within the box at `path`, at its end or start; the boxes around it get their new lengths.

    The file is one whose samples come before its tables, so that no position changes.
    """
    start, end = 0, len(data)
    around = []
    for name in path:
        _, position, end = next(entry for entry in _boxes(data, start, end) if entry[0] == name)
        around.append(position)
        start = position + 8
    out = bytearray(data)
    for position in around:
        size = int.from_bytes(out[position : position + 4], "big") + len(new)
        out[position : position + 4] = size.to_bytes(4, "big")
    where = start if first else end
    return bytes(out[:where]) + new + bytes(out[where:])


_MANY = 40_000_000
_SIZES = box(b"stsz", struct.pack(">III", 0, 1, _MANY))


def _m4a() -> bytes:
    return recorded("ipod", "aac")


def _patched(data: bytes, name: bytes, offset: int, value: int) -> bytes:
    position = data.index(name) + 4 + offset
    return data[:position] + value.to_bytes(4, "big") + data[position + 4 :]


def _counted_twice() -> bytes:
    """The number of samples is claimed by the table that counts: each has the same size, so that none is listed."""
    data = _patched(_patched(_m4a(), b"stsz", 4, 1), b"stsz", 8, _MANY)
    return _patched(_patched(data, b"stts", 8, _MANY), b"stsc", 12, _MANY)


def _run_of_samples(count: int, runs: int) -> bytes:
    data = fragmented_mp4()
    run = box(b"trun", struct.pack(">II", 0, count))
    header = box(b"tfhd", struct.pack(">III", 0x38, 1, 1024) + struct.pack(">II", 1, 0))
    return data + box(b"moof", box(b"mfhd", bytes(8)) + box(b"traf", header + run * runs)) + box(b"mdat", bytes(64))


def _pcm_chunks() -> bytes:
    """A chunk's number of samples takes four bytes, whatever it is."""
    data = recorded("mov", "pcm_s16le")
    position = data.index(b"stsc") + 4
    data = data[: position + 8] + struct.pack(">III", 1, 2**31 - 1, 1) + data[position + 20 :]
    return _patched(data, b"stsz", 8, 2**20)


def _repeated_edits() -> bytes:
    edit = struct.pack(">IIHH", 4000, 0, 1, 0)
    return _insert(_m4a(), (b"moov", b"trak", b"edts"), box(b"elst", struct.pack(">II", 0, 20_000) + edit * 20_000))


def _wave_with_tag() -> bytes:
    """An ID3 tag within a wave file, whose frames are compressed."""
    frame = zlib.compress(bytes(60_000_000), 9)
    head = b"TXXX" + _synchsafe(len(frame) + 4) + bytes([0, 0x09]) + _synchsafe(60_000_000)
    body = (head + frame) * 3
    tag = b"ID3\x04\0\0" + _synchsafe(len(body)) + body
    wave = recorded("wav", "pcm_s16le")
    return wave[:12] + b"ID3 " + struct.pack("<I", len(tag)) + tag + bytes(len(tag) % 2) + wave[12:]


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _comments(count: int) -> bytes:
    lines = b"".join(struct.pack("<I", 9) + b"A%06d=" % number + b"x" for number in range(count))
    return struct.pack("<I", 0) + struct.pack("<I", count) + lines


def _flac_block(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(3, "big") + content


def _flac_with(block: bytes) -> bytes:
    flac = recorded("flac", "flac")
    return flac[:42] + block + flac[42:]


def _picture() -> bytes:
    """A PNG of 30,000 x 30,000 pixels of one colour, as a cover."""
    rows = zlib.compress(bytes(1 + 30_000 * 3) * 400, 9) * 1
    chunks = b""
    for name, content in (
        (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    png = b"\x89PNG\r\n\x1a\n" + chunks
    head = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">IIIIII", 0, 30_000, 30_000, 24, 0, len(png))
    return head + png


def _ogg_pages(packets: list[bytes], serial: bytes = b"abcd") -> bytes:
    """One packet after another, each on pages of its own."""
    out, number = b"", 0
    for index, packet in enumerate(packets):
        lacing = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
        for start in range(0, len(lacing), 255):
            segments = lacing[start : start + 255]
            body = packet[start * 255 : start * 255 + sum(segments)]
            flags = (2 if number == 0 else 0) | (1 if start else 0) | (4 if index == len(packets) - 1 else 0)
            page = b"OggS\0" + bytes([flags]) + bytes(8) + serial + struct.pack("<II", number, 0)
            page += bytes([len(segments)]) + segments + body
            out += page[:22] + struct.pack("<I", _ogg_crc(page)) + page[26:]
            number += 1
    return out


def _ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


_VORBIS_ID = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, RATE_HZ, 0, 0, 0, 0xB8, 1)
_OPUS_ID = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, RATE_HZ, 0, 0)


def _ogg_with_comments() -> bytes:
    packets = [_OPUS_ID, b"OpusTags" + _comments(12_000), b"\xfc\xff\xfe"]
    return _ogg_pages(packets)


class _BitWriter:
    def __init__(self) -> None:
        self._value = self._length = 0

    def put(self, value: int, bits: int) -> None:
        self._value |= value << self._length
        self._length += bits

    def data(self) -> bytes:
        return self._value.to_bytes((self._length + 7) // 8, "little")


def vorbis_setup(codebooks: int) -> bytes:
    """A setup header whose codebooks have 65,535 entries of 16 numbers each, in some thirty bytes."""
    bits = _BitWriter()
    bits.put(codebooks - 1, 8)
    for _ in range(codebooks):
        bits.put(0x564342, 24)
        bits.put(16, 16)
        bits.put(65_535, 24)
        bits.put(1, 1)  # ordered
        bits.put(15, 5)  # the first length is 16
        bits.put(65_535, 16)
        bits.put(1, 4)
        bits.put(0, 32)
        bits.put(0, 32)
        bits.put(0, 4)
        bits.put(0, 1)
        bits.put(0, 1)  # one number: the root of the entries
    bits.put(1, 64)
    return b"\x05vorbis" + bits.data()


def _ogg_with_codebooks() -> bytes:
    return _ogg_pages([_VORBIS_ID, b"\x03vorbis" + _comments(0) + b"\x01", vorbis_setup(256), b"\0" * 8])


def _webm_with_codebooks() -> bytes:
    comment, setup = b"\x03vorbis" + _comments(0) + b"\x01", vorbis_setup(256)
    private = bytes([2, len(_VORBIS_ID), len(comment)]) + _VORBIS_ID + comment + setup
    return _webm(_element(b"\x86", b"A_VORBIS") + _element(b"\x63\xa2", private))


def _element(name: bytes, content: bytes) -> bytes:
    return name + (1 << 56 | len(content)).to_bytes(8, "big") + content


_OPUS_TRACK = _element(b"\x86", b"A_OPUS") + _element(b"\x63\xa2", _OPUS_ID)


def _webm(codec: bytes = _OPUS_TRACK, more_tracks: bytes = b"", after: bytes = b"", cluster: bytes = b"") -> bytes:
    audio = _element(b"\xe1", _element(b"\xb5", struct.pack(">d", RATE_HZ)) + _element(b"\x9f", b"\x01"))
    track = _element(b"\xd7", b"\x01") + _element(b"\x73\xc5", b"\x01") + _element(b"\x83", b"\x02") + codec + audio
    block = _element(b"\xa3", b"\x81\0\0\x80\xfc\xff\xfe")
    body = _element(b"\x16\x54\xae\x6b", _element(b"\xae", track) + more_tracks) + after
    body += _element(b"\x1f\x43\xb6\x75", _element(b"\xe7", b"\0") + block * 300 + cluster)
    return _element(b"\x1a\x45\xdf\xa3", _element(b"\x42\x82", b"webm")) + _element(b"\x18\x53\x80\x67", body)


def _ape_tag() -> bytes:
    items = b"".join(struct.pack("<II", 1, 0) + b"K%05d\0x" % number for number in range(65_000))
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, len(items) + 32, 65_000, 0) + bytes(8)
    return recorded("mp3", "mp3", options={"id3v2_version": "0", "write_xing": "0"}) + items + footer


def _tag() -> bytes:
    """An ID3 tag of a megabyte that unfolds into a gigabyte."""
    packed = zlib.compress(bytes(2**30 // 64))
    frame = b"APIC" + struct.pack(">IH", len(packed) + 4, 0x0009) + struct.pack(">I", 2**28 - 1) + packed
    size = len(frame)
    return b"ID3\x04\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + frame


def _aiff(description: bytes) -> bytes:
    chunks = b"COMM" + struct.pack(">I", len(description)) + description
    chunks += b"SSND" + struct.pack(">I", 2**31) + bytes(1_000_000)
    return b"FORM" + struct.pack(">I", len(chunks) + 4) + b"AIFF" + chunks


def _wma_payloads() -> bytes:
    """Every payload claims to be part of one of 16 MB."""
    data = recorded("asf", "wmav2", seconds=30.0)
    start = data.index(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"))
    head, packets = data[:start], data[start:]
    found = [packets[i + 1 : i + 5] for i in range(len(packets) - 5) if packets[i] == 8]
    size = max(set(found), key=found.count)
    return head + packets.replace(b"\x08" + size, b"\x08\xfe\xff\xff\0")


def _wma_packets(size: int) -> bytes:
    data = bytearray(recorded("asf", "wmav2"))
    start = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 92
    data[start : start + 8] = struct.pack("<II", size, size)
    return bytes(data)


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "mp4 sizes in edts": lambda: _insert(_counted_twice(), (b"moov", b"trak", b"edts"), _SIZES, first=True),
    "mp4 sizes in udta": lambda: _insert(_m4a(), (b"moov", b"trak"), box(b"udta", _SIZES)),
    "mp4 sizes": _counted_twice,
    "mp4 samples of one fragment": lambda: _run_of_samples(_MANY, 1),
    "mp4 samples of many runs": lambda: _run_of_samples(900_000, 40),
    "mp4 chunks": _pcm_chunks,
    "mp4 edits": _repeated_edits,
    "mp4 tracks": lambda: _insert(_m4a(), (b"moov",), box(b"trak", b"") * 100_000),
    "mp4 fragments": lambda: fragmented_mp4() + box(b"moof", b"") * 500_000,
    "mp4 compressed tables": lambda: (
        box(b"ftyp", b"M4A \0\0\0\0")
        + box(
            b"moov",
            box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", 2**30) + zlib.compress(bytes(2**20)))),
        )
    ),
    "wav tag": _wave_with_tag,
    "aac frames": lambda: b"\xff\xf1\x50\x80\x00\xff\xfc" * 500_000,
    "aac tag": lambda: recorded("adts", "aac") + _tag() * 3,
    "aiff channels": lambda: _aiff(struct.pack(">hIh", -1, 2**31, 64) + b"\x40\x0e\xbb\x80" + bytes(6)),
    "aiff samples": lambda: _aiff(struct.pack(">hIh", 1, 2**32 - 1, 16) + b"\x40\x0e\xbb\x80" + bytes(6)),
    "amr frames": lambda: b"#!AMR\n" + b"\x7c" * 5_000_000,
    "wma objects": lambda: HEADER + struct.pack("<QIBB", 2**39, 2**31, 1, 2) + bytes(5_000_000),
    "wma payloads": _wma_payloads,
    "wma packets": lambda: _wma_packets(2**31),
    "flac comments": lambda: _flac_with(_flac_block(4, _comments(200_000))),
    "flac picture": lambda: _flac_with(_flac_block(6, _picture())),
    "ogg comments": _ogg_with_comments,
    "ogg codebooks": _ogg_with_codebooks,
    "mp3 tag": _ape_tag,
    "webm codebooks": _webm_with_codebooks,
    "webm tracks": lambda: _webm(more_tracks=b"\xae\x80" * 500_000),
    "webm tags": lambda: _webm(after=_element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", b"\x67\xc8\x80" * 700_000))),
    "webm additions": lambda: _webm(
        cluster=_element(
            b"\xa0", _element(b"\xa1", b"\x81\0\0\0\xfc\xff\xfe") + _element(b"\x75\xa1", b"\xa6\x80" * 2_000_000)
        )
    ),
}
