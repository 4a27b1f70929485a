"""What commands share that speak without a server: their settings, and a running service."""

from __future__ import annotations

import argparse
import os
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


def write_output(file: Path, data: bytes) -> None:
    """Write what was made. Raise a StorageError that names the file, on the user's own disk, and the reason."""
    from sovits_service.storage.files import write_atomic

    try:
        write_atomic(file, data)
    except StorageError as error:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else str(error)
        raise StorageError(f"{file} could not be written: {reason}") from error


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
