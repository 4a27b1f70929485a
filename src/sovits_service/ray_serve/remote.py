"""The service as the ingress sees it: each method calls an engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from sovits_service.deadline import Deadline
from sovits_service.errors import OverloadedError
from sovits_service.ray_serve.engines import GONE, Engines
from sovits_service.ray_serve.messages import Spoken, affinity_of
from sovits_service.service.periodic import PeriodicWork
from sovits_service.settings import ServiceSettings
from sovits_service.storage.stores import open_stores
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.types import (
    AudioChunk,
    Fingerprint,
    ModelVersion,
    ReferenceAudio,
    ReferenceReport,
    SplitMethod,
    Synthesis,
    SynthesisRequest,
    Voice,
)

if TYPE_CHECKING:
    from sovits_service.service.voice_library import StoredReference
    from sovits_service.text.explain import Explanation

log = structlog.get_logger(__name__)

T = TypeVar("T")
_STATUS_INTERVAL_S = 1.0
_KNOWN_WEIGHTS = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RemoteRequest(SynthesisRequest):
    """A request whose place in the cache has been settled by one engine, and that another may speak.

    Attributes:
        expected: what it would have been spoken with.
        spoken: what it was spoken with, once it was: empty, or one.
    """

    expected: Fingerprint
    spoken: list[Fingerprint | None] = field(default_factory=list)


class RemoteVoices:
    """`Voices` of the engines.

    Attributes:
        weights: what each voice names, as it was when it was last looked up; the most recent ones.
    """

    def __init__(self, engines: Engines) -> None:
        self.weights: OrderedDict[str, str] = OrderedDict()
        self._engines = engines

    @property
    def default_reference(self) -> str | None:
        return self._engines.first.default_reference if self._engines.first else None

    @property
    def default_details(self) -> UploadDetails:
        return self._engines.first.default_details if self._engines.first else UploadDetails()

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        stored: StoredReference = await self._engines.ask("voices.add_reference", data, details, owner=owner, trim=trim)
        return stored

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport:
        report: ReferenceReport = await self._engines.ask(
            "voices.check_reference", data, details, name=name, owner=owner
        )
        return report

    async def check(self, voice_id: str, emotion: str = "") -> ReferenceReport:
        report: ReferenceReport = await self._engines.ask("voices.check", voice_id, emotion)
        return report

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio:
        source: ReferenceAudio = await self._engines.ask("voices.decode_source", data, name=name, owner=owner)
        return source

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails:
        details: UploadDetails = await self._engines.ask("voices.upload_details", name, owner)
        return details

    async def scan(self, data: bytes) -> None:
        await self._engines.ask("voices.scan", data)

    async def all(self) -> list[Voice]:
        voices: list[Voice] = await self._engines.ask("voices.all")
        return voices

    async def get(self, voice_id: str) -> Voice:
        voice: Voice = await self._engines.ask("voices.get", voice_id)
        self.weights[voice_id] = " ".join(filter(None, (voice.gpt_weights, voice.sovits_weights)))
        self.weights.move_to_end(voice_id)
        if len(self.weights) > _KNOWN_WEIGHTS:
            self.weights.popitem(last=False)
        return voice

    async def put(self, voice: Voice, editor: str | None = None) -> Voice:
        stored: Voice = await self._engines.ask("voices.put", voice, editor)
        return stored

    async def delete(self, voice_id: str, editor: str | None = None) -> None:
        await self._engines.ask("voices.delete", voice_id, editor)


class RemoteSwitches:
    """`Switches` of the engines, which share them."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def weights(self, *, gpt: str | None = None, sovits: str | None = None) -> None:
        await self._engines.ask("switches.weights", gpt=gpt, sovits=sovits)

    async def default_reference(self, path: str, details: UploadDetails | None = None) -> None:
        await self._engines.ask("switches.default_reference", path, details)
        await self._engines.refresh()


class RemoteService:
    """Has the methods of SpeechService that an application uses.

    Args:
        handle: of the deployment of SpeechEngine.
    """

    def __init__(self, handle: Any, settings: ServiceSettings) -> None:
        self._engines = Engines(handle)
        self.voices = RemoteVoices(self._engines)
        self.switches = RemoteSwitches(self._engines)
        self._stores = stores = open_stores(settings)
        self.results = stores.results
        self.objects = stores.objects
        self.limits = stores.limits
        self.flights = stores.flights
        self._settings = settings
        self._periodic = PeriodicWork()
        self._periodic.add("follow_engines", self._engines.refresh, _STATUS_INTERVAL_S)

    async def start(self) -> None:
        """Look at the engines, and go on looking."""
        await self._periodic.run("follow_engines")
        self._periodic.start()

    async def stop(self) -> None:
        """End, and close what is open."""
        await self._periodic.stop()
        await self._stores.close()

    @property
    def is_alive(self) -> bool:
        """Always: engines that fail are Serve's to replace."""
        return True

    @property
    def is_ready(self) -> bool:
        return self._engines.is_ready

    @property
    def version(self) -> ModelVersion:
        return self._engines.first.version if self._engines.first else "v2"

    @property
    def computation(self) -> Mapping[str, str]:
        return self._engines.first.computation if self._engines.first else {}

    def stats(self) -> Mapping[str, float]:
        """The sums of all engines; of shares their mean."""
        total: Counter[str] = Counter()
        for status in self._engines.status:
            total.update(dict(status.stats))
        summed = {name: float(value) for name, value in total.items()}
        summed["ready"] = float(self.is_ready)
        summed["stuck"] = float(bool(summed.get("stuck")))
        summed["batch_occupancy"] = summed.get("batch_occupancy", 0.0) / max(1, len(self._engines.status))
        summed["replicas"] = float(len(self._engines.status))
        return summed

    @property
    def periodic_failures(self) -> Mapping[str, int]:
        total: Counter[str] = Counter(self._periodic.failures)
        for status in self._engines.status:
            total.update(status.periodic_failures)
        return dict(total)

    def deadline(self, timeout_s: float | None = None, spent_s: float = 0.0) -> Deadline:
        """As `SpeechService.deadline`."""
        longest_s = self._settings.timeout_s
        return Deadline(min(timeout_s or longest_s, longest_s), spent_s)

    async def resolve(self, request: SynthesisRequest) -> SynthesisRequest:
        """A request whose content one engine has settled."""
        if isinstance(request, RemoteRequest):
            return request
        expected: Fingerprint = await self._engines.ask("fingerprint", request)
        values = {field.name: getattr(request, field.name) for field in fields(request)}
        return RemoteRequest(**values, expected=expected)

    async def fingerprint(self, request: SynthesisRequest) -> Fingerprint:
        """What a request is spoken with, or was: a replica may have other weights for a moment, or another clip."""
        if not isinstance(request, RemoteRequest):
            found: Fingerprint = await self._engines.ask("fingerprint", request)
            return found
        if not request.spoken:
            return request.expected
        spoken = request.spoken[-1]
        is_same = spoken is not None and spoken == request.expected
        return request.expected if is_same else Fingerprint(request.expected.reference_hashes, ())

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        """As `SpeechService.synthesize`; raises OverloadedError where the engine dies, also after the first chunk."""
        if not self.is_ready:
            raise OverloadedError(GONE, retry_after_s=5.0)
        deadline = deadline or self.deadline(request.timeout_s)
        affinity = affinity_of(request, self.voices.weights.get(request.voice_id or "", ""))
        items = self._engines.speak(_plain(request), affinity, deadline.left_s, is_background=is_background)
        try:
            head = await deadline.wait(anext(items))
        except BaseException:
            await items.aclose()
            raise
        assert isinstance(head, Spoken)
        if isinstance(request, RemoteRequest):
            request.spoken.append(head.fingerprint)
        chunks = _chunks(items, deadline)
        return Synthesis(head.sample_rate_hz, head.seed, chunks, head.dropped_characters, head.warnings)

    @property
    def is_awaited(self) -> bool:
        """Whether the background should stand still: what is done here takes nothing from the engines."""
        return False

    async def in_background(self, work: Callable[[], T]) -> T:
        """As `SpeechService.in_background`."""
        return await asyncio.to_thread(work)

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None:
        await self._engines.call("check_for", _plain(request), deadline.left_s)

    async def explain(self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False) -> Explanation:
        found: Explanation = await self._engines.ask("explain", text, language, split, read_emoji=read_emoji)
        return found


async def _chunks(
    items: AsyncGenerator[Spoken | AudioChunk, None], deadline: Deadline
) -> AsyncGenerator[AudioChunk, None]:
    async with contextlib.aclosing(items):
        while True:
            try:
                item = await deadline.wait(anext(items))
            except StopAsyncIteration:
                return
            assert isinstance(item, AudioChunk)
            yield item


def _plain(request: SynthesisRequest) -> SynthesisRequest:
    """What an engine is sent: it settles the content for itself."""
    return SynthesisRequest(**{field.name: getattr(request, field.name) for field in fields(SynthesisRequest)})
