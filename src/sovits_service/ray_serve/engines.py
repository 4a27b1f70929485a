"""Call the engines of a Ray cluster through a Ray Serve handle; a lost replica is an error that may be retried."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import structlog

from sovits_service.errors import OverloadedError, SovitsError
from sovits_service.ray_serve.messages import Affinity, EngineStatus, Spoken
from sovits_service.types import AudioChunk, SynthesisRequest

log = structlog.get_logger(__name__)

GONE = "no replica can speak this now; try again in a moment"
_STATUS_TIMEOUT_S = 3.0
_STATUS_LIFE_S = 10.0  # where no engine answers for so long, none is there


class Engines:
    """The replicas of SpeechEngine.

    Args:
        handle: of their deployment.

    Attributes:
        status: of each engine that answered the last time that any did.
    """

    def __init__(self, handle: Any) -> None:
        self.status: list[EngineStatus] = []
        self._told_at_s = 0.0
        self._handle = handle

    @property
    def first(self) -> EngineStatus | None:
        """The status of one engine, for what is the same on all."""
        return self.status[0] if self.status else None

    @property
    def is_ready(self) -> bool:
        """Whether one of them speaks, as far as is known."""
        is_recent = time.monotonic() - self._told_at_s < _STATUS_LIFE_S
        return is_recent and any(status.stats.get("ready") for status in self.status)

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
            self.status, self._told_at_s = told, time.monotonic()

    async def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What a method of one engine's service returns or raises; `voices.get`, for one."""
        return await self.call("ask", method, *args, **kwargs)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What a method of one engine returns; a SovitsError that it returns is raised."""
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

    async def speak(
        self, request: SynthesisRequest, affinity: Affinity, left_s: float, *, is_background: bool = False
    ) -> AsyncGenerator[Spoken | AudioChunk, None]:
        """The head of a synthesis, then its chunks, from the engine that has the most of it warm."""
        speaking = self._handle.options(stream=True)
        if is_background:
            affinity = replace(affinity, speech_s=0.0)  # it is no queue for others
        response = _apart(
            lambda: speaking.speak.remote(request, affinity=affinity, left_s=left_s, is_background=is_background)
        )
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


def _apart(call: Any) -> Any:
    """A call of a handle outside of the context of a request, whose id Serve would give to all calls of that request:
    two at the same time, as on a WebSocket, would be taken for one."""
    return contextvars.Context().run(call)


def _lost(error: Exception) -> OverloadedError:
    log.warning("replica_lost", kind=type(error).__name__)
    return OverloadedError(GONE, retry_after_s=1.0)
