"""Events of a simulated fleet: requests come, are routed, spoken and lost; replicas start, die, come and go.

Routing, what replicas tell routers and the policy of autoscaling are those of `sovits_service.ray_serve`.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Literal

from benchmarks.service_times import ServiceTimes
from benchmarks.simulated_replica import REMEMBERED_VOICES, Replica, Request
from sovits_service.ray_serve.balancer import VoiceBalancer
from sovits_service.ray_serve.messages import Affinity
from sovits_service.ray_serve.options import EngineOptions
from sovits_service.ray_serve.scaling import ByQueuedSpeech

Routing = Literal["voice", "random", "two_choices", "round_robin"]
_TOLD_EVERY_S = 1.0  # request_routing_stats_period_s, and metrics_interval_s
_NOTICED_S = 1.0  # by Serve, that a replica has died
_BURST_S, _BURST_FACTOR, _LULL_S, _LULL_FACTOR = 10.0, 3.0, 40.0, 0.5  # of the mean rate, which they keep


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that come.

    Attributes:
        rate: a second, on average.
        voices: whose use follows Zipf's law.
        bursty: three times the rate for 10 s on average, then half of it for 40 s, instead of a Poisson process.
    """

    rate: float
    duration_s: float
    voices: int = 200
    bursty: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """A fleet.

    Attributes:
        ingresses: each routes for itself what comes to it.
        scaling: options of autoscaling; the fleet has `replicas` to begin with.
        lives_s: mean time until a replica dies.
        is_warm: voices are where they would be after long use.
    """

    replicas: int
    routing: Routing = "voice"
    ingresses: int = 1
    scaling: EngineOptions | None = None
    lives_s: float = math.inf
    is_warm: bool = True


@dataclass(slots=True)
class Outcome:
    """What came of all requests.

    Attributes:
        spoken, lost: those that were answered, and those whose replica died.
        refused: how many found every replica full.
        audio_s: seconds of speech that were made.
        ready_s, paid_s, busy_s: of all replicas together, seconds that they could speak, were there, had work.
    """

    came: int = 0
    spoken: list[Request] = field(default_factory=list)
    lost: list[Request] = field(default_factory=list)
    refused: int = 0
    audio_s: float = 0.0
    ready_s: float = 0.0
    paid_s: float = 0.0
    busy_s: float = 0.0
    most_replicas: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request to come: a voice by its rank, and one of the texts."""

    at_s: float
    voice: int
    text: int


def draw_arrivals(workload: Workload, texts: int, seed: int) -> Iterator[Arrival]:
    """The requests of a run; the same seed gives the same, to a simulation and to real replicas."""
    draw = random.Random(f"requests {seed}")
    popularity = list(itertools.accumulate(1 / (rank + 1) for rank in range(workload.voices)))
    for at_s in _arrival_times(workload, random.Random(f"arrivals {seed}")):
        (voice,) = draw.choices(range(workload.voices), cum_weights=popularity)
        yield Arrival(at_s, voice, draw.randrange(texts))


def _arrival_times(workload: Workload, draw: random.Random) -> Iterator[float]:
    """When requests come, in seconds."""
    now_s, changes_s, factor = 0.0, math.inf, 1.0
    if workload.bursty:
        changes_s, factor = 0.0, _BURST_FACTOR
    while now_s < workload.duration_s:
        next_s = now_s + draw.expovariate(workload.rate * factor)
        if next_s < changes_s:
            now_s = next_s
            if now_s < workload.duration_s:
                yield now_s
        else:  # exponential waits have no memory: begin again from the change
            now_s, factor = changes_s, _LULL_FACTOR if factor == _BURST_FACTOR else _BURST_FACTOR
            changes_s += draw.expovariate(1 / (_LULL_S if factor == _LULL_FACTOR else _BURST_S))


class Autoscaler:
    """`ByQueuedSpeech` with the bounds and delays that Serve applies to it."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._policy = ByQueuedSpeech(options.queued_speech_s)
        self._direction, self._since_s = 0, 0.0

    def target(self, replicas: int, queued_s: dict[str, float], now_s: float) -> int:
        """How many replicas there are to be; so many were wanted until now."""
        options = self._options
        context = SimpleNamespace(
            aggregated_metrics={"queued_speech_s": queued_s},
            total_queued_requests=0,
            capacity_adjusted_min_replicas=options.min_replicas,
        )
        wanted = min(max(math.ceil(self._policy(context)[0]), options.min_replicas), options.max_replicas)
        direction = (wanted > replicas) - (wanted < replicas)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        delay_s = options.upscale_delay_s if direction > 0 else options.downscale_delay_s
        if not direction or now_s - self._since_s < delay_s:
            return replicas
        self._direction = 0
        return wanted


class Simulation:
    """One run.

    Args:
        seed: the same gives the same run.
    """

    def __init__(self, times: ServiceTimes, workload: Workload, setup: Setup, seed: int = 1) -> None:
        self.outcome = Outcome()
        self._times, self._workload, self._setup = times, workload, setup
        self._draw = random.Random(f"fleet {seed}")
        self._arrivals = draw_arrivals(workload, len(times.speech_s), seed)
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._ready: dict[str, Replica] = {}
        self._draining: dict[str, Replica] = {}
        self._target = setup.replicas
        self._autoscaler = Autoscaler(setup.scaling) if setup.scaling is not None else None
        self._balancers = [VoiceBalancer(random.Random(f"{seed} {number}")) for number in range(setup.ingresses)]

    def run(self) -> Outcome:
        """All requests, until the last has ended."""
        for _ in range(self._setup.replicas):
            self._become_ready(0.0)
        self._tell()
        if self._setup.is_warm:
            self._warm_up()
        self._every_second()
        self._expect_arrival()
        while self._events and not (self._now_s > self._workload.duration_s and self._is_idle()):
            self._now_s, _, action = heapq.heappop(self._events)
            action()
        for replica in [*self._ready.values(), *self._draining.values()]:
            self._leave(replica)
        return self.outcome

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now_s + delay_s, next(self._counter), action))

    def _is_idle(self) -> bool:
        return not any(replica.queue for replica in [*self._ready.values(), *self._draining.values()])

    # requests

    def _expect_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._after(arrival.at_s - self._now_s, lambda: self._arrive(arrival))

    def _arrive(self, arrival: Arrival) -> None:
        self._expect_arrival()
        self.outcome.came += 1
        affinity = Affinity(f"v{arrival.voice}", "", self._times.speech_s[arrival.text])
        request = Request(self.outcome.came, self._now_s, affinity, self._draw.randrange(len(self._balancers)))
        replica = self._route(request)
        if replica is None:
            self.outcome.refused += 1
            return
        replica.take(request)
        self._balancers[request.ingress].sent(affinity, replica.replica_id, str(request.number))
        self._plan(replica)

    def _route(self, request: Request) -> Replica | None:
        """Where a request goes; None where all that it was offered to are full."""
        if self._setup.routing == "voice":
            order = self._balancers[request.ingress].order(request.affinity)
            offered = [self._ready[name] for name in order if name in self._ready]
            return next((replica for replica in offered if not replica.is_full), None)
        free = [replica for replica in self._ready.values() if not replica.is_full]
        if not free:
            return None
        if self._setup.routing == "round_robin":
            return free[request.number % len(free)]
        if self._setup.routing == "random":
            return self._draw.choice(free)
        return min(self._draw.sample(free, min(2, len(free))), key=lambda replica: replica.queue)

    def _plan(self, replica: Replica) -> None:
        """Look at the replica when the next stage of one of its requests ends, unless something comes before."""
        next_s = replica.next_s()
        if next_s is None:
            return
        plan = replica.plan

        def look() -> None:
            if replica.plan == plan and not replica.is_gone:
                for request in replica.finish_stages():
                    self.outcome.spoken.append(request)
                    self._balancers[request.ingress].ended(replica.replica_id, str(request.number))
                self._plan(replica)

        self._after(next_s - self._now_s, look)

    # replicas

    def _start(self, delay_s: float = 0.0) -> None:
        def ready() -> None:
            self._become_ready(self._times.start_s)
            self._tell()

        self._after(delay_s + self._times.start_s, ready)

    def _become_ready(self, paid_s: float) -> None:
        replica = Replica(f"r{next(self._counter)}", self._times, lambda: self._now_s)
        self._ready[replica.replica_id] = replica
        self.outcome.paid_s += paid_s
        self.outcome.most_replicas = max(self.outcome.most_replicas, len(self._ready))
        if self._setup.lives_s < math.inf:
            self._after(self._draw.expovariate(1 / self._setup.lives_s), lambda: self._die(replica))

    def _leave(self, replica: Replica) -> None:
        """A replica is there no more: sum up what it did."""
        replica.advance()
        replica.is_gone = True
        self._ready.pop(replica.replica_id, None)
        self._draining.pop(replica.replica_id, None)
        self.outcome.audio_s += replica.audio_s
        self.outcome.busy_s += replica.busy_s
        self.outcome.ready_s += self._now_s - replica.since_s
        self.outcome.paid_s += self._now_s - replica.since_s

    def _die(self, replica: Replica) -> None:
        if replica.is_gone:
            return
        was_ready = replica.replica_id in self._ready
        self._leave(replica)
        self.outcome.lost += replica.requests
        for balancer in self._balancers:
            balancer.forget(replica.replica_id)
        if was_ready:
            self._start(_NOTICED_S)

    def _every_second(self) -> None:
        self._tell()
        if self._autoscaler is not None:
            queued_s = {name: replica.load.queued_speech_s for name, replica in self._ready.items()}
            self._scale(self._autoscaler.target(self._target, queued_s, self._now_s))
        for replica in [*self._draining.values()]:
            if not replica.queue:
                self._leave(replica)
        self._after(_TOLD_EVERY_S, self._every_second)

    def _tell(self) -> None:
        """Replicas tell every router how they are."""
        if self._setup.routing == "voice":
            told = {name: replica.routing_stats() for name, replica in self._ready.items()}
            for balancer in self._balancers:
                balancer.update(told)

    def _scale(self, target: int) -> None:
        for _ in range(target - self._target):
            self._start()
        for _ in range(self._target - target):
            if len(self._ready) > 1:
                replica = min(self._ready.values(), key=lambda replica: replica.queue)
                self._draining[replica.replica_id] = self._ready.pop(replica.replica_id)
        self._target = target

    def _warm_up(self) -> None:
        """Give voices to replicas as long use would: each its most popular ones last, so that they are kept."""
        voices = [Affinity(f"v{rank}", "", 1.0) for rank in range(self._workload.voices)]
        if self._setup.routing == "voice":
            for affinity in reversed(voices):
                replica = self._ready[self._balancers[0].order(affinity)[0]]
                replica.warm(affinity)
                replica.load.note_voice(affinity, "")
            return
        popularity = [1 / (rank + 1) for rank in range(len(voices))]
        kept = min(REMEMBERED_VOICES, len(voices) // 2)
        for replica in self._ready.values():
            drawn: dict[Affinity, None] = {}
            while len(drawn) < kept:
                drawn |= dict.fromkeys(self._draw.choices(voices, popularity, k=kept))
            for affinity in [*drawn][kept - 1 :: -1]:
                replica.warm(affinity)
