"""What the HTTP interface asks of a service, whether its engine is in this process or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sovits_service.deadline import Deadline
from sovits_service.service.voice_library import StoredReference
from sovits_service.storage.objects.objects import ObjectStore
from sovits_service.storage.replicas.shared_flights import SharedFlights
from sovits_service.storage.replicas.shared_limits import SharedLimits
from sovits_service.storage.results.cache import ResultCache
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.text.explain import Explanation
from sovits_service.types import (
    Fingerprint,
    ModelVersion,
    ReferenceAudio,
    ReferenceReport,
    SplitMethod,
    Synthesis,
    SynthesisRequest,
    Voice,
)


class ServiceVoices(Protocol):
    """Voices and uploads; see `service.voices.Voices`."""

    @property
    def default_reference(self) -> str | None: ...

    @property
    def default_details(self) -> UploadDetails: ...

    async def all(self) -> list[Voice]: ...

    async def get(self, voice_id: str) -> Voice: ...

    async def put(self, voice: Voice, editor: str | None = None) -> Voice: ...

    async def delete(self, voice_id: str, editor: str | None = None) -> None: ...

    async def check(self, voice_id: str, emotion: str = "") -> ReferenceReport: ...

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference: ...

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport: ...

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio: ...

    async def scan(self, data: bytes) -> None: ...

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails: ...


class ServiceSwitches(Protocol):
    """Changes of what later requests are spoken with; see `service.switches.Switches`."""

    async def weights(self, *, gpt: str | None = None, sovits: str | None = None) -> None: ...

    async def default_reference(self, path: str, details: UploadDetails | None = None) -> None: ...


class Service(Protocol):
    """Text and voices to speech; see `service.service.SpeechService`."""

    @property
    def voices(self) -> ServiceVoices: ...

    @property
    def switches(self) -> ServiceSwitches: ...

    @property
    def results(self) -> ResultCache | None: ...

    @property
    def objects(self) -> ObjectStore | None: ...

    @property
    def limits(self) -> SharedLimits | None: ...

    @property
    def flights(self) -> SharedFlights | None: ...

    @property
    def is_alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool: ...

    @property
    def version(self) -> ModelVersion: ...

    @property
    def computation(self) -> Mapping[str, str]: ...

    @property
    def periodic_failures(self) -> Mapping[str, int]: ...

    def stats(self) -> Mapping[str, float]: ...

    async def resolve(self, request: SynthesisRequest) -> SynthesisRequest: ...

    async def fingerprint(self, request: SynthesisRequest) -> Fingerprint: ...

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis: ...

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None: ...

    async def explain(
        self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False
    ) -> Explanation: ...
