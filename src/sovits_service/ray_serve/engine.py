"""The engine deployment: answers the ingress, and reports its load for routing and scaling."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from sovits_service.deadline import Deadline
from sovits_service.errors import SovitsError, SynthesisError
from sovits_service.ray_serve.load import ReplicaLoad
from sovits_service.ray_serve.messages import Affinity, EngineStatus, Spoken
from sovits_service.settings import ServiceSettings
from sovits_service.threads import keep_from_collector
from sovits_service.tts_settings import TtsSettings
from sovits_service.types import AudioChunk, SynthesisRequest

if TYPE_CHECKING:
    from sovits_service.service.service import SpeechService

ASKED = frozenset(
    {
        "explain",
        "fingerprint",
        "switches.default_reference",
        "switches.weights",
        "voices.add_reference",
        "voices.all",
        "voices.check",
        "voices.check_reference",
        "voices.decode_source",
        "voices.delete",
        "voices.get",
        "voices.put",
        "voices.scan",
        "voices.upload_details",
    }
)


class SpeechEngine:
    """A SpeechService behind a handle. A replica takes requests when it has been made, and its model is warm then."""

    async def __init__(self, tts: TtsSettings, settings: ServiceSettings) -> None:  # type: ignore[misc] # Serve awaits it
        from sovits_service.native_memory import bound_native_memory
        from sovits_service.service.build import build_service
        from sovits_service.telemetry import configure_logging

        bound_native_memory()
        configure_logging(settings.log_level, settings.log_format)
        self._settings = settings
        self._load = ReplicaLoad()
        self._service: SpeechService = build_service(tts, settings)
        await self._service.start()
        keep_from_collector()

    async def speak(
        self, request: SynthesisRequest, affinity: Affinity, left_s: float, *, is_background: bool = False
    ) -> AsyncGenerator[Spoken | AudioChunk | SovitsError, None]:
        """The head, then the chunks; an error is the last item. Ends with its caller.

        Args:
            left_s: how long the request may still wait.
            is_background: nobody waits for it, so that it is no load that others should be routed by.
        """
        place = object()
        if not is_background:
            self._load.begin(place, affinity.speech_s)
        try:
            service, left_s = self._service, max(left_s, 0.001)
            resolved = await service.resolve(request)
            found = await service.fingerprint(resolved)
            deadline = Deadline(left_s) if is_background else service.deadline(left_s)
            synthesis = await service.synthesize(resolved, deadline, is_background=is_background)
            async with contextlib.aclosing(synthesis.chunks) as chunks:
                is_same = found == await service.fingerprint(resolved)
                self._load.note_voice(affinity, found.model_hashes[0])
                yield Spoken(
                    synthesis.sample_rate_hz,
                    synthesis.seed,
                    synthesis.dropped_characters,
                    synthesis.warnings,
                    found if is_same else None,
                )
                async for chunk in chunks:
                    if not is_background:
                        self._load.made(place, len(chunk.samples) / chunk.sample_rate_hz)
                    yield chunk
        except SovitsError as error:
            yield error
        finally:
            if not is_background:
                self._load.end(place)

    async def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What a method of the service returns, or the SovitsError that it raises."""
        if method not in ASKED:
            raise ValueError(f"{method} is not for others")
        try:
            return await operator.attrgetter(method)(self._service)(*args, **kwargs)
        except SovitsError as error:
            return error

    async def check_for(self, request: SynthesisRequest, left_s: float) -> SovitsError | None:
        """What `SpeechService.check` raises."""
        try:
            await self._service.check(request, self._service.deadline(max(left_s, 0.001)))
        except SovitsError as error:
            return error
        return None

    async def status(self) -> EngineStatus:
        """For every ingress, each second."""
        service = self._service
        stats = {**service.stats(), "queued_speech_seconds": self._load.queued_speech_s}
        return EngineStatus(
            service.version,
            service.computation,
            service.voices.default_reference,
            service.voices.default_details,
            stats,
            service.periodic_failures,
        )

    def record_routing_stats(self) -> Mapping[str, Any]:
        """For the routers: what is warm, and how long a new request would wait."""
        return self._load.routing_stats(self._service.stats())

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For the policy that decides how many replicas there are."""
        return {"queued_speech_s": self._load.queued_speech_s}

    async def check_health(self) -> None:
        """Raise where the engine's loop has died or hangs: Serve replaces the replica then."""
        if not self._service.is_alive:
            raise SynthesisError("the engine has failed; its log says why")

    async def __del__(self) -> None:
        """Serve calls this when what the replica was doing has ended."""
        service = getattr(self, "_service", None)
        if service is not None:
            await service.stop(self._settings.drain_s)
