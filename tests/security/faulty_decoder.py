"""The program that decodes audio, with a decoder that files of a few bytes make fail as a broken library does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sovits_service.audio import decoder_process
from sovits_service.audio.load import DEFAULT_LIMITS, AudioLimits, decode_reference
from sovits_service.errors import ReferenceAudioError
from sovits_service.types import ReferenceAudio

CRASH, HANG, SLOW, GREEDY, SPY = b"crash", b"hang", b"slow", b"greedy", b"spy"


def decode(data: bytes, limits: AudioLimits = DEFAULT_LIMITS) -> ReferenceAudio:
    if data == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    while data == HANG:
        pass
    if data == SLOW:
        signal.sigwait({signal.SIGUSR1})  # which never comes
    if data == GREEDY:
        bytearray(2**30)
    if data == SPY:
        try:
            Path(__file__).read_bytes()
        except OSError as error:
            raise ReferenceAudioError(f"{error.strerror}: {' '.join(os.environ)}") from None
    return decode_reference(data, limits)


if __name__ == "__main__":
    decoder_process.decode_reference = decode  # type: ignore[attr-defined, assignment]
    decoder_process.main()
