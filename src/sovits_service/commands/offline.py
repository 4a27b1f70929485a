"""What commands share that speak without a server: their settings, and a running service."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sovits_service.errors import InvalidRequestError

if TYPE_CHECKING:
    from sovits_service.service.service import SpeechService
    from sovits_service.settings import ServiceSettings, TtsSettings


EXIT_FAILED = 1  # what was asked for did not come about


def load_settings(args: argparse.Namespace) -> tuple[TtsSettings, ServiceSettings]:
    """The settings that `--config`, `--section` and `--service-config` name. Raises SettingsError."""
    from sovits_service.settings import load_service_settings, load_tts_settings

    return load_tts_settings(args.config, args.section), load_service_settings(args.service_config)


def require_voices(named: Collection[str], settings: ServiceSettings) -> None:
    """Raise an InvalidRequestError for a voice that is not there, before a model is loaded for it."""
    from sovits_service.config_file import nearest
    from sovits_service.storage.stores import open_voices

    known = [voice.voice_id for voice in open_voices(settings).list()]
    for voice_id in sorted(set(named).difference(known)):
        raise InvalidRequestError(f"there is no voice {voice_id!r}{nearest(voice_id, known)}")


@asynccontextmanager
async def running_service(tts: TtsSettings, settings: ServiceSettings) -> AsyncIterator[SpeechService]:
    """A service that is warm; it logs warnings alone."""
    from sovits_service.service.service import build_service
    from sovits_service.telemetry import configure_logging

    configure_logging("warning", settings.log_format)
    service = build_service(tts, settings)
    await service.start()
    try:
        yield service
    finally:
        await service.stop(0)
