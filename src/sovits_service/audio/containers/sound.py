"""Detect a sound file's container and rewrite the file so that it holds the audio and nothing else.

FFmpeg's demuxers read far more than sound: tags, cover pictures, chapters, indexes, other tracks, compressed headers. A
few kilobytes of these can ask for gigabytes or minutes before the first sample. So the decoder gets a file with what it
needs and no more, whose counts have been checked; the rest never reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sovits_service.audio.containers.adts import adts_sound, is_adts_frame
from sovits_service.audio.containers.aiff import aiff_sound
from sovits_service.audio.containers.amr import NARROW, WIDE, amr_sound
from sovits_service.audio.containers.asf import HEADER, asf_sound
from sovits_service.audio.containers.flac import flac_sound
from sovits_service.audio.containers.matroska import matroska_sound
from sovits_service.audio.containers.mp3 import id3_end, is_mp3_frame, mp3_sound
from sovits_service.audio.containers.mp4 import mp4_sound
from sovits_service.audio.containers.ogg import ogg_sound
from sovits_service.audio.containers.wav import wav_sound
from sovits_service.errors import UnsupportedAudioError

FORMATS = "wav, flac, ogg, mp3, aac, m4a, amr, aiff, wma, or the sound of an mp4, 3gp, mkv or webm"
_SOUND: Mapping[str, Callable[[bytes], bytes]] = {
    "wav": wav_sound,
    "flac": flac_sound,
    "ogg": ogg_sound,
    "mov": mp4_sound,
    "matroska": matroska_sound,
    "mp3": mp3_sound,
    "aac": adts_sound,
    "amr": amr_sound,
    "aiff": aiff_sound,
    "asf": asf_sound,
}


def sound_of(content: bytes) -> tuple[bytes, str]:
    """The sound of a file, and the FFmpeg demuxer for it.

    The demuxer is named, never probed: probing knows playlists that open other files.

    Raises:
        UnsupportedAudioError: the content is in none of the accepted formats.
        ReferenceAudioError: damaged, or with more parts than a clip of a minute has.
    """
    payload = content[id3_end(content) :]
    container = _sniff(payload)
    return _SOUND[container](payload), container


def _sniff(payload: bytes) -> str:
    if payload[:4] in (b"RIFF", b"RF64") and payload[8:12] == b"WAVE":
        return "wav"
    if payload[:4] == b"fLaC":
        return "flac"
    if payload[:4] == b"OggS":
        return "ogg"
    if payload[4:8] == b"ftyp":
        return "mov"
    if payload[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if payload[:4] == b"FORM" and payload[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if payload.startswith((NARROW, WIDE)):
        return "amr"
    if payload.startswith(HEADER):
        return "asf"
    if is_adts_frame(payload):
        return "aac"
    if is_mp3_frame(payload):
        return "mp3"
    raise UnsupportedAudioError(f"the file is in no audio format that is accepted; send {FORMATS}")
