"""Put a service together from its settings."""

from __future__ import annotations

from sovits_service.cores import choose_threads
from sovits_service.engine.engine import Engine
from sovits_service.service.model_store import ModelStore
from sovits_service.service.service import SpeechService
from sovits_service.service.text_reader import TextReader
from sovits_service.service.voice_library import open_library
from sovits_service.settings import ServiceSettings
from sovits_service.storage.stores import open_stores
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon_file import LexiconFile
from sovits_service.tts_settings import TtsSettings


def build_service(tts: TtsSettings, settings: ServiceSettings) -> SpeechService:
    """A service of these settings. Nothing is loaded before its `start`.

    Raises:
        SettingsError: the lexicon cannot be read, or settings do not go together.
        MissingExtraError: a client that the settings ask for is not installed.
    """
    engine = Engine(max_jobs=settings.max_running + settings.max_queue, threads=choose_threads(settings.threads))
    lexicon_file = LexiconFile(settings.lexicon_path)
    frontend = Frontend(lexicon=lexicon_file.lexicon, g2pw_dir=tts.g2pw_dir)
    stores = open_stores(settings)
    return SpeechService(
        settings,
        engine,
        ModelStore(tts, settings, engine.counters),
        TextReader(frontend, lexicon_file, settings),
        open_library(settings, stores.objects),
        stores,
    )
