"""Read documents in processes of their own, whose memory, time and files the operating system limits."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import structlog

from sovits_service.audio.decoder_process import ProcessLimits
from sovits_service.audio.isolate import process_environment
from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, read_cover

_PROGRAM = "sovits_service.jobs.reading.document_process"
_LIMITS = ProcessLimits(memory_bytes=2**30, cpu_s=60, wall_s=120.0)
_START_S = 30.0  # that a process may take before its own limits hold
_MAX_ANSWER_BYTES = 256 * 2**20

log = structlog.get_logger(__name__)


def read_isolated(
    data: bytes,
    *,
    name: str = "",
    kind: str = "",
    encoding: str = "",
    max_characters: int = 10**9,
    limits: ProcessLimits = _LIMITS,
) -> Document:
    """As `read_document`, in a process that ends afterwards. Blocks.

    Raises:
        InvalidRequestError: as `read_document`, or the process crashed or took more memory or time than it may.
    """
    options = {"name": name, "kind": kind, "encoding": encoding, "max_characters": max_characters}
    answer = _ask([json.dumps(options), json.dumps(asdict(limits))], data, limits.wall_s + _START_S)
    try:
        told = json.loads(answer)
        if "error" not in told:
            return _unpack(told)
    except (ValueError, KeyError, TypeError):
        log.warning("document_not_read", answer_bytes=len(answer))
        raise InvalidRequestError(
            "the file cannot be read within the limits of memory and time: it may be damaged"
        ) from None
    raise InvalidRequestError(str(told["error"]))


def _ask(arguments: list[str], data: bytes, limit_s: float) -> bytes:
    """What the program answers; incomplete where it ended, or was ended, before."""
    with subprocess.Popen(  # noqa: S603 - this package's own program
        [sys.executable, "-P", "-m", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        end = threading.Timer(limit_s, process.kill)
        end.start()
        try:
            with contextlib.suppress(OSError):  # it has ended already
                process.stdin.write(data)
                process.stdin.close()
            return process.stdout.read(_MAX_ANSWER_BYTES)
        finally:
            end.cancel()
            process.kill()


def _unpack(told: Mapping[str, Any]) -> Document:
    """The document. Raises ValueError, KeyError or TypeError for what an intact process would not send."""
    chapters = tuple(
        Chapter(
            str(title),
            tuple(Line(str(text), _seconds(start), _seconds(end), dict(fields)) for text, start, end, fields in lines),
        )
        for title, lines in told["chapters"]
    )
    cover = read_cover(base64.b64decode(told["cover"])) if told["cover"] is not None else None
    return Document(chapters, str(told["title"]), str(told["author"]), cover)


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
