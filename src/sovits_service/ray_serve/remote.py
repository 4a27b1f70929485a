"""The service as the ingress sees it: each method calls an engine through a Ray Serve handle."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import structlog

from sovits_service.deadline import Deadline
from sovits_service.errors import OverloadedError, SovitsError
from sovits_service.ray_serve.messages import EngineStatus, Spoken, affinity_of
from sovits_service.service.periodic import PeriodicWork
from sovits_service.settings import ServiceSettings
from sovits_service.storage.references import UploadDetails
from sovits_service.storage.stores import open_cache, open_objects, open_replicas
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

_STATUS_INTERVAL_S = 1.0
_STATUS_TIMEOUT_S = 3.0
_STATUS_LIFE_S = 10.0  # where no engine answers for so long, none is there
_KNOWN_WEIGHTS = 4096
_GONE = "no replica can speak this now; try again in a moment"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RemoteRequest(SynthesisRequest):
    """A request whose place in the cache has been settled by one engine, and that another may speak.

    Attributes:
        expected: what it would have been spoken with.
        spoken: what it was spoken with, once it was: empty, or one.
    """

    expected: Fingerprint
    spoken: list[Fingerprint | None] = field(default_factory=list)


class RemoteService:
    """Has the methods of SpeechService that an application uses.

    Args:
        handle: of the deployment of SpeechEngine.
    """

    def __init__(self, handle: Any, settings: ServiceSettings) -> None:
        replicas = open_replicas(settings.sharing)
        self.results = open_cache(settings.cache)
        self.objects = open_objects(settings.objects)
        self.limits = replicas.limits if replicas is not None else None
        self.flights = replicas.flights if replicas is not None else None
        self._replicas = replicas
        self._settings = settings
        self._handle = handle
        self._status: list[EngineStatus] = []
        self._told_at_s = 0.0
        self._weights: OrderedDict[str, str] = OrderedDict()  # by voice
        self._periodic = PeriodicWork()
        self._periodic.add("follow_engines", self.refresh, _STATUS_INTERVAL_S)

    async def start(self) -> None:
        """Look at the engines, and go on looking."""
        await self._periodic.run("follow_engines")
        self._periodic.start()

    async def stop(self) -> None:
        """End, and close what is open."""
        await self._periodic.stop()
        if self.results is not None:
            await self.results.close()
        if self._replicas is not None:
            await self._replicas.close()

    async def refresh(self) -> None:
        """Ask every engine how it is; one that does not answer in time is left out."""
        asked = _apart(lambda: self._handle.broadcast("status"))
        try:
            answers = await asked.results_async(timeout_s=_STATUS_TIMEOUT_S, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - Ray has exceptions of its own, also where there is no engine yet
            log.info("no_engine_answers", kind=type(error).__name__)
            return
        told = [answer for answer in answers if isinstance(answer, EngineStatus)]
        if told:
            self._status, self._told_at_s = told, time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Always: engines that fail are Serve's to replace."""
        return True

    @property
    def is_ready(self) -> bool:
        is_recent = time.monotonic() - self._told_at_s < _STATUS_LIFE_S
        return is_recent and any(status.stats.get("ready") for status in self._status)

    @property
    def version(self) -> ModelVersion:
        return self._status[0].version if self._status else "v2"

    @property
    def computation(self) -> Mapping[str, str]:
        return self._status[0].computation if self._status else {}

    @property
    def default_reference(self) -> str | None:
        return self._status[0].default_reference if self._status else None

    @property
    def default_details(self) -> UploadDetails:
        return self._status[0].default_details if self._status else UploadDetails()

    def stats(self) -> Mapping[str, float]:
        """The sums of all engines; of shares their mean."""
        total: Counter[str] = Counter()
        for status in self._status:
            total.update(dict(status.stats))
        summed = {name: float(value) for name, value in total.items()}
        summed["ready"] = float(self.is_ready)
        summed["stuck"] = float(bool(summed.get("stuck")))
        summed["batch_occupancy"] = summed.get("batch_occupancy", 0.0) / max(1, len(self._status))
        summed["replicas"] = float(len(self._status))
        return summed

    @property
    def periodic_failures(self) -> Mapping[str, int]:
        total: Counter[str] = Counter(self._periodic.failures)
        for status in self._status:
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
        expected: Fingerprint = await self._ask("fingerprint", request)
        values = {field.name: getattr(request, field.name) for field in fields(request)}
        return RemoteRequest(**values, expected=expected)

    async def fingerprint(self, request: SynthesisRequest) -> Fingerprint:
        """What a request is spoken with, or was: a replica may have other weights for a moment, or another clip."""
        if not isinstance(request, RemoteRequest):
            found: Fingerprint = await self._ask("fingerprint", request)
            return found
        if not request.spoken:
            return request.expected
        spoken = request.spoken[-1]
        is_same = spoken is not None and spoken == request.expected
        return request.expected if is_same else Fingerprint(request.expected.reference_hashes, ())

    async def synthesize(
        self, request: SynthesisRequest, deadline: Deadline | None = None, *, is_background: bool = False
    ) -> Synthesis:
        """As `SpeechService.synthesize`; raises OverloadedError too where the replica dies."""
        if not self.is_ready:
            raise OverloadedError(_GONE, retry_after_s=5.0)
        deadline = deadline or self.deadline(request.timeout_s)
        items = self._speak(_plain(request), deadline.left_s)
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

    async def check(self, request: SynthesisRequest, deadline: Deadline) -> None:
        await self._call("check_for", _plain(request), deadline.left_s)

    async def explain(self, text: str, language: str, split: SplitMethod, *, read_emoji: bool = False) -> Explanation:
        found: Explanation = await self._ask("explain", text, language, split, read_emoji=read_emoji)
        return found

    async def add_reference(
        self, data: bytes, details: UploadDetails | None = None, *, owner: str = "", trim: bool = False
    ) -> StoredReference:
        stored: StoredReference = await self._ask("add_reference", data, details, owner=owner, trim=trim)
        return stored

    async def check_reference(
        self,
        data: bytes | None = None,
        details: UploadDetails | None = None,
        *,
        name: str = "",
        owner: str | None = None,
    ) -> ReferenceReport:
        report: ReferenceReport = await self._ask("check_reference", data, details, name=name, owner=owner)
        return report

    async def check_voice(self, voice_id: str, emotion: str = "") -> ReferenceReport:
        report: ReferenceReport = await self._ask("check_voice", voice_id, emotion)
        return report

    async def decode_source(
        self, data: bytes | None = None, *, name: str = "", owner: str | None = None
    ) -> ReferenceAudio:
        source: ReferenceAudio = await self._ask("decode_source", data, name=name, owner=owner)
        return source

    async def upload_details(self, name: str, owner: str = "") -> UploadDetails:
        details: UploadDetails = await self._ask("upload_details", name, owner)
        return details

    async def scan(self, data: bytes) -> None:
        await self._ask("scan", data)

    async def list_voices(self) -> list[Voice]:
        voices: list[Voice] = await self._ask("list_voices")
        return voices

    async def get_voice(self, voice_id: str) -> Voice:
        voice: Voice = await self._ask("get_voice", voice_id)
        self._weights[voice_id] = " ".join(filter(None, (voice.gpt_weights, voice.sovits_weights)))
        self._weights.move_to_end(voice_id)
        if len(self._weights) > _KNOWN_WEIGHTS:
            self._weights.popitem(last=False)
        return voice

    async def put_voice(self, voice: Voice, editor: str | None = None) -> Voice:
        stored: Voice = await self._ask("put_voice", voice, editor)
        return stored

    async def delete_voice(self, voice_id: str, editor: str | None = None) -> None:
        await self._ask("delete_voice", voice_id, editor)

    async def set_gpt_weights(self, path: str) -> None:
        await self._ask("set_gpt_weights", path)

    async def set_sovits_weights(self, path: str) -> None:
        await self._ask("set_sovits_weights", path)

    async def set_default_reference(self, path: str, details: UploadDetails | None = None) -> None:
        await self._ask("set_default_reference", path, details)
        await self.refresh()

    async def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await self._call("ask", method, *args, **kwargs)

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        response = _apart(lambda: getattr(self._handle, method).remote(*args, **kwargs))
        try:
            answer = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever way a replica is lost, Ray has an exception for it
            raise _lost(error) from None
        if isinstance(answer, SovitsError):
            raise answer
        return answer

    async def _speak(self, request: SynthesisRequest, left_s: float) -> AsyncGenerator[Spoken | AudioChunk, None]:
        affinity = affinity_of(request, self._weights.get(request.voice_id or "", ""))
        speaking = self._handle.options(stream=True)
        response = _apart(lambda: speaking.speak.remote(request, affinity=affinity, left_s=left_s))
        has_ended = False
        try:
            async for item in response:
                if isinstance(item, SovitsError):
                    has_ended = True
                    raise item
                yield item
            has_ended = True
        except SovitsError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            has_ended = True
            raise _lost(error) from None
        finally:
            if not has_ended:
                response.cancel()


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


def _apart(call: Any) -> Any:
    """A call of a handle outside of the context of a request, whose id Serve would give to all calls of that request:
    two at the same time, as on a WebSocket, would be taken for one."""
    return contextvars.Context().run(call)


def _lost(error: Exception) -> OverloadedError:
    log.warning("replica_lost", kind=type(error).__name__)
    return OverloadedError(_GONE, retry_after_s=1.0)
