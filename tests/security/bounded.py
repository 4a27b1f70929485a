"""Decodes files in processes of their own and says what each took: a line with a path in, a line of JSON out.

Run as a program. Each file gets a fork of this process, so that what it takes is measured from the same start, and a
limit of the operating system ends it where the decoder's own limits do not hold.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_EXTRA_BYTES, _CPU_S = 2 * 2**30, 20


def _decode_audio(path: Path) -> None:
    from sovits_service.audio.load import decode_reference

    decode_reference(path)


def _read_sovits(path: Path) -> None:
    from sovits_service.models.checkpoint import read_sovits

    read_sovits(path)


def _read_gpt(path: Path) -> None:
    from sovits_service.models.checkpoint import read_gpt

    read_gpt(path)


WORK: dict[str, Callable[[Path], None]] = {"audio": _decode_audio, "sovits": _read_sovits, "gpt": _read_gpt}


def _rest_in_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _run(work: str, path: Path) -> dict[str, object]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10 * _CPU_S)
        limit = _rest_in_bytes() + _EXTRA_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        before = resource.getrusage(resource.RUSAGE_SELF)
        outcome = "decoded"
        try:
            WORK[work](path)
        except BaseException as error:  # noqa: BLE001 - it is told to the test
            outcome = type(error).__name__
        after = resource.getrusage(resource.RUSAGE_SELF)
        report = {
            "outcome": outcome,
            "peak_bytes": (after.ru_maxrss - before.ru_maxrss) * 1024,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        }
        os.write(write_end, json.dumps(report).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(told) if told else {"outcome": f"ended by {status}", "peak_bytes": _EXTRA_BYTES, "cpu_s": _CPU_S}


if __name__ == "__main__":
    import sovits_service.audio.load

    if "models" in sys.argv[1:]:
        import sovits_service.models.checkpoint  # noqa: F401 - likewise
    for line in sys.stdin:
        work, path = line.rstrip("\n").split("\t")
        sys.stdout.write(json.dumps(_run(work, Path(path))) + "\n")
        sys.stdout.flush()
