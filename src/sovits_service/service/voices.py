"""What clients do with voices and uploads: list, write, upload and check them."""

from __future__ import annotations

from sovits_service.deadline import Deadline
from sovits_service.engine.engine import Engine
from sovits_service.errors import InvalidRequestError
from sovits_service.service.loaded_models import Model
from sovits_service.service.model_store import ModelStore
from sovits_service.service.reference_checks import ReferenceChecks
from sovits_service.service.text_reader import TextReader
from sovits_service.service.voice_library import StoredReference, VoiceLibrary
from sovits_service.settings import ServiceSettings
from sovits_service.storage.antivirus import ClamdScanner
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import ReferenceAudio, ReferenceReport, SynthesisRequest, Voice


class Voices:
    """Voices and uploads as clients see them. All methods are safe on the event loop.

    Args:
        engine: where checks of references take the place of a request.
        models: which weights a voice may name, and what its transcripts are read for.
        texts: reads transcripts.
        library: keeps what passes.
    """

    def __init__(
        self, settings: ServiceSettings, engine: Engine, models: ModelStore, texts: TextReader, library: VoiceLibrary
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._models = models
        self._texts = texts
        self._library = library
        self._scanner = ClamdScanner(settings.uploads.clamd) if settings.uploads.clamd else None
        self._checks = ReferenceChecks(texts.frontend)

    def close(self) -> None:
        """Begin no more checks."""
        self._checks.close()

    @property
    def default_reference(self) -> str | None:
        """The clip of requests that name none, as it was named."""
        return self._library.default_reference

    @property
    def default_details(self) -> UploadDetails:
        """What the default reference says."""
        return self._library.default_details

    async def all(self) -> list[Voice]:
        """All usable voice templates, by id."""
        return await self._library.voices.all()

    async def get(self, voice_id: str) -> Voice:
        """One voice template. Raises UnknownVoiceError."""
        return await self._library.voices.get(voice_id)

    async def put(self, voice: Voice, editor: str | None = None) -> Voice:
        """Write a voice template; its clips are copied beside it.

        Args:
            voice: its clips by the names that the client gave them; its owner, where it is new.
            editor: name of the key that writes, which may change its own voices alone; None may change all.

        Raises:
            InvalidRequestError, ReferenceAudioError: a field or a clip cannot be used.
            ForbiddenError: the voice, or an upload that it names, is another owner's.
            QuotaExceededError: there are as many voices, or bytes of them, as the settings allow.
        """
        for weights in filter(None, (voice.gpt_weights, voice.sovits_weights)):
            self._models.require_registered(weights)
        said = [(voice.prompt_text, voice.prompt_lang)]
        said += [(emotion.prompt_text, emotion.prompt_lang) for emotion in voice.emotions.values()]
        for text, language in said:
            await self._check_transcript(text, language, has_own_weights=bool(voice.sovits_weights))
        return await self._library.put_voice(voice, editor)

    async def delete(self, voice_id: str, editor: str | None = None) -> None:
        """Delete a voice template and the clips kept for it. Raises UnknownVoiceError, ForbiddenError."""
        await self._library.voices.delete(voice_id, editor)

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        """Keep an uploaded clip as mono wav, whatever format it came in, with what is said of it.

        Args:
            owner: name of the API key, for its quota.
            trim: cut the clip to 3 to 10 s at silence where it is too long.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: the clip cannot serve.
            InfectedUploadError, ScanUnavailableError: the virus scanner did not clear it.
            QuotaExceededError: the owner has too many uploads.
        """
        details = details or UploadDetails()
        await self._check_transcript(details.prompt_text, details.prompt_lang)
        await self.scan(data)
        return await self._library.add_reference(data, details, owner=owner, trim=trim)

    async def scan(self, data: bytes) -> None:
        """Have the virus scanner look at a file, where there is one.

        Raises:
            InfectedUploadError, ScanUnavailableError: it did not clear the file.
        """
        if self._scanner is not None:
            await self._scanner.scan(data)

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio:
        """A recording that is to be said in another voice; it is not kept.

        Args:
            data: the file's bytes; None takes the upload or the file under an allowed root that `name` means.
            owner: whose uploads it may be, where they are private; None is everybody's.

        Raises:
            UploadTooLargeError, UnsupportedAudioError, ReferenceAudioError: it cannot be used.
            InvalidRequestError, ForbiddenError: there is no such file, or it is another owner's.
            InfectedUploadError, ScanUnavailableError: the virus scanner did not clear it.
        """
        if data is not None:
            await self.scan(data)
        content = data if data is not None else (await self._library.clips.read(name, owner)).data
        return await self._library.decoder.decode_source(content)

    async def check(self, voice_id: str, emotion: str = "") -> ReferenceReport:
        """What would spoil the speech with a voice, or with one of its emotions.

        Raises:
            UnknownVoiceError: no such voice.
            InvalidRequestError: no such emotion.
            ReferenceAudioError, UnsupportedAudioError: the clip cannot be read.
            OverloadedError, DeadlineExceededError: the engine is full, or took too long.
        """
        voice = await self.get(voice_id)
        name = next((known for known in voice.emotions if known.casefold() == emotion.strip().casefold()), "")
        if emotion and not name:
            raise InvalidRequestError("the voice has no such emotion; GET /voices lists those that it has")
        said = voice.emotions[name] if name else voice
        request = SynthesisRequest("", "", voice_id=voice_id, emotion=name)
        model = await self._models.of(voice)
        clips = await self._library.read_clips(request, voice)
        reference = await self._library.decoder.decode_clip(clips.references[0].data)
        return await self._check(reference, UploadDetails(said.prompt_text, said.prompt_lang), model)

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport:
        """What would spoil the speech with a clip, which is not kept; as it was sent, or by its name.

        Args:
            details: what it says.
            owner: as for `decode_source`.

        Raises:
            As `decode_source`, but for length and silence, which are findings; as `check` where there is no room.
        """
        details = details or UploadDetails()
        self._texts.check_transcript_length(details.prompt_text)
        if data is not None:
            await self.scan(data)
        content = data if data is not None else (await self._library.clips.read(name, owner)).data
        reference = await self._library.decoder.decode_clip(content)
        return await self._check(reference, details, self._models.current)

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload; empty for anything else."""
        return await self._library.clips.details(name, owner)

    async def _check_transcript(self, text: str, language: str, *, has_own_weights: bool = False) -> None:
        """Raise an InvalidRequestError for a transcript that no synthesis could use, when it comes and not later."""
        if text:
            # Weights of a voice are not loaded to look at their symbols: all but v1 have those of v2.
            symbols = "v2" if has_own_weights else self._models.current.spec.symbols
            await self._texts.check_transcript(text, language, symbols)

    async def _check(self, reference: ReferenceAudio, details: UploadDetails, model: Model) -> ReferenceReport:
        with self._engine.admit():
            return await Deadline(self._settings.timeout_s).wait(
                self._checks.check(reference, details.prompt_text, details.prompt_lang, model)
            )
