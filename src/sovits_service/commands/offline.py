"""What commands share that speak without a server: their settings, standard input and output, a running service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sovits_service.errors import InvalidRequestError, StorageError

if TYPE_CHECKING:
    from sovits_service.service.service import SpeechService
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import TtsSettings


EXIT_FAILED = 1  # what was asked for did not come about
STANDARD = Path("-")  # standard input or output, where a file can be named


def load_settings(args: argparse.Namespace) -> tuple[TtsSettings, ServiceSettings]:
    """The settings that `--config`, `--section` and `--service-config` name. Raises SettingsError."""
    from sovits_service.settings import load_service_settings
    from sovits_service.tts_settings import load_tts_settings

    return load_tts_settings(args.config, args.section), load_service_settings(args.service_config)


def require_voices(named: Collection[str], settings: ServiceSettings) -> None:
    """Raise an InvalidRequestError for a voice that is not there, before a model is loaded for it."""
    from sovits_service.config_file import nearest
    from sovits_service.storage.stores import open_voices

    known = [voice.voice_id for voice in open_voices(settings).list()]
    for voice_id in sorted(set(named).difference(known)):
        raise InvalidRequestError(f"there is no voice {voice_id!r}{nearest(voice_id, known)}")


def require_writable(file: Path) -> None:
    """Raise an InvalidRequestError where a file cannot be written, before anything is made for it."""
    if file.is_dir():
        raise InvalidRequestError(f"{file} is a folder; name a file")
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InvalidRequestError(f"{file} cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequestError(f"{file} cannot be written: there is no permission to write into {folder}")


def read_input(file: Path) -> bytes:
    """A file whole, or all of standard input for `-`. Raise an InvalidRequestError where it cannot be read."""
    if file == STANDARD:
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidRequestError("- reads the text from standard input: pipe or redirect a text into the command")
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{file}: cannot be read: {error.strerror}") from None


def read_input_text(file: Path) -> str:
    """As `read_input`, as text; an InvalidRequestError also where it is not UTF-8."""
    try:
        return read_input(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        name = "standard input" if file == STANDARD else file
        raise InvalidRequestError(f"{name}: cannot be read: it is not UTF-8") from None


def write_output(file: Path, data: bytes) -> None:
    """Write what was made, to standard output for `-`.

    Raises:
        StorageError: it names the file, on the user's own disk, and the reason.
        BrokenPipeError: nobody reads standard output any more.
    """
    if file == STANDARD:
        _write_standard(data)
        return
    from sovits_service.storage.files import write_atomic

    try:
        write_atomic(file, data)
    except StorageError as error:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else str(error)
        raise StorageError(f"{file} could not be written: {reason}") from error


def _write_standard(data: bytes) -> None:
    if sys.stdout is None:
        raise StorageError("standard output is closed")
    try:
        # Through a buffer of its own: with PYTHONUNBUFFERED that of sys.stdout writes no more than a pipe has room for.
        with open(sys.stdout.fileno(), "wb", closefd=False) as sink:
            sink.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"standard output could not be written: {error.strerror}") from error


@asynccontextmanager
async def running_service(tts: TtsSettings, settings: ServiceSettings) -> AsyncIterator[SpeechService]:
    """A service that is warm; it logs warnings alone."""
    from sovits_service.service.build import build_service
    from sovits_service.telemetry import configure_logging

    configure_logging("warning", settings.log_format)
    service = build_service(tts, settings)
    await service.start()
    try:
        yield service
    finally:
        await service.stop(0)
