"""The program behind `audio.isolate`: fork a process for each audio file, decode the file there, and end the process.

Run with a Unix socket as standard input. Each byte that arrives carries a connection for one file. On it go: to the
fork, a length of four bytes, a JSON head (`limits`, `size`) and the file; back, one byte when the fork has begun, a
length, a JSON head, and mono float32 samples where the file could be decoded.

This process itself reads nothing that a client sent. It has the libraries loaded that its forks share, and holds
nothing of the service: no key, no setting, no other clip.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import wave
from dataclasses import dataclass
from typing import Any

from sovits_service.audio.load import AudioLimits, decode_reference
from sovits_service.errors import ReferenceAudioError, SovitsError, UnsupportedAudioError, UploadTooLargeError

BEGUN = b"\x01"
LENGTH = struct.Struct("!I")
MAX_HEAD_BYTES = 64 * 1024
ERRORS: dict[str, type[SovitsError]] = {
    kind.__name__: kind for kind in (ReferenceAudioError, UnsupportedAudioError, UploadTooLargeError)
}
OUT_OF_MEMORY = "MemoryError"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What the operating system allows for the decoding of one file. It can open and write no file at all.

    Attributes:
        memory_bytes: address space in addition to that of the libraries; only Linux enforces it.
        cpu_s: processor time, whole seconds.
        wall_s: wall-clock time.
    """

    memory_bytes: int = 512 * 2**20
    cpu_s: int = 10
    wall_s: float = 30.0


def main() -> None:
    """Fork for each connection until the service closes its end of standard input."""
    limits = ProcessLimits(**json.loads(sys.argv[1]))
    for name in (signal.SIGINT, signal.SIGTERM):  # it ends with the service, which may still be draining
        signal.signal(name, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the forks
    decode_reference(_silence())  # imports what PyAV imports when it is used first: a fork can open no file
    control = socket.socket(fileno=sys.stdin.fileno())
    while True:
        received, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not received:
            return
        with socket.socket(fileno=descriptors[0]) as connection, contextlib.suppress(OSError, MemoryError):
            if os.fork() == 0:
                try:
                    control.close()
                    _decode_one(connection, limits)
                finally:
                    os._exit(0)


def _silence() -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(3_200))
    return sink.getvalue()


def _decode_one(connection: socket.socket, limits: ProcessLimits) -> None:
    limit_process(limits)
    connection.sendall(BEGUN)
    try:
        head = json.loads(receive_head(connection))
        audio = decode_reference(bytes(receive_exactly(connection, head["size"])), AudioLimits(**head["limits"]))
    except MemoryError:
        send(connection, {"error": OUT_OF_MEMORY})
    except tuple(ERRORS.values()) as error:
        send(connection, {"error": type(error).__name__, "message": str(error)})
    else:
        send(connection, {"rate_hz": audio.sample_rate_hz, "samples": len(audio.samples)})
        connection.sendall(audio.samples.data.cast("B"))


def limit_process(limits: ProcessLimits) -> None:
    """Limit this process, for good: it can open no file either."""
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        size = pages * resource.getpagesize() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s))
    for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(name, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)  # SIGALRM ends the process


def send(connection: socket.socket, head: dict[str, Any]) -> None:
    """Send a JSON head behind its length."""
    data = json.dumps(head).encode()
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive_head(connection: socket.socket) -> bytearray:
    """The JSON head that the other side sends next. Raises EOFError, also where it would be too long."""
    [size] = LENGTH.unpack(receive_exactly(connection, LENGTH.size))
    if size > MAX_HEAD_BYTES:
        raise EOFError
    return receive_exactly(connection, size)


def receive_exactly(connection: socket.socket, size: int) -> bytearray:
    """As many bytes as these. Raises EOFError where the connection ends before."""
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return received


if __name__ == "__main__":
    main()
