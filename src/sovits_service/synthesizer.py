"""Speech in a Python program, without a server: what `from sovits_service import load` gives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import structlog

from sovits_service.api.schemas import (
    TtsFields,
    check_limits,
    check_prompt_length,
    checked_prompt_language,
    parse_tts,
    to_synthesis_request,
)
from sovits_service.api.timed import fault_warning, faults_of
from sovits_service.audio.encode import encode_whole, file_format
from sovits_service.config_file import nearest
from sovits_service.errors import InvalidRequestError, ReferenceAudioError, UnknownVoiceError
from sovits_service.native_memory import bound_native_memory
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings, load_service_settings
from sovits_service.storage.files import write_atomic
from sovits_service.storage.voices.clip import read_clip
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.tts_settings import DEFAULT_SECTION, TtsSettings, load_tts_settings
from sovits_service.types import AudioChunk, FloatArray, Synthesis

T = TypeVar("T")
_QUIET_PLACES = 2  # the streaming mode of chunks that are cut where the voice is quiet


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Finished speech.

    Attributes:
        samples: (T,) float32 mono in [-1, 1].
        seed: with which the same request gives the same speech.
        warnings: what may sound worse than it could.
    """

    samples: FloatArray
    sample_rate_hz: int
    seed: int
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    def save(self, path: str | Path) -> None:
        """Write a file, whose ending gives its format: wav, flac, mp3, ogg, opus, aac, m4a or raw.

        Raises:
            InvalidRequestError: there is no such format.
        """
        file = Path(path)
        write_atomic(file, encode_whole(self.samples, self.sample_rate_hz, file_format(file.suffix)))


class Synthesizer:
    """A loaded model with its voices. Methods block, and may be called from several threads.

    To be closed, by `with` or `close`. Made by `load`.
    """

    def __init__(self, tts: TtsSettings, settings: ServiceSettings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        started: Future[SpeechService] = Future()
        # A daemon, so that a program that does not close its synthesizer ends all the same.
        self._thread = threading.Thread(target=self._run, args=(tts, started), name="sovits-synthesizer", daemon=True)
        self._thread.start()
        try:
            self._service = started.result()
        except BaseException:  # KeyboardInterrupt too: reading weights cannot be interrupted, and is not waited for
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all work and free the model. May be called again."""
        self._stop()
        self._thread.join()

    def voices(self) -> list[str]:
        """The ids of all voice templates."""
        return [voice.voice_id for voice in self._call(self._service.voices.all())]

    def synthesize(self, text: str, *, voice: str = "", language: str = "auto", **fields: Any) -> Audio:
        """Speak a text.

        Args:
            text: what to say.
            voice: id of a voice template; empty takes the setting `default_voice`, else the first voice.
            language: of the text: auto, zh, en, ja, ko, yue, ...
            fields: any further field of `/tts` (`emotion`, `seed`, `speed_factor`, `ref_audio_path`, ...).

        Raises:
            InvalidRequestError: the text, a field or the reference cannot be used.
            UnknownVoiceError: no such voice.
            SovitsError: the speech could not be made.
        """
        return self._call(self._whole(text, voice, language, fields))

    def stream(
        self, text: str, *, voice: str = "", language: str = "auto", **fields: Any
    ) -> Generator[AudioChunk, None, None]:
        """Speak a text chunk by chunk, as it is made; closing the generator ends the work.

        Args and errors are those of `synthesize`. The first chunk exists when this returns; `streaming_mode` is 2
        unless the fields name another.
        """
        return self._chunks(self._call(self._begin(text, voice, language, {"streaming_mode": _QUIET_PLACES, **fields})))

    def add_reference(self, clip: bytes | str | Path, *, prompt_text: str = "", prompt_lang: str = "") -> str:
        """Keep a clip of 3 to 10 s; what this returns goes into `ref_audio_path`.

        Args:
            clip: an audio file, or its bytes.
            prompt_text: what it says, in `prompt_lang`; requests that name the clip need not say it again.

        Raises:
            ReferenceAudioError, UnsupportedAudioError, UploadTooLargeError: the clip cannot serve.
            InvalidRequestError: the transcript cannot be used.
        """
        check_prompt_length(prompt_text, self._settings)
        details = UploadDetails(prompt_text, checked_prompt_language(prompt_text, prompt_lang, self._service.version))
        if not isinstance(clip, bytes):
            if not Path(clip).is_file():
                raise ReferenceAudioError(f"{clip}: there is no such file")
            clip = read_clip(Path(clip), self._settings.max_upload_bytes).data
        return self._call(self._service.voices.add_reference(clip, details)).path

    def _stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _begin(self, text: str, voice_id: str, language: str, fields: dict[str, Any]) -> Synthesis:
        for name in fields:
            if name not in TtsFields.model_fields:
                raise InvalidRequestError(f"there is no field {name!r}{nearest(name, TtsFields.model_fields)}")
        service, reference = self._service, fields.get("ref_audio_path")
        voice_id = voice_id or ("" if reference else await self._default_voice())
        said = None
        if isinstance(reference, str) and not fields.keys() & {"prompt_text", "prompt_lang"}:
            said = await service.voices.upload_details(reference)
        parsed = parse_tts(
            {**fields, "text": text, "text_lang": language, "voice_id": voice_id},
            version=service.version,
            voice=await service.voices.get(voice_id) if voice_id else None,
            said=said,
        )
        check_limits(parsed, self._settings)
        return await service.synthesize(to_synthesis_request(parsed, self._settings))

    async def _whole(self, text: str, voice_id: str, language: str, fields: dict[str, Any]) -> Audio:
        synthesis = await self._begin(text, voice_id, language, fields)
        chunks = [chunk async for chunk in synthesis.chunks]
        samples = np.concatenate([chunk.samples for chunk in chunks])
        warnings = (*synthesis.warnings, *map(fault_warning, faults_of(chunks)))
        return Audio(samples, synthesis.sample_rate_hz, synthesis.seed, warnings)

    async def _default_voice(self) -> str:
        if self._settings.default_voice:
            return self._settings.default_voice
        for voice in await self._service.voices.all():
            return voice.voice_id
        raise UnknownVoiceError("there is no voice; add one to voices/, or name a clip in ref_audio_path")

    def _chunks(self, synthesis: Synthesis) -> Generator[AudioChunk, None, None]:
        async def following() -> AudioChunk | None:
            return await anext(synthesis.chunks, None)

        try:
            while (chunk := self._call(following())) is not None:
                yield chunk
        finally:
            if self._thread.is_alive():  # else `close` has ended the work
                self._call(synthesis.chunks.aclose())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, done in the loop of the thread."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the synthesizer is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt: nobody waits for the work any more
            future.cancel()
            raise

    def _run(self, tts: TtsSettings, started: Future[SpeechService]) -> None:
        """The thread: an event loop with the service, until `close`."""

        async def serve() -> None:
            try:
                service = build_service(tts, self._settings)
                await service.start()
            except BaseException as error:  # noqa: BLE001 - raised by `load`
                started.set_exception(error)
                return
            started.set_result(service)
            await self._stopping.wait()
            await service.stop(0.0)

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve())


def load(
    config: str | Path | None = None, *, section: str = DEFAULT_SECTION, service_config: str | Path | None = None
) -> Synthesizer:
    """Load a model and speak once, so that the first text finds all warm.

    Args:
        config: `tts_infer.yaml`, which names the model's files; None takes the one in `configs/`, else the packaged
            demonstration voices.
        section: of that file.
        service_config: `service.yaml`, for the folders of voices and what else belongs to the service; None likewise.

    Raises:
        SettingsError: a file is missing, or a setting cannot be used.
        CheckpointError: a weights file cannot be used.
    """
    bound_native_memory()
    if not structlog.is_configured():  # a program that logs with structlog has said how
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
    tts = load_tts_settings(Path(config) if config is not None else None, section)
    tts.require_files()
    return Synthesizer(tts, load_service_settings(Path(service_config) if service_config is not None else None))
