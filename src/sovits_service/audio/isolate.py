"""Decode audio files in separate processes, whose memory, time and files the operating system limits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from sovits_service.audio.decoder_process import (
    BEGUN,
    ERRORS,
    OUT_OF_MEMORY,
    ProcessLimits,
    receive_exactly,
    receive_head,
    send,
)
from sovits_service.audio.load import AudioLimits
from sovits_service.errors import OverloadedError, UnsupportedAudioError
from sovits_service.types import FloatArray, ReferenceAudio

_PROGRAM = "sovits_service.audio.decoder_process"
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHOME", "VIRTUAL_ENV")
_GRACE_S = 5.0  # in addition to a process's own limit, for a busy machine
_UNDECODABLE = "the audio file cannot be decoded within the limits of memory and time; export it again as 16-bit wav"

log = structlog.get_logger(__name__)


class IsolatedDecoder:
    """Decodes like `audio.load.decode_reference`, but each file in a process that exits afterwards.

    One lightweight process (no torch, no key, no setting) is started for the first file, and forks for each. May be
    used by several threads.
    """

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self._limits = limits or ProcessLimits()
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, limits: AudioLimits) -> ReferenceAudio:
        """The audio of a file.

        Raises:
            UploadTooLargeError, ReferenceAudioError: as `decode_reference`.
            UnsupportedAudioError: likewise, or the decoder crashed or took more memory or time than it may.
            OverloadedError: no process can be started.
        """
        for _ in range(2):  # the second time with a new process, if the first has died
            process, connection = self._connect()
            with connection:
                connection.settimeout(self._limits.wall_s + _GRACE_S)
                with contextlib.suppress(OSError, EOFError):
                    if receive_exactly(connection, len(BEGUN)) == BEGUN:
                        return self._exchange(connection, data, limits)
            self._end(process)
        log.error("decoder_not_started")
        raise OverloadedError("audio cannot be decoded just now; try again in a moment", retry_after_s=5.0)

    def close(self) -> None:
        """End the process. A later file starts another."""
        self._end(self._process)

    def _exchange(self, connection: socket.socket, data: bytes, limits: AudioLimits) -> ReferenceAudio:
        started = time.monotonic()
        try:
            send(connection, {"limits": asdict(limits), "size": len(data)})
            connection.sendall(data)
            answer = json.loads(receive_head(connection))
            if "error" not in answer:
                samples, rate_hz = _receive_samples(connection, answer, limits)
                return ReferenceAudio(samples, rate_hz, hashlib.sha256(data).hexdigest())
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            # It crashed, exceeded a limit, or was taken over by the file.
            answer = {"error": "ended"}
        if answer["error"] in ERRORS:
            raise ERRORS[answer["error"]](str(answer.get("message")))
        reason = "memory" if answer["error"] == OUT_OF_MEMORY else "crash or limit"
        log.warning("decoder_failed", reason=reason, after_s=round(time.monotonic() - started, 1))
        raise UnsupportedAudioError(_UNDECODABLE)

    def _connect(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """A connection to a new fork. The fork, or its parent process, may be dead already."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            if self._process is None or self._control is None:
                self._process, self._control = self._start()
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [BEGUN], [theirs.fileno()])
            return self._process, ours

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this package's own program
                [sys.executable, "-P", "-m", _PROGRAM, json.dumps(asdict(self._limits))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=process_environment(),
            )
        return process, ours

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        with self._lock:
            if process is None or process is not self._process or self._control is None:
                return  # another thread has replaced it
            self._control.close()
            self._process = self._control = None
        try:
            process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def process_environment() -> dict[str, str]:
    """The variables that Python and its libraries need; none that may hold a secret."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    # One thread: forking a process with several is not safe.
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _receive_samples(connection: socket.socket, answer: dict[str, Any], limits: AudioLimits) -> tuple[FloatArray, int]:
    """Samples, and their rate. Raises ValueError for what an intact decoder would not send."""
    rate_hz, count = int(answer["rate_hz"]), int(answer["samples"])
    if not limits.min_sample_rate_hz <= rate_hz <= limits.max_sample_rate_hz:
        raise ValueError(rate_hz)
    if not 0 < count <= (limits.max_duration_s + 1) * rate_hz:
        raise ValueError(count)
    samples = np.frombuffer(receive_exactly(connection, 4 * count), np.float32)
    if not float(np.abs(samples).max()) <= 1.0:
        raise ValueError("beyond full scale")
    return samples, rate_hz
