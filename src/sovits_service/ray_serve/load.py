"""What a replica has to do and what it has warm, as it tells routers and autoscaling. Needs neither Ray nor models."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from sovits_service.ray_serve.messages import Affinity

_WARM_VOICES = 128  # as many prompts as an encoder remembers
_USUAL_ENCODE_S, _USUAL_LOAD_S, _USUAL_FACTOR = 1.0, 10.0, 0.3
_LEAST_S = 1.0  # of speech and of work, before the replica's own speed is known


class ReplicaLoad:
    """The speech that a replica still has to make, and the voices whose prompts it has.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left_s: dict[object, float] = {}  # seconds of speech that are still to be made, by request
        self._voices: OrderedDict[str, str] = OrderedDict()  # voice -> its weights
        self._weights_hash = ""
        self._busy_since_s: float | None = None
        self._busy_s = 0.0

    @property
    def queued_speech_s(self) -> float:
        """Seconds of speech that are asked for and not made yet."""
        return sum(self._left_s.values())

    def begin(self, request: object, speech_s: float) -> None:
        """A request has come; its speech will take so many seconds, estimated."""
        if not self._left_s:
            self._busy_since_s = self._clock()
        self._left_s[request] = speech_s

    def made(self, request: object, speech_s: float) -> None:
        """Some of a request's speech has been made."""
        self._left_s[request] = max(0.0, self._left_s[request] - speech_s)

    def end(self, request: object) -> None:
        """A request has ended, however it did."""
        del self._left_s[request]
        if not self._left_s and self._busy_since_s is not None:
            self._busy_s += self._clock() - self._busy_since_s
            self._busy_since_s = None

    def note_voice(self, affinity: Affinity, weights_hash: str) -> None:
        """A voice has spoken: its prompt is warm now. With other current weights, those of the earlier are cold."""
        if not affinity.weights and weights_hash != self._weights_hash:
            self._weights_hash = weights_hash
            self._voices = OrderedDict((voice, name) for voice, name in self._voices.items() if name)
        self._voices[affinity.voice] = affinity.weights
        self._voices.move_to_end(affinity.voice)
        if len(self._voices) > _WARM_VOICES:
            self._voices.popitem(last=False)

    def routing_stats(self, stats: Mapping[str, float]) -> dict[str, Any]:
        """What is warm, how much there is to do, and how long a second of speech takes (`factor`).

        Args:
            stats: the engine's `audio_seconds_total`, `prompts_encoded_total` and `prompt_encode_seconds_total`.
        """
        encoded, audio_s = stats["prompts_encoded_total"], stats["audio_seconds_total"]
        busy_s = self._busy_s + (self._clock() - self._busy_since_s if self._busy_since_s is not None else 0.0)
        factor = busy_s / audio_s if audio_s > _LEAST_S and busy_s > _LEAST_S else _USUAL_FACTOR
        return {
            "voices": list(self._voices),
            "weights": sorted(set(self._voices.values()) - {""}),
            "queued_s": self.queued_speech_s,
            "factor": factor,
            "encode_s": stats["prompt_encode_seconds_total"] / encoded if encoded else _USUAL_ENCODE_S,
            "load_s": _USUAL_LOAD_S,
        }
