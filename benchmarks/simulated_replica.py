"""One replica of a simulated fleet: requests that share it, from the prompt over the first chunk to the last."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from benchmarks.service_times import ServiceTimes
from sovits_service.ray_serve.load import ReplicaLoad
from sovits_service.ray_serve.messages import Affinity

REMEMBERED_VOICES = 128
_DONE = 1e-9
_LEAST = 0.1


class Stage(IntEnum):
    ENCODE, FIRST, REST = range(3)


@dataclass(eq=False, slots=True)
class Request:
    """A request on its way.

    Attributes:
        ingress: that has sent it to its replica.
        left: of its stage: the share of it in the first two, seconds of speech in the last.
        first_audio_s, whole_s: from its coming to its first audio, and to its end.
    """

    number: int
    came_s: float
    affinity: Affinity
    ingress: int = 0
    stage: Stage = Stage.FIRST
    left: float = 1.0
    was_warm: bool = True
    first_audio_s: float | None = None
    whole_s: float | None = None


class Replica:
    """Works on requests as the measured engine does: faster together than one after the other, slower each.

    Prompts are encoded one at a time, beside the rows that speak. What is beyond those rows waits, first come, first
    served.

    Args:
        times: of this replica.
        clock: gives the simulated time in seconds.
    """

    def __init__(self, replica_id: str, times: ServiceTimes, clock: Callable[[], float]) -> None:
        self.replica_id = replica_id
        self.load = ReplicaLoad(clock)
        self.plan = 0  # counts up whenever something changes that moves what comes next
        self.audio_s = self.busy_s = 0.0
        self.since_s = clock()
        self.is_gone = False
        self._times = times
        self._clock = clock
        self._at_s = clock()
        self._running: list[Request] = []
        self._encoding: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._voices: OrderedDict[str, None] = OrderedDict()
        self._encoded, self._encode_s = 0, 0.0

    @property
    def requests(self) -> list[Request]:
        """All that it has."""
        return [*self._running, *self._encoding, *self._waiting]

    @property
    def queue(self) -> int:
        return len(self._running) + len(self._encoding) + len(self._waiting)

    @property
    def is_full(self) -> bool:
        return self.queue >= self._times.running + self._times.waiting

    def take(self, request: Request) -> None:
        """Begin with a request, or let it wait."""
        self.advance()
        self.load.begin(request, request.affinity.speech_s)
        request.was_warm = request.affinity.voice in self._voices
        if request.was_warm:
            self._voices.move_to_end(request.affinity.voice)
        else:
            request.stage = Stage.ENCODE
        (self._waiting if request.was_warm else self._encoding).append(request)
        self._admit()

    def advance(self) -> None:
        """Work until now."""
        now_s = self._clock()
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        if elapsed_s <= 0:
            return
        speeds = self._speeds()
        self.busy_s += elapsed_s if speeds else 0.0
        for request, speed in speeds:
            done = elapsed_s * speed
            request.left -= done
            if request.stage is Stage.REST:
                self.audio_s += done
                self.load.made(request, done)
            elif request.stage is Stage.ENCODE:
                self._encode_s += elapsed_s

    def next_s(self) -> float | None:
        """When a stage of a request ends, if nothing comes before; None where there is nothing to do."""
        left_s = min((request.left / speed for request, speed in self._speeds()), default=None)
        return None if left_s is None else self._at_s + max(left_s, 0.0)

    def finish_stages(self) -> list[Request]:
        """Go on to the next stage where one has ended; returns the requests that have been spoken."""
        self.advance()
        spoken = []
        for request, _ in self._speeds():
            if request.left > _DONE:
                continue
            if request.stage is Stage.ENCODE:
                self._encoding.popleft()
                self._encoded += 1
                self.warm(request.affinity)
                self._begin_first(request)
                while self._encoding and self._encoding[0].affinity.voice in self._voices:  # equal, and came meanwhile
                    self._begin_first(self._encoding.popleft())
            elif request.stage is Stage.FIRST:
                request.first_audio_s = self._at_s - request.came_s
                request.stage, request.left = Stage.REST, request.affinity.speech_s
                self.load.note_voice(request.affinity, "")
            else:
                request.whole_s = self._at_s - request.came_s
                self._running.remove(request)
                self.load.end(request)
                spoken.append(request)
        self._admit()
        return spoken

    def warm(self, affinity: Affinity) -> None:
        """Have a voice's prompt."""
        self._voices[affinity.voice] = None
        self._voices.move_to_end(affinity.voice)
        if len(self._voices) > REMEMBERED_VOICES:
            self._voices.popitem(last=False)

    def routing_stats(self) -> dict[str, object]:
        """What it tells routers."""
        self.advance()
        return self.load.routing_stats(
            {
                "audio_seconds_total": self.audio_s,
                "prompts_encoded_total": self._encoded,
                "prompt_encode_seconds_total": self._encode_s,
            }
        )

    def _speeds(self) -> list[tuple[Request, float]]:
        """How much of its stage each request that is worked on gets done in a second."""
        times, place = self._times, len(self._running) - 1
        speeds, left = [], 1.0
        if self._encoding:
            encode_s = times.encode_s[min(place + 1, times.running - 1)]
            speeds.append((self._encoding[0], 1 / encode_s))
            left = max(_LEAST, 1 - times.encode_s[0] / encode_s)  # of the processor, for those who speak
        for request in self._running:
            takes_s = (times.first_audio_s if request.stage is Stage.FIRST else times.rest_s)[place]
            speeds.append((request, left / takes_s))
        return speeds

    def _begin_first(self, request: Request) -> None:
        request.stage, request.left = Stage.FIRST, 1.0
        self._waiting.append(request)

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._times.running:
            self._running.append(self._waiting.popleft())
        self.plan += 1
